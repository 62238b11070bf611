"""The hand editor where people are faster than the server, and where the focus goes astray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from editor_page import EditorPage

EXAMPLE = Path(__file__).parents[2] / "examples" / "badly_drawn_hand.png"
SLOW_MS = 400
SLOW = f"""() => {{
    const ask = window.fetch;
    const wait = () => new Promise((resolve) => setTimeout(resolve, {SLOW_MS}));
    window.fetch = async (path, ...more) => {{
        if (String(path).endsWith("/step")) await wait();
        return ask(path, ...more);
    }};
}}"""
USE_AND_CLOSE = """() => {
    HandrefinerDialog.shown.session.step({move: [5, 0]});
    for (const button of ['.primary', '.close']) {
        document.querySelector(`#handrefiner_editor ${button}`).click();
    }
}"""
"""At once, which no clicks of a browser that is driven from outside are on a busy machine."""
TURN = 3.0
"""Degrees of the key "."."""


@pytest.fixture
def editor(webui):
    """The editor with the example's hand."""
    webui.unfold("txt2img")
    return EditorPage(webui, "txt2img").open_with(EXAMPLE)


@pytest.fixture
def slow(editor):
    """The same, on a server that takes its time for each step."""
    editor.page.evaluate(SLOW)
    return editor


def drag_at_once(editor, key, joint):
    """Press a key, and drag a joint before the server has answered it."""
    at = editor.where(joint)
    editor.page.keyboard.press(key)
    editor.page.mouse.move(*at)
    editor.page.mouse.down()
    editor.page.mouse.move(at[0] - 40, at[1] + 30, steps=4)
    editor.page.mouse.up()
    editor.wait()


def test_a_drag_right_after_a_turn_keeps_the_turn(slow):
    (found,) = slow.hands()
    drag_at_once(slow, ".", "index_tip")
    (hand,) = slow.hands()
    assert hand["angles"] != found["angles"]
    turned = np.linalg.norm(np.subtract(hand["turn"], found["turn"]))
    assert turned > 0.5 * TURN


def test_keys_reach_the_editor_where_its_button_that_had_the_focus_is_gone(editor):
    editor.page.evaluate(
        "() => { window.heard = 0; document.addEventListener('keydown', () => { heard += 1; }); }"
    )
    editor.press("1 Right hand")
    assert editor.page.evaluate("document.activeElement.textContent") == "1 Right hand"
    editor.window.locator(".help").click()
    (found,) = editor.hands()
    editor.type("ArrowRight")
    assert editor.hands() != [found]
    editor.press("Undo")  # which has nothing left to undo, and loses the focus
    assert editor.hands() == [found]
    editor.page.keyboard.press("Escape")
    editor.window.wait_for(state="detached")
    assert editor.page.evaluate("heard") == 0
    editor.page.keyboard.press("Shift")
    assert editor.page.evaluate("heard") == 1


def test_a_pose_is_not_used_once_the_editor_was_closed(slow):
    slow.page.evaluate(USE_AND_CLOSE)
    slow.window.wait_for(state="detached")
    slow.page.wait_for_timeout(3 * SLOW_MS)
    assert slow.webui.read_text("txt2img", "pose") == ""
