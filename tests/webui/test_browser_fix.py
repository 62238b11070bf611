"""The button *Fix hands* under the gallery of a real WebUI, pressed as a user does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import LONG_MS, WebuiPage, keep_screenshot
from PIL import Image

THUMBS = ".thumbnail-item.thumbnail-small"


def press(webui: WebuiPage, tab: str) -> None:
    """Press the button once the run before has ended for the page, too."""
    webui.page.locator(f"#{tab}_results .progressDiv").wait_for(state="detached")
    webui.page.wait_for_timeout(500)
    webui.panel(tab, "fix").click()


def wait_for_pictures(webui: WebuiPage, tab: str, count: int) -> None:
    webui.page.wait_for_function(
        "([id, n]) => document.querySelectorAll(id).length === n",
        arg=[f"#{tab}_gallery {THUMBS}", count],
    )


def wait_for_log(webui: WebuiPage, tab: str, words: str) -> str:
    log = webui.page.locator(f"#html_log_{tab}").first
    log.get_by_text(words).first.wait_for(timeout=LONG_MS)
    return str(log.inner_text())


def read_texts(webui: WebuiPage, tab: str) -> list[str]:
    made = webui.page.locator(f"#generation_info_{tab} textarea").input_value()
    return list(json.loads(made)["infotexts"])


def changed(picture: Image.Image, before: Image.Image) -> np.ndarray:
    """Where two pictures differ by more than the WebUI's own noise, (H, W)."""
    away = np.asarray(picture).astype(int) - np.asarray(before).astype(int)
    return np.asarray(np.abs(away).max(axis=2) > 1)


def selected(webui: WebuiPage, tab: str) -> int:
    thumbs = webui.page.locator(f"#{tab}_gallery {THUMBS}")
    return int(thumbs.evaluate_all("x => x.findIndex(e => e.classList.contains('selected'))"))


@pytest.fixture
def gentle(webui: WebuiPage, photographs: Path) -> WebuiPage:
    """img2img with a photograph whose hand is still found, the panel open but switched off."""
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.set_number("handrefiner_img2img_strength", 0.7)
    box = webui.panel("img2img").locator(".input-accordion-checkbox")
    box.uncheck()
    return webui


def test_it_gives_what_the_run_gives_with_the_panel_ticked(gentle, tmp_path):
    assert "HandRefiner" not in gentle.generate("img2img")
    wait_for_pictures(gentle, "img2img", 1)
    (plain,) = gentle.read_gallery("img2img")
    press(gentle, "img2img")
    wait_for_log(gentle, "img2img", "1 right refined")
    gentle.page.wait_for_function(
        "([tab, thumbs]) => [...document.querySelectorAll(`#${tab}_gallery ${thumbs}`)]"
        ".findIndex(e => e.classList.contains('selected')) === 1",
        arg=["img2img", THUMBS],
    )
    keep_screenshot(gentle.page.locator("#img2img_results"), "fix_hands", tmp_path)
    first, fixed = gentle.read_gallery("img2img")
    assert first.tobytes() == plain.tobytes()
    before, after = read_texts(gentle, "img2img")
    assert "HandRefiner" not in before
    assert after.startswith(before.partition(", Version: ")[0])
    assert "HandRefiner strength: 0.7" in after
    shown = gentle.page.locator("#html_info_img2img").first.inner_text()
    assert "HandRefiner strength: 0.7" in shown

    # The end of a run is told by its text, which is to be the one that is shown now.
    gentle.page.locator(f"#img2img_gallery {THUMBS}").first.click()
    gentle.page.wait_for_timeout(1000)
    gentle.panel("img2img").locator(".input-accordion-checkbox").check()
    said = gentle.generate("img2img")
    # Two pictures were there and the second was selected: one alone is shown without a selection.
    gentle.page.wait_for_timeout(1000)
    gentle.page.locator("#img2img_gallery .thumbnail-item").first.click()
    (ticked,) = gentle.read_gallery("img2img")
    # The WebUI's VAE moves a few values of the picture itself by one from request to request, and
    # the mesh with them (`generation.alike`): the same hand is repainted, not the same pixels.
    by_button, by_run = (changed(picture, plain) for picture in (fixed, ticked))
    assert (by_button & by_run).sum() / (by_button | by_run).sum() > 0.9
    assert read_texts(gentle, "img2img") == [after]
    assert "1 right refined" in said


