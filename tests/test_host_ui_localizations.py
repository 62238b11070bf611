"""Translations: all texts that the panel shows, and no others."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import gradio as gr
import pytest
import stand_in

import handrefiner_ext
from handrefiner_ext.hands.gestures import load_shipped
from handrefiner_ext.host import fetching, fix, gesture_panel, preview, status
from handrefiner_ext.host.fix_button import NOTHING_TO_COMPARE
from handrefiner_ext.inpaint.control_models import FAMILY_NAMES, SD1, SDXL
from handrefiner_ext.judge.quality import BETWEEN, NO_FIT
from handrefiner_ext.pipeline import NO_HAND
from handrefiner_ext.repaint import deciding, keep_best

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


SCRIPTS = sorted((PROJECT / "javascript").glob("handrefiner_*.js"))
SAID = r"textContent|aria-label|title|alt\b|say\(|return `"
"""Lines of a script on which stands what people see or hear."""
OF_A_HAND = (
    "The original was kept: |Candidate |It looks well formed|The mask leaves|The backend painted"
)
"""How the sentences begin that say why a hand is as it is."""
NO_WORDS = {"Content-Type", "POST", "SELECT", "HTTP ", *"AFNSZ", "Tab", "Escape", "Delete"}
NO_WORDS |= {"Ctrl+Z", "Ctrl+Y", "PageUp", "PageDown", "Enter", "BUTTON"}
NO_WORDS |= {deciding.REPAINTED, "HandRefiner: the last run cannot be read."}
"""Names of keys and of what the browser knows, and a line of its console."""


def read_code(path):
    """Return a script without its comments."""
    return re.sub(r"^\s*//.*|\s// .*", "", path.read_text("utf-8"), flags=re.MULTILINE)


def texts_of_the_scripts():
    """Return what editor and dialogs show: literals with a capital or translated, and the joints'
    names."""
    found = set(load_shipped())
    for path in SCRIPTS:
        code = re.sub(r"'\s*\+\s*'", "", read_code(path))
        found |= set(re.findall(r"'([A-Z][^'\n]*)'", code))
        for translated in re.findall(r"handrefinerSay\(([^()]*)\)", code):
            found |= {said for said in re.findall(r"'([^'\n]*)'", translated) if said != "left"}
        for table in re.findall(r"HANDREFINER_PARTS = \{(.*?)\}", code, flags=re.DOTALL):
            found |= set(re.findall(r"'([^']+)'", table))
    return found - NO_WORDS


def reasons():
    """Return what candidates and before/after say of a hand: the sentences about what became of it
    in `repaint/`, with {} for each number, as the page looks them up."""
    found = set()
    for path in (PROJECT / "handrefiner_ext" / "repaint").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "{}"
                    for part in node.values
                )
                found.add(re.sub(r"\d+%?", "{}", said))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    sentences = {said for said in found if re.match(OF_A_HAND, said) and said.endswith(".")}
    doubtful = {said for said in sentences if said.endswith("; {}.")}
    return (sentences - doubtful) | {
        said.replace("{}", doubt) for said in doubtful for doubt in (BETWEEN, NO_FIT)
    }


def texts_in(html):
    """Return the text nodes of HTML, as the WebUI's own translation sees them."""
    return {text.strip() for text in re.split(r"<[^>]*>", html)}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Every text of the panel in both tabs: labels, tooltips, buttons, folds and lines."""
    stand_in.WebUI(tmp_path_factory.mktemp("webui")).build_page()
    found = set(SAID_LATER) | texts_of_the_scripts() | reasons()
    for elem_id, block in gr.page.blocks.items():
        if not elem_id.startswith("handrefiner"):
            continue
        found |= {getattr(block, name, None) or "" for name in ("label", "info", "tooltip")}
        if isinstance(block, gr.Button | gr.HTML):
            found |= texts_in(block.value)
    return {text for text in found if re.search(r"\w", text)} - NAMES


def test_there_is_a_translation():
    assert "de_DE" in [path.stem for path in FILES]


def test_the_words_of_the_scripts_are_found():
    assert len(SCRIPTS) == 10
    texts = texts_of_the_scripts()
    assert {"Use this pose", "Index finger", "end joint", "Candidate", "in use", "victory"} <= texts


def test_the_reasons_of_the_judge_are_found():
    assert {
        keep_best.SAME,
        deciding.PAINTED_THE_SAME,
        "Candidate {} of {} looked best.",
        "The original was kept: it looks well formed (quality {}).",
        f"The original was kept: the judge cannot tell how well formed it is; {NO_FIT}.",
    } <= reasons()


def test_the_page_leaves_out_a_reason_that_says_no_more_than_the_decision():
    code = read_code(PROJECT / "javascript" / "handrefiner_candidates.js")
    assert f"'{deciding.REPAINTED}'" in code


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_script_says_has_no_words_of_its_own(path):
    """A word inside a template would be English in every language."""
    for line in read_code(path).splitlines():
        if not re.search(SAID, line):
            continue
        for template in re.findall(r"`([^`]*)`", line):
            bare = re.sub(r"<[^>]*>", "", re.sub(r"\$\{[^{}]*(\{[^{}]*\}[^{}]*)*\}", "", template))
            words = set(re.findall(r"[A-Za-z]{2,}", bare)) - {"HandRefiner"}
            assert not words or re.search(r"[#\[]", bare), line


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
