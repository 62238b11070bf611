"""Gestures in the panel of a real WebUI: a click, the run that obeys, and one from a picture."""

from __future__ import annotations

import json
from pathlib import Path

from browser import LONG_MS, WebuiPage, keep_screenshot, open_page

from handrefiner_ext.hands.gestures import load_shipped

EXAMPLE = Path(__file__).parents[2] / "examples" / "badly_drawn_hand.png"


def click(webui: WebuiPage, tab: str, name: str) -> None:
    webui.unfold(tab, "gestures_fold")
    place = list(load_shipped()).index(name)
    webui.panel(tab, "gestures").locator(".thumbnail-lg, .thumbnail-item").nth(place).click()
    webui.page.wait_for_function(
        "([id, name]) => document.querySelector(id).value.endsWith(name)",
        arg=[f"#handrefiner_{tab}_gesture textarea", name],
    )


def overlap(one, other) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())


def test_a_click_on_victory_is_seen_in_the_preview_used_by_the_run_and_pasted(
    webui, photographs, tmp_path
):
    webui.load_gently(photographs / "1.jpg")
    webui.unfold("img2img")
    webui.accept_everything("img2img")
    webui.show_hands("img2img", photographs / "1.jpg")
    webui.panel("img2img", "said").first.get_by_text("1: right hand").wait_for(timeout=LONG_MS)
    _, open_hand, old = webui.read_preview("img2img")
    webui.unfold("img2img", "gestures_fold")
    webui.choose("#handrefiner_img2img_gesture_for", "1")
    click(webui, "img2img", "victory")
    assert webui.read_text("img2img", "gesture") == "1: victory"
    webui.panel("img2img", "show").click()
    _, depth, mask = webui.read_preview("img2img", unlike=old)
    webui.panel("img2img", "said").first.get_by_text("gesture victory").wait_for()
    keep_screenshot(webui.panel("img2img"), "gestures_used", tmp_path)
    assert (mask[depth > 0] == 255).all()
    drawn, _ = webui.generate_with_hints("img2img")
    # The run's own picture differs a little from the one that was previewed, and so does the hand.
    assert overlap(drawn > 0, depth > 0) > 0.75
    assert overlap(drawn > 0, open_hand > 0) < overlap(drawn > 0, depth > 0) - 0.1
    made = webui.page.locator("#generation_info_img2img textarea").input_value()
    (text, *_) = json.loads(made)["infotexts"]
    webui.go_to("txt2img")
    webui.paste("txt2img", text)
    webui.page.wait_for_function(
        "id => document.querySelector(id).value === '1: victory'",
        arg="#handrefiner_txt2img_gesture textarea",
    )


def test_a_gesture_from_a_picture_is_saved_shown_and_removed(webui, tmp_path):
    webui.unfold("txt2img")
    webui.unfold("txt2img", "gestures_fold")
    shown = webui.panel("txt2img", "gestures").locator("img")
    before = shown.count()
    assert before == len(load_shipped())
    webui.unfold("txt2img", "own_gestures")
    given = webui.panel("txt2img", "gesture_in")
    given.locator("input[type=file]").set_input_files(str(EXAMPLE))
    given.locator("img").first.wait_for()
    webui.panel("txt2img", "gesture_name").locator("textarea, input").first.fill("browser test")
    webui.panel("txt2img", "gesture_save").click()
    said = webui.panel("txt2img", "gesture_said").first
    said.get_by_text("The gesture is saved").wait_for(timeout=LONG_MS)
    webui.page.wait_for_timeout(1000)
    assert shown.count() == before + 1
    webui.panel("txt2img", "gesture_remove").click()
    said.get_by_text("The gesture is removed").wait_for()
    webui.page.wait_for_timeout(1000)
    assert shown.count() == before


def test_the_pictures_look_alike_in_both_themes_and_widths(host, browser, tmp_path):
    for theme in ("light", "dark"):
        for width in (900, 1400):
            with open_page(browser, host.url, theme, width) as webui:
                webui.unfold("txt2img")
                webui.unfold("txt2img", "gestures_fold")
                pictures = webui.panel("txt2img", "gestures")
                pictures.locator("img").last.wait_for()
                webui.page.wait_for_timeout(1000)
                keep_screenshot(webui.panel("txt2img"), f"gestures_{theme}_{width}", tmp_path)
                box, panel = pictures.bounding_box(), webui.panel("txt2img").bounding_box()
                assert box["x"] + box["width"] <= panel["x"] + panel["width"] + 1
                assert box["height"] < 500
