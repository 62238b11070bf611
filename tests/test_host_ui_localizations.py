"""Translations: all texts that the panel shows, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gradio as gr
import pytest
import stand_in

import handrefiner_ext
from handrefiner_ext.host import fetching, fix, gesture_panel, preview, status
from handrefiner_ext.host.fix_button import NOTHING_TO_COMPARE
from handrefiner_ext.inpaint.control_models import FAMILY_NAMES, SD1, SDXL
from handrefiner_ext.pipeline import NO_HAND

PROJECT = Path(handrefiner_ext.__file__).parent.parent
FILES = sorted((PROJECT / "localizations").glob("*.json"))
SAID_LATER = (
    *(status.READY, status.MISSING, status.WORKING, status.LATER, *status.MESH_NAMES.values()),
    *(status.AS_PICTURE, status.REST_AS_PICTURE),
    *(status.INSTALL_CONTROLNET, status.GET_HAND_MODEL, status.GET_SDXL_MODEL),
    *(fetching.STOPPED, fetching.FORBIDDEN, preview.NO_PICTURE, preview.UNUSED_DRAWING),
    *(fix.NO_PICTURE, fix.NO_CHECKPOINT, NO_HAND, NOTHING_TO_COMPARE, fix.NOTHING_TO_CHOOSE),
    *(gesture_panel.NO_PICTURE, gesture_panel.NO_NAME, gesture_panel.SAVED, gesture_panel.REMOVED),
)
"""Texts that appear only after a click, each a text node of its own."""
NAMES = {"MeshGraphormer", FAMILY_NAMES[SD1], FAMILY_NAMES[SDXL], fetching.HAND_CONTROLNET.name}
"""Names, which no language translates."""


SCRIPTS = sorted((PROJECT / "javascript").glob("handrefiner_editor*.js"))
NO_WORDS = {"Content-Type", "POST", "SELECT", "HTTP ", *"AFNSZ", "Tab", "Escape", "Delete"}
NO_WORDS |= {"Ctrl+Z", "Ctrl+Y", "PageUp", "PageDown"}
"""Names of keys and of what the browser knows."""


def texts_of_the_editor():
    """Return what the hand editor shows: its literals with a capital, and the joints' names."""
    found = set()
    for path in SCRIPTS:
        code = re.sub(r"^\s*//.*|\s// .*", "", path.read_text("utf-8"), flags=re.MULTILINE)
        code = re.sub(r"'\s*\+\s*'", "", code)
        found |= set(re.findall(r"'([A-Z][^'\n]*)'", code))
        for table in re.findall(r"HANDREFINER_PARTS = \{(.*?)\}", code, flags=re.DOTALL):
            found |= set(re.findall(r"'([^']+)'", table))
    return found - NO_WORDS


def texts_in(html):
    """Return the text nodes of HTML, as the WebUI's own translation sees them."""
    return {text.strip() for text in re.split(r"<[^>]*>", html)}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Every text of the panel in both tabs: labels, tooltips, buttons, folds and lines."""
    stand_in.WebUI(tmp_path_factory.mktemp("webui")).build_page()
    found = set(SAID_LATER) | texts_of_the_editor()
    for elem_id, block in gr.page.blocks.items():
        if not elem_id.startswith("handrefiner"):
            continue
        found |= {getattr(block, name, None) or "" for name in ("label", "info", "tooltip")}
        if isinstance(block, gr.Button | gr.HTML):
            found |= texts_in(block.value)
    return {text for text in found if re.search(r"\w", text)} - NAMES


def test_there_is_a_translation():
    assert "de_DE" in [path.stem for path in FILES]


def test_the_words_of_the_editor_are_found():
    assert len(SCRIPTS) == 5
    assert {"Use this pose", "Index finger", "end joint"} <= texts_of_the_editor()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_translation_has_every_text_that_the_panel_shows_and_no_other(shown, path):
    given = set(json.loads(path.read_text("utf-8")))
    assert shown - given == set(), "is missing"
    assert given - shown == set(), "is shown no more"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_translation_keeps_what_must_be_typed_as_it_is(path):
    """Placeholders, file names and addresses."""
    literal = r"\[[A-Z]+\]|\w+_\w+|https?://[\w./-]+|--[a-z-]+"
    for original, translated in json.loads(path.read_text("utf-8")).items():
        assert translated.strip()
        assert sorted(re.findall(literal, original)) == sorted(re.findall(literal, translated))
