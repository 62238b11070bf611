"""Translations: every text that one gives is still a text of the panel."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import handrefiner_ext
from handrefiner_ext.host.layout import TABS, knob_of, placed
from handrefiner_ext.knobs import WEBUI

PACKAGE = Path(handrefiner_ext.__file__).parent
FILES = sorted((PACKAGE.parent / "localizations").glob("*.json"))


def texts_of_the_panel():
    """The schema's labels and help texts, the tabs' titles and the panel's own words."""
    knobs = [knob_of(name) for name in placed()]
    source = ast.parse((PACKAGE / "host" / "ui.py").read_text("utf-8"))
    words = {n.value for n in ast.walk(source) if isinstance(n, ast.Constant)}
    return {k.label for k in knobs} | {k.help_on(WEBUI) for k in knobs} | set(TABS) | words


def test_there_is_a_translation():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_translation_names_only_texts_that_the_panel_shows(path):
    assert set(json.loads(path.read_text("utf-8"))) <= texts_of_the_panel()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_translation_keeps_the_placeholders(path):
    texts = json.loads(path.read_text("utf-8"))
    for original, translated in texts.items():
        assert translated.strip()
        assert re.findall(r"\[[A-Z]+\]", original) == re.findall(r"\[[A-Z]+\]", translated)
