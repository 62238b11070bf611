"""The panel's fold of gestures on the stand-in: a click, one's own, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import stand_in
from PIL import Image

from handrefiner_ext.hands import gestures
from handrefiner_ext.hands.gesture_pictures import SHIPPED_PX, draw_cut_out, shipped_picture
from handrefiner_ext.hands.gestures import load_shipped, parse_gestures
from handrefiner_ext.host import gesture_panel
from handrefiner_ext.host.gesture_panel import add_wish, list_pictures
from handrefiner_ext.pipeline import NO_HAND
from handrefiner_ext.registry import RENDERERS

EXAMPLE = Path(__file__).parent.parent / "examples" / "badly_drawn_hand.png"
NAMES = list(load_shipped())


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    place = tmp_path / "settings" / "gestures.json"
    monkeypatch.setenv(gestures.PLACE_VARIABLE, str(place))
    return place


@pytest.fixture
def page(tmp_path, own):
    """The stand-in with the real backends."""
    started = stand_in.WebUI(tmp_path)
    started.build_page()
    return started


def part(name, tab="txt2img"):
    return gr.page.blocks[f"handrefiner_{tab}_{name}"]


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_every_gesture_is_shown_and_a_click_writes_its_name(page, tab):
    gallery = part("gestures", tab)
    assert [name for _, name in gallery.value] == NAMES
    assert not gallery.allow_preview
    (event,) = gallery.events["select"]
    assert event.inputs == (part("gesture_for", tab), part("gesture", tab))
    assert event.outputs == (part("gesture", tab), gallery)
    place = NAMES.index("victory")
    assert event.fn(gr.SelectData(place), "all", "")[0] == "victory"
    assert event.fn(gr.SelectData(place), "2", "fist")[0] == "2: victory; fist"


@pytest.mark.parametrize(
    ("text", "who", "result"),
    [
        ("", "all", "ok"),
        ("1: fist; rock", "all", "ok"),
        ("", "left", "left: ok"),
        ("rock", "left", "left: ok; rock"),
        ("left: fist", "left", "left: ok"),
        ("left: fist; 2: rock; claw", "left", "2: rock; left: ok; claw"),
        (" ;; 1 : fist ;", "1", "1: ok"),
    ],
)
def test_a_click_replaces_what_was_wished_for_the_same_hands(text, who, result):
    assert add_wish(text, who, "ok") == result
    parse_gestures(result)


def test_what_only_helps_is_not_kept_by_the_webui_and_is_no_argument(page):
    script = page.find("HandRefiner")
    for name in ("gesture_for", "gesture_name"):
        assert part(name).do_not_save_to_config
        assert part(name) not in script.controls
    assert part("gesture") in script.controls


def save(name, picture):
    (event,) = part("gesture_save").events["click"]
    return event.fn(picture, name)


def test_the_fingers_of_a_picture_become_a_gesture_that_can_be_removed(page, own):
    with Image.open(EXAMPLE) as picture:
        pictures, said = save("My Hand", picture)
    assert gesture_panel.SAVED in said
    assert [name for _, name in pictures["value"]] == [*NAMES, "my hand"]
    assert "my hand" in json.loads(own.read_text("utf-8"))["gestures"]
    (event,) = part("gesture_remove").events["click"]
    pictures, said = event.fn("my hand")
    assert gesture_panel.REMOVED in said
    assert [name for _, name in pictures["value"]] == NAMES
    assert "does not exist" in event.fn("my hand")[1]
    assert gesture_panel.NO_NAME in event.fn(" ")[1]


def test_what_is_missing_is_said_and_nothing_is_written(page, own):
    grey = Image.new("RGB", (200, 200), "grey")
    for picture, name, words in (
        (None, "x", gesture_panel.NO_PICTURE),
        (grey, " ", gesture_panel.NO_NAME),
        (grey, "x", NO_HAND),
    ):
        pictures, said = save(name, picture)
        assert words in said
        assert pictures == gr.update()
    with Image.open(EXAMPLE) as picture:
        assert "ships with HandRefiner" in save("fist", picture)[1]
        assert "&lt;" not in save("a;b", picture)[1]
    assert not own.exists()


def test_a_file_that_is_broken_leaves_ours(page, own, caplog):
    own.parent.mkdir()
    own.write_text("{")
    assert [name for _, name in list_pictures()] == NAMES
    assert "is not JSON" in caplog.text


@pytest.mark.parametrize("gesture", load_shipped().values(), ids=lambda gesture: gesture.name)
def test_the_picture_that_ships_is_the_one_that_would_be_drawn(gesture):
    drawn = draw_cut_out(gesture, RENDERERS.build("raster"), SHIPPED_PX).astype(int)
    with Image.open(shipped_picture(gesture)) as picture:
        shipped = np.asarray(picture.convert("RGBA")).astype(int)
    opaque = drawn[..., 3] > 0
    assert ((shipped[..., 3] > 0) != opaque).sum() <= 10
    assert np.abs(shipped - drawn)[opaque].mean() < 6, "64 colours are nearly all of them"


def test_the_panel_draws_no_gesture_that_ships(monkeypatch):
    monkeypatch.setattr(gesture_panel, "draw_cut_out", None)
    assert all(Path(picture).is_file() for picture, _ in list_pictures())
