"""A depth map of one's own in a real WebUI: through its API, our routes and the page."""

from __future__ import annotations

import numpy as np
import pytest
from browser import LONG_MS
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


@pytest.mark.parametrize("bits", [8, 16])
def test_the_page_shows_it_in_the_preview_and_uses_it_in_the_run(
    webui, photographs, tmp_path, bits
):
    depth = make_depth()
    levels = depth if bits == 8 else depth.astype(np.uint16) * 257
    Image.fromarray(levels).save(tmp_path / "depth.png")
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.unfold("img2img", "preview")
    webui.unfold("img2img", "own_depth")
    given = webui.panel("img2img", "depth_in")
    given.locator("input[type=file]").set_input_files(str(tmp_path / "depth.png"))
    given.locator("img").first.wait_for()
    webui.show_hands("img2img", photographs / "1.jpg")
    webui.panel("img2img", "said").get_by_text(SAID).wait_for(timeout=LONG_MS)
    _, shown, _ = webui.read_preview("img2img")
    np.testing.assert_array_equal(shown, depth)
    used, _ = webui.generate_with_hints("img2img")
    np.testing.assert_array_equal(used, depth)