def test_before_and_after_lie_over_each_other_with_a_line_between(gentle, tmp_path):
    gentle.generate("img2img")
    gentle.panel("img2img", "compare").click()
    wait_for_log(gentle, "img2img", "Nothing is kept of this picture")
    press(gentle, "img2img")
    wait_for_log(gentle, "img2img", "1 right refined")
    wait_for_pictures(gentle, "img2img", 2)
    gentle.page.locator(f"#img2img_gallery {THUMBS}").nth(1).click()
    gentle.panel("img2img", "compare").click()
    shown = gentle.page.locator("#handrefiner_compare")
    shown.locator("img").nth(1).wait_for()
    before, after = shown.locator("img").evaluate_all("x => x.map(e => e.src)")
    found = gentle.page.locator("#img2img_gallery .thumbnails img")
    assert after == found.nth(1).evaluate("e => e.src")
    assert before.endswith("/before")
    assert gentle.load(before).tobytes() == gentle.read_gallery("img2img")[0].tobytes()
    frame = shown.locator(".frame").bounding_box()
    gentle.page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 50)
    clip = "e => e.style.clipPath"
    assert shown.locator("img").nth(1).evaluate(clip).startswith("inset(0px 0px 0px 25")
    gentle.page.keyboard.press("ArrowRight")
    assert not shown.locator("img").nth(1).evaluate(clip).startswith("inset(0px 0px 0px 25%")
    keep_screenshot(shown, "before_and_after", tmp_path)
    gentle.page.keyboard.press("Escape")
    shown.wait_for(state="detached")


def test_before_and_after_need_no_picture_before_it_after_an_ordinary_run(gentle, tmp_path):
    gentle.panel("img2img").locator(".input-accordion-checkbox").check()
    assert "1 right refined" in gentle.generate("img2img")
    gentle.page.wait_for_timeout(1000)
    gentle.panel("img2img", "compare").click()
    shown = gentle.page.locator("#handrefiner_compare")
    hand = shown.locator(".hand")
    hand.wait_for(state="attached")
    hand.hover()
    assert hand.locator("b").inner_text() == "1"
    assert hand.locator("span").inner_text() == "Right hand, repainted."
    keep_screenshot(shown, "before_and_after_hover", tmp_path)
    gentle.page.keyboard.press("Tab")
    assert gentle.page.evaluate("document.activeElement.className") == "hand"
    gentle.page.keyboard.press("Escape")
    shown.wait_for(state="detached")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_another_candidate_is_taken_by_a_click(gentle, tmp_path, theme):
    gentle.page.evaluate(f"document.body.classList.toggle('dark', {str(theme == 'dark').lower()})")
    gentle.panel("img2img").locator(".input-accordion-checkbox").check()
    gentle.set_number("handrefiner_img2img_candidates", 2)
    said = gentle.generate("img2img")
    assert "1 right refined as candidate" in said
    used = "1" if "as candidate 1" in said else "2"
    other = "2" if used == "1" else "1"
    gentle.page.wait_for_timeout(1000)
    gentle.panel("img2img", "candidates_button").click()
    shown = gentle.page.locator("#handrefiner_candidates")
    offers = shown.locator(".row button")
    offers.first.wait_for()
    assert offers.count() == 3
    assert offers.locator("b").all_inner_texts() == ["Original", "Candidate 1", "Candidate 2"]
    gentle.page.wait_for_function(
        "[...document.querySelectorAll('#handrefiner_candidates img')].every(e => e.naturalWidth)"
    )
    keep_screenshot(shown, f"candidates_{theme}", tmp_path)
    gentle.page.keyboard.press("Escape")
    shown.wait_for(state="detached")
    assert len(read_texts(gentle, "img2img")) == 1
    gentle.panel("img2img", "candidates_button").click()
    offers.nth(int(other)).click()
    wait_for_log(gentle, "img2img", f"1 right refined as candidate {other}")
    wait_for_pictures(gentle, "img2img", 2)
    first, second = gentle.read_gallery("img2img")
    assert changed(second, first).any()
    before, after = read_texts(gentle, "img2img")
    assert f"1 right refined as candidate {used}" in before
    assert f"1 right refined as candidate {other}" in after
    shown_now = gentle.page.locator("#img2img_gallery .thumbnails img")
    place = Path(shown_now.nth(1).evaluate("e => e.src").partition("file=")[2].partition("?")[0])
    with Image.open(place) as file:
        assert file.text["parameters"] == after


