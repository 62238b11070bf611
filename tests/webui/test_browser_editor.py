"""The hand editor in a real WebUI: every way to change a hand, and what the panel gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from browser import LONG_MS, keep_screenshot, open_page
from editor_page import EditorPage

from handrefiner_ext.hands.gestures import load_shipped
from handrefiner_ext.hands.records import read_hand

EXAMPLE = Path(__file__).parents[2] / "examples" / "badly_drawn_hand.png"
"""One right hand, our own picture."""


@pytest.fixture
def editor(webui):
    """The editor with the example's hand."""
    webui.unfold("txt2img")
    return EditorPage(webui, "txt2img").open_with(EXAMPLE)


def test_a_dragged_fingertip_goes_along_alone_and_undo_brings_it_back(editor):
    (found,) = editor.hands()
    before = {name: editor.where(name) for name in ("index_tip", "little_tip", "wrist")}
    editor.drag("index_tip", -50, 40)
    after = {name: editor.where(name) for name in before}
    moved = np.subtract(after["index_tip"], before["index_tip"])
    assert moved == pytest.approx([-50, 40], abs=6)
    for name in ("little_tip", "wrist"):
        assert after[name] == pytest.approx(before[name], abs=2)
    (dragged,) = editor.hands()
    assert dragged["angles"] != found["angles"]
    editor.type("Control+z")
    assert editor.hands() == [found]
    editor.type("Control+y")
    assert editor.hands() == [dragged]
    editor.press("Reset to the fit")
    assert editor.hands() == [found]


def test_a_finger_goes_no_farther_than_a_finger_can_and_that_is_said(editor):
    editor.drag("middle_tip", 0, -250)
    assert "as far as a hand can go" in editor.status()


def test_keys_and_buttons_move_turn_scale_and_mirror_the_hand(editor):
    (found,) = editor.hands()
    start = editor.where("wrist")
    editor.type("Shift+ArrowRight")
    (moved,) = editor.hands()
    assert moved["wrist"][0] - found["wrist"][0] == pytest.approx(20, abs=0.2)
    assert moved["angles"] == found["angles"]
    assert editor.where("wrist")[0] > start[0]
    editor.type("+", "+", "+")
    (larger,) = editor.hands()
    assert larger["scale"] / found["scale"] == pytest.approx(1.03**3, rel=0.01)
    editor.type("-", "-", "-")
    for key in ("]", ".", "PageUp", "f"):
        (before,) = editor.hands()
        editor.type(key)
        (after,) = editor.hands()
        assert after["turn"] != before["turn"], key
    editor.press("Left or right")
    assert editor.hands()[0]["side"] == "left"
    editor.press("Wrist length +")
    assert editor.hands()[0]["wrist_length"] == pytest.approx(1.2)
    # Three keys held count as one act each.
    for _ in range(8):
        editor.press("Undo")
        if editor.window.get_by_role("button", name="Undo").is_disabled():
            break
    assert editor.hands() == [found]


def test_arrow_keys_move_the_joint_that_is_chosen(editor):
    before = editor.where("thumb_tip")
    wrist = editor.where("wrist")
    editor.choose("Arrow keys move", "4")
    editor.window.locator("canvas").focus()
    editor.type("Shift+ArrowDown", "Shift+ArrowDown")
    assert editor.where("thumb_tip")[1] > before[1] + 10
    assert editor.where("wrist") == pytest.approx(wrist, abs=1)


def test_a_finger_drags_a_joint_and_two_zoom(editor):
    touch = Touch(editor.page)
    x, y = editor.where("index_tip")
    wrist = editor.where("wrist")
    touch.drag([(x + 6, y + 6)], [(x - 24, y + 36)])  # a finger is not exact
    editor.wait()
    assert editor.where("index_tip") == pytest.approx((x - 30, y + 30), abs=3)
    assert editor.where("wrist") == pytest.approx(wrist, abs=1)
    zoom = "HandrefinerDialog.shown.canvas.view.zoom"
    before = editor.page.evaluate(zoom)
    touch.drag([(30, 450), (130, 450)], [(30, 450), (230, 450)])
    assert editor.page.evaluate(zoom) == pytest.approx(2 * before, rel=0.05)


class Touch:
    """Fingers on the page."""

    def __init__(self, page):
        self.session = page.context.new_cdp_session(page)

    def drag(self, start, end, steps=6):
        """Put fingers down one after the other, move them, and lift all."""
        for count in range(1, len(start) + 1):
            self._send("touchStart", start[:count])
        for share in np.linspace(0, 1, steps + 1)[1:]:
            places = (1 - share) * np.array(start) + share * np.array(end)
            self._send("touchMove", places.tolist())
        self._send("touchEnd", [])

    def _send(self, kind, places):
        points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(places)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_a_hand_is_added_posed_and_removed_again(editor):
    editor.press("Add hand")
    _, added = editor.hands()
    assert added["side"] == "left"
    editor.choose("Gesture", "fist")
    fist = load_shipped()["fist"].angles
    pose = read_hand(editor.hands()[1], "hand")
    for name, angle in fist.items():
        assert pose.angles[name] == pytest.approx(angle, abs=0.03), name
    editor.type("Delete")
    assert len(editor.hands()) == 1
    editor.type("Delete")
    assert "No hand is painted" in editor.status()
    said = editor.use()
    assert said["hands"] == []


