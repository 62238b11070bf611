"""A depth map of one's own in a real WebUI: through its API, our routes and the page."""

from __future__ import annotations

import io

import numpy as np
from browser import open_page
from generation import GENTLE, SIZE, as_mask, changed, encode, img2img
from PIL import Image

from handrefiner_ext.api import PREFIX

SAID = "the depth is that of depth_in"


def make_depth():
    """A ball in 8 bits, where the woman's hand is not."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    height = 1.0 - np.hypot(x - 200, y - 250) / 60
    return np.where(height > 0, 51 + 204 * height, 0).astype(np.uint8)


def test_the_map_is_the_control_image_and_nothing_else_changes(host, woman):
    depth = make_depth()
    deep = depth.astype(np.uint16) * 257
    for given in (encode(depth), encode(deep)):
        on = img2img(host, woman, {**GENTLE, "extra_images": True, "depth_in": given})
        result, control, mask, before = on.images
        np.testing.assert_array_equal(control[..., 0], depth)
        assert SAID in on.texts[0]
        difference = changed(result, before)
        assert difference[depth > 0].mean() > 0.5
        assert not difference[~as_mask(mask)].any()


def test_the_routes_take_it_too(host, woman):
    body = {"image": encode(woman), "depth_in": encode(make_depth())}
    said = host.post(PREFIX + "/hints", body)
    assert said["hands"][0]["mesh"] == "depth_in"
    assert set(said) >= {"pose", "openpose", "openpose_image"}


def test_the_page_takes_a_file_of_16_bits(host, browser, photographs, tmp_path):
    depth = make_depth()
    Image.fromarray(depth.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    with open_page(browser, host.url) as page:
        page.go_to("img2img")
        page.unfold("img2img")
        page.unfold("img2img", "preview")
        for part, file in (("sketch", photographs / "1.jpg"), ("depth_in", tmp_path / "deep.png")):
            page.panel("img2img", part).locator("input[type=file]").set_input_files(str(file))
        page.panel("img2img", "sketch").locator("canvas").first.wait_for()
        page.panel("img2img", "depth_in").locator("img").first.wait_for()
        page.panel("img2img", "show").click()
        page.panel("img2img", "said").get_by_text(SAID).wait_for()
        shown = page.panel("img2img", "hints").locator("img")
        urls = shown.evaluate_all("e => e.map(x => x.src)")
        body = page.page.request.get(urls[1]).body()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(body)).convert("L")), depth)