def test_a_picture_without_candidates_says_so(gentle):
    gentle.generate("img2img")
    gentle.panel("img2img", "candidates_button").click()
    wait_for_log(gentle, "img2img", "No candidates of this picture are kept")


def test_the_file_that_is_saved_holds_the_text(gentle):
    gentle.generate("img2img")
    press(gentle, "img2img")
    wait_for_log(gentle, "img2img", "1 right refined")
    gentle.page.wait_for_timeout(1000)
    found = gentle.page.locator("#img2img_gallery .thumbnails img")
    urls = found.evaluate_all("found => found.map(x => x.src)")
    place = Path(urls[1].partition("file=")[2].partition("?")[0])
    with Image.open(place) as file:
        assert file.text["parameters"] == read_texts(gentle, "img2img")[1]
    assert "img2img-images" in str(place)


def test_the_progress_bar_moves_and_interrupt_keeps_the_picture(gentle):
    gentle.generate("img2img")
    gentle.panel("img2img").locator(".input-accordion-checkbox").check()
    gentle.unfold("img2img", "advanced")
    gentle.press_tab("#handrefiner_img2img_tabs", "Painting")
    gentle.set_number("handrefiner_img2img_steps", 150)
    press(gentle, "img2img")
    bar = gentle.page.locator("#img2img_results .progressDiv .progress")
    bar.get_by_text("HandRefiner: region 1 of 1").wait_for(timeout=LONG_MS)
    gentle.page.locator("#img2img_interrupt").click()
    wait_for_log(gentle, "img2img", "interrupted or skipped")
    gentle.page.locator("#img2img_interrupt").wait_for(state="hidden")
    assert len(gentle.read_gallery("img2img")) == 1
    assert len(read_texts(gentle, "img2img")) == 1


def test_a_picture_without_hands_is_said_to_have_none(webui):
    webui.make_small("txt2img")
    webui.generate("txt2img")
    press(webui, "txt2img")
    assert "none found" in wait_for_log(webui, "txt2img", "hands:")
    assert len(webui.read_gallery("txt2img")) == 1


def test_an_empty_gallery_is_said(webui):
    press(webui, "txt2img")
    wait_for_log(webui, "txt2img", "There is no picture to fix yet")


def test_an_older_text_of_ours_makes_way(gentle: Any) -> None:
    gentle.panel("img2img").locator(".input-accordion-checkbox").check()
    gentle.generate("img2img")
    gentle.set_number("handrefiner_img2img_strength", 0.45)
    press(gentle, "img2img")
    wait_for_log(gentle, "img2img", "hands:")
    gentle.page.wait_for_timeout(1000)
    texts = read_texts(gentle, "img2img")
    assert "HandRefiner strength: 0.7" in texts[0]
    if len(texts) == 2:  # the hand that noise replaced may not be found any more
        assert texts[1].count("HandRefiner strength") == 1
        assert "HandRefiner strength: 0.45" in texts[1]
    pictures = gentle.read_gallery("img2img")
    assert len(pictures) == len(texts)
    assert all(np.asarray(picture).shape == (512, 512, 3) for picture in pictures)
