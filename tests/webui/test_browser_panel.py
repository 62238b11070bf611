"""The panel's first sight in a real WebUI: what is in view, the status line, help and themes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import WebuiPage, keep_screenshot, open_page

TAB = "txt2img"
PROJECT = Path(__file__).parents[2]


def box_of(webui: WebuiPage, name: str) -> dict[str, float]:
    box = webui.panel(TAB, name).first.bounding_box()  # gradio gives HTML its id twice
    assert box is not None
    return dict(box)


def test_three_things_stand_in_one_row_and_the_rest_is_folded(webui):
    webui.unfold(TAB)
    strength, tries, keep = (box_of(webui, n) for n in ("strength", "candidates", "keep_best"))
    assert strength["x"] < tries["x"] < keep["x"]
    middle = keep["y"] + keep["height"] / 2
    assert all(box["y"] < middle < box["y"] + box["height"] for box in (strength, tries))
    for folded in ("hands", "mask", "sketch", "depth_in"):
        assert not webui.panel(TAB, folded).is_visible()
    panel = webui.panel(TAB).bounding_box()
    assert panel["height"] < 420


def test_the_status_says_what_the_next_run_uses(webui):
    webui.unfold(TAB)
    status = webui.panel(TAB, "status").first.locator('[role="status"]')
    for words in ("Ready:", "Stable Diffusion 1.x", "control_sd15_inpaint_depth_hand", "open hand"):
        status.get_by_text(words).first.wait_for()
    assert not webui.panel(TAB, "fetch").is_visible()


def test_the_status_says_what_is_missing_and_offers_it(webui, host, tmp_path):
    """Without the hand model: ControlNet looks into an empty folder, which the page tells."""
    known = host.get("/controlnet/model_list")["model_list"]
    models = Path(host.data or ".") / "models" / "ControlNet"
    if host.data is None or not models.is_dir():
        pytest.skip("needs a host of our own")
    moved = [path for path in models.iterdir() if path.suffix in (".safetensors", ".pth")]
    for path in moved:
        path.rename(path.with_suffix(path.suffix + ".away"))
    try:
        webui.unfold(TAB)
        webui.panel(TAB, "status").first.get_by_text("Download the one that was trained").wait_for()
        webui.panel(TAB, "fetch").wait_for()
        assert "CreativeML Open RAIL-M" in webui.panel(TAB, "licence").first.inner_text()
        keep_screenshot(webui.panel(TAB), "panel_missing", tmp_path)
        webui.panel(TAB, "fetch").click()  # a host of --server-name lets its pages change nothing
        webui.panel(TAB, "status").first.get_by_text(
            "does not let its pages change files"
        ).wait_for()
    finally:
        for path in moved:
            path.with_suffix(path.suffix + ".away").rename(path)
    webui.panel(TAB, "look").click()
    webui.panel(TAB, "status").first.get_by_text("Ready:").wait_for()
    assert set(host.get("/controlnet/model_list")["model_list"]) == set(known)


def test_help_is_a_tooltip_that_screen_readers_say_too(webui):
    webui.unfold(TAB)
    strength = webui.panel(TAB, "strength")
    words = "Weight of the hand ControlNet; 0.4 to 0.8 works best."
    assert strength.get_attribute("title") == words
    fields = strength.locator("input")
    for number in range(fields.count()):
        assert fields.nth(number).get_attribute("aria-description") == words
    assert "Fix hands" in str(webui.panel(TAB, "fix").get_attribute("aria-label"))


def test_every_field_of_the_panel_has_a_name(webui):
    """In the words of the accessibility tree: a label of its own, or one around it."""
    webui.unfold(TAB)
    webui.unfold(TAB, "advanced")
    webui.page.wait_for_timeout(1000)
    nameless = webui.panel(TAB).evaluate(
        """panel => [...panel.querySelectorAll('input, textarea')]
        .filter(x => x.type !== 'file' && !x.closest('[id$="_sketch"]') && !x.labels?.length
                && !x.getAttribute('aria-label') && !x.title)
        .map(x => x.closest('[id^="handrefiner"]').id)"""
    )
    assert nameless == []


def test_the_keyboard_reaches_everything_in_view(webui):
    webui.unfold(TAB)
    webui.panel(TAB, "strength").locator("input[type=number]").focus()
    reached = set()
    for _ in range(12):
        webui.page.keyboard.press("Tab")
        reached.add(
            webui.page.evaluate("document.activeElement.closest('[id^=handrefiner]')?.id ?? ''")
        )
    for name in ("candidates", "keep_best", "look", "advanced", "preview"):
        assert f"handrefiner_{TAB}_{name}" in reached
    heading = webui.panel(TAB, "preview").locator("> .label-wrap")
    heading.focus()
    assert heading.get_attribute("aria-expanded") == "false"
    webui.page.keyboard.press("Enter")
    webui.panel(TAB, "sketch").wait_for()
    webui.panel(TAB, "preview").locator('> .label-wrap[aria-expanded="true"]').wait_for()


def test_an_empty_place_for_a_picture_is_small(webui, photographs):
    webui.unfold(TAB)
    webui.unfold(TAB, "preview")
    assert box_of(webui, "sketch")["height"] < 160
    webui.drop(TAB, photographs / "1.jpg")
    assert box_of(webui, "sketch")["height"] > 300


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [900, 1400])
def test_nothing_is_cut_off_or_lies_over_another_in_both_themes(
    host, browser, theme, width, tmp_path
):
    with open_page(browser, host.url, theme, width) as webui:
        webui.unfold(TAB)
        webui.panel(TAB, "status").first.get_by_text("Ready:").wait_for()
        webui.set_number(f"handrefiner_{TAB}_strength", 0.85)
        webui.panel(TAB, "advice").get_by_text("Above 0.8").wait_for()
        webui.unfold(TAB, "advanced")
        keep_screenshot(webui.panel(TAB), f"panel_{theme}_{width}", tmp_path)
        panel = webui.panel(TAB).bounding_box()
        names = ("strength", "candidates", "keep_best", "status", "look", "hands", "tiles")
        boxes = [box_of(webui, name) for name in names]
        for box in boxes:
            assert panel["x"] <= box["x"]
            assert box["x"] + box["width"] <= panel["x"] + panel["width"] + 1
        for n, one in enumerate(boxes):
            for other in boxes[n + 1 :]:
                apart = (
                    one["x"] + one["width"] <= other["x"] + 1
                    or other["x"] + other["width"] <= one["x"] + 1
                    or one["y"] + one["height"] <= other["y"] + 1
                    or other["y"] + other["height"] <= one["y"] + 1
                )
                assert apart
        colour = (
            webui.panel(TAB, "status").locator("b").first.evaluate("e => getComputedStyle(e).color")
        )
        assert colour == {"light": "rgb(21, 128, 61)", "dark": "rgb(74, 222, 128)"}[theme]


def test_the_button_says_that_a_search_goes_on_until_it_has_ended(webui):
    """Also where the words after it are the same again, and where the server is not there."""
    webui.unfold(TAB)
    webui.unfold(TAB, "preview")
    button = webui.panel(TAB, "show")
    button.get_by_text("Show hands").wait_for()
    for _ in range(2):
        button.click()
        webui.panel(TAB, "said").first.get_by_text("Drop a picture here first").wait_for()
        webui.page.wait_for_function(
            "id => document.getElementById(id).getAttribute('aria-busy') === 'false'",
            arg=f"handrefiner_{TAB}_show",
        )
        assert button.inner_text() == "Show hands"
    refused = "**/run/predict*"
    webui.page.route(refused, lambda route: route.abort())
    try:
        button.click()
        button.get_by_text("Show hands").wait_for()
    finally:
        webui.page.unroute(refused)
    assert button.get_attribute("aria-busy") == "false"


def test_the_button_is_busy_while_the_search_runs(webui):
    webui.unfold(TAB)
    webui.unfold(TAB, "preview")
    button = webui.panel(TAB, "show")
    held = []
    webui.page.route("**/run/predict*", lambda route: held.append(route))
    button.click()
    button.get_by_text("Looking for hands").wait_for()
    assert button.get_attribute("aria-busy") == "true"
    webui.page.wait_for_timeout(500)
    assert "Looking for hands" in button.inner_text()
    held[0].continue_()
    button.get_by_text("Show hands").wait_for()


def test_what_became_of_a_hand_is_said_in_the_language_of_the_page(webui):
    german = json.loads((PROJECT / "localizations" / "de_DE.json").read_text("utf-8"))
    hand = {
        "handedness": "left",
        "refined": False,
        "reason": "The original was kept: it looks well formed (quality 0.93).",
        "quality_before": {"score": 0.93},
        "quality_after": {"score": 0.5},
    }
    said = webui.page.evaluate(
        """([german, hand]) => {
            const before = globalThis.localization;
            globalThis.localization = german;
            try { return handrefinerDescribe(hand); } finally { globalThis.localization = before; }
        }""",
        [german, hand],
    )
    assert said == (
        "Linke Hand, belassen, Güte 0.93 → 0.50. "
        "Das Original bleibt: Es sieht wohlgeformt aus (Güte 0.93)."
    )
