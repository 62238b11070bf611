"""The whole story: a picture, its hand posed, painted, compared, and restored from the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from browser import LONG_MS
from editor_page import EditorPage
from PIL import Image
from test_browser_fix import THUMBS, press, read_texts, wait_for_log, wait_for_pictures

from handrefiner_ext.hands.gestures import load_shipped
from handrefiner_ext.hands.records import read_hand

TAB = "img2img"


def test_a_hand_is_posed_painted_compared_and_comes_back_from_the_file(webui, photographs):
    page = webui.page
    webui.load_gently(photographs / "1.jpg")
    webui.unfold(TAB)
    webui.accept_everything(TAB)
    webui.set_number(f"handrefiner_{TAB}_candidates", 2)
    box = webui.panel(TAB).locator(".input-accordion-checkbox")
    box.uncheck()
    webui.generate(TAB)
    wait_for_pictures(webui, TAB, 1)
    box.check()

    webui.unfold(TAB, "preview")
    webui.panel(TAB, "take").click()
    webui.panel(TAB, "sketch").locator("canvas").first.wait_for()
    editor = EditorPage(webui, TAB).open()
    (found,) = editor.hands()
    editor.drag("index_tip", -20, 25)
    (dragged,) = editor.hands()
    assert dragged["angles"] != found["angles"]
    editor.window.get_by_role("button", name="1 Right hand").click()
    editor.choose("Gesture", "victory")
    pose = editor.use()
    (hand,) = pose["hands"]
    wanted = load_shipped()["victory"].angles
    angles = read_hand(hand, "hand").angles
    assert {name: angles[name] for name in wanted} == pytest.approx(dict(wanted), abs=0.03)
    webui.read_preview(TAB)

    press(webui, TAB)
    wait_for_log(webui, TAB, "1 right refined")
    wait_for_pictures(webui, TAB, 2)

    page.locator(f"#{TAB}_gallery {THUMBS}").nth(1).click()
    webui.panel(TAB, "compare").click()
    shown = page.locator("#handrefiner_compare")
    frame = shown.locator(".frame").bounding_box()
    page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 50)
    clip = shown.locator("img").nth(1).evaluate("e => e.style.clipPath")
    assert clip.startswith("inset(0px 0px 0px 25")
    page.keyboard.press("Escape")
    shown.wait_for(state="detached")

    webui.panel(TAB, "candidates_button").click()
    choice = page.locator("#handrefiner_candidates")
    choice.get_by_role("button", name="Candidate 2").click(timeout=LONG_MS)
    choice.wait_for(state="detached")
    wait_for_pictures(webui, TAB, 3)
    texts = read_texts(webui, TAB)
    assert "candidate 2" in texts[2].partition("HandRefiner hands:")[2]
    first, second, third = (np.asarray(picture) for picture in webui.read_gallery(TAB))
    assert not np.array_equal(second, third)
    assert not np.array_equal(first, third)

    text = texts[2]
    url = page.locator(f"#{TAB}_gallery .thumbnails img").nth(2).get_attribute("src")
    place = Path(url.partition("file=")[2].partition("?")[0])
    with Image.open(place) as file:
        assert file.text["parameters"] == text

    webui.panel(TAB, "search_again").click()
    webui.panel(TAB, "posed").first.wait_for(state="hidden")
    webui.go_to("PNG Info")
    page.set_input_files("#pnginfo_image input[type=file]", str(place))
    page.locator("#tab_pnginfo").get_by_text("HandRefiner").first.wait_for()
    page.locator("#tab_pnginfo #txt2img_tab").click()
    page.wait_for_function(
        "id => document.querySelector(id).value !== ''",
        arg="#handrefiner_txt2img_pose textarea",
        timeout=LONG_MS,
    )
    assert json.loads(webui.read_text("txt2img", "pose")) == pose