def test_the_pose_is_shown_by_the_preview_and_loaded_when_the_editor_opens_again(editor):
    editor.choose("Gesture", "victory")
    editor.drag("wrist", 30, -20)
    edited = editor.hands()
    said = editor.use()
    assert said == {"handrefiner_pose": 1, "width": 768, "height": 768, "hands": edited}
    webui = editor.webui
    webui.panel("txt2img", "posed").first.wait_for(state="visible")
    _, depth, mask = webui.read_preview("txt2img")
    assert (mask[depth > 0] == 255).all()
    editor.open()
    (again,) = editor.hands()
    assert again["wrist"] == pytest.approx(edited[0]["wrist"], abs=0.2)
    assert again["angles"] == pytest.approx(edited[0]["angles"], abs=0.2)
    editor.window.get_by_role("button", name="Search again").click()
    editor.window.wait_for(state="detached")
    assert webui.read_text("txt2img", "pose") == ""
    webui.panel("txt2img", "posed").first.wait_for(state="hidden")


def test_a_gesture_of_the_panel_is_shown_and_then_part_of_the_pose(webui):
    webui.unfold("txt2img")
    webui.unfold("txt2img", "gestures_fold")
    webui.panel("txt2img", "gesture").locator("textarea, input").first.fill("fist")
    editor = EditorPage(webui, "txt2img").open_with(EXAMPLE)
    pose = read_hand(editor.hands()[0], "hand")
    fist = load_shipped()["fist"].angles
    assert pose.angles["index_mcp_flexion"] == pytest.approx(fist["index_mcp_flexion"], abs=0.03)
    editor.use()
    assert webui.read_text("txt2img", "gesture") == ""


def test_escape_asks_once_where_something_was_changed_and_gives_the_focus_back(editor):
    editor.type("ArrowRight")
    editor.page.keyboard.press("Escape")
    assert "Escape once more" in editor.status()
    editor.page.keyboard.press("Escape")
    editor.window.wait_for(state="detached")
    assert editor.webui.read_text("txt2img", "pose") == ""
    focus = editor.page.evaluate("document.activeElement.id")
    assert focus == "handrefiner_txt2img_edit"


def test_the_focus_stays_inside_and_everything_has_a_name(editor):
    window = editor.window
    assert window.get_attribute("role") == "dialog"
    for _ in range(40):
        editor.page.keyboard.press("Tab")
        assert editor.page.evaluate(
            "document.getElementById('handrefiner_editor').contains(document.activeElement)"
        )
    named = "e.ariaLabel || e.textContent.trim() || e.alt || e.querySelector('img')?.alt"
    nameless = window.locator("button, select, canvas, img").evaluate_all(
        f"all => all.filter(e => !({named})).length"
    )
    assert nameless == 0
    assert window.locator("canvas").get_attribute("aria-label") == "Hand 1: Right hand"


def test_the_selected_picture_of_the_gallery_gets_a_hand_where_none_was_found(webui):
    webui.make_small("txt2img")
    webui.generate("txt2img")
    webui.page.wait_for_timeout(1000)
    editor = EditorPage(webui, "txt2img").open("edit_selected")
    assert "No hand was found here" in editor.status()
    editor.press("Add hand")
    said = editor.use()
    assert (said["width"], said["height"]) == (256, 256)
    (hand,) = said["hands"]
    assert hand["old"] == []
    webui.unfold("txt2img")
    webui.page.locator("#txt2img_seed input").first.fill("5")
    assert "1 right refined" in webui.generate("txt2img")


def test_what_the_server_refuses_is_said(webui):
    webui.unfold("txt2img")
    webui.unfold("txt2img", "advanced")
    webui.press_tab("#handrefiner_txt2img_tabs", "Mesh and mask")
    webui.panel("txt2img", "pose").locator("textarea").fill('{"hands": []')
    webui.drop("txt2img", EXAMPLE)
    webui.panel("txt2img", "edit").click()
    fault = webui.page.locator("#handrefiner_editor .status.fault")
    fault.wait_for(timeout=LONG_MS)
    assert "pose is not JSON" in fault.inner_text()
    webui.page.keyboard.press("Escape")
    fault.wait_for(state="detached")


CUT = """side => {
    const paper = document.createElement('canvas').getContext('2d');
    const width = (part, words) => {
        paper.font = getComputedStyle(part).font;
        return paper.measureText(words).width;
    };
    const chosen = select => select.selectedOptions[0].textContent;
    const arrow = 30;
    const selects = [...side.querySelectorAll('select')]
        .filter(part => width(part, chosen(part)) + arrow > part.clientWidth).map(chosen);
    const buttons = [...side.querySelectorAll('button')]
        .filter(part => part.scrollWidth > part.clientWidth).map(part => part.textContent);
    return [...selects, ...buttons];
}"""
"""Words of the editor's side that do not fit where they stand."""


def test_it_looks_alike_in_both_themes_and_widths(host, browser, tmp_path):
    for theme in ("light", "dark"):
        for width in (900, 1400):
            with open_page(browser, host.url, theme, width) as webui:
                webui.page.set_viewport_size({"width": width, "height": 900})
                webui.unfold("txt2img")
                editor = EditorPage(webui, "txt2img").open_with(EXAMPLE)
                editor.choose("Gesture", "victory")
                editor.page.mouse.move(*editor.where("index_tip"))
                editor.page.wait_for_timeout(1000)
                keep_screenshot(webui.page, f"editor_{theme}_{width}", tmp_path)
                side = editor.window.locator(".side")
                assert side.evaluate("e => e.scrollWidth <= e.clientWidth")
                assert side.evaluate(CUT) == []
                end = editor.window.locator(".end").bounding_box()
                assert end["y"] + end["height"] <= 900
                colours = editor.window.evaluate(
                    "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
                )
                bright = [sum(json.loads(f"[{c[4:-1]}]")) > 380 for c in colours]
                assert bright == ([True, False] if theme == "dark" else [False, True])
