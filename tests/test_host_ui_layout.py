"""The panel's plan, without a WebUI: every parameter has one place and a fitting component."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import handrefiner_ext
from handrefiner_ext.host.layout import (
    FIELDS,
    IMG2IMG_ONLY,
    IN_VIEW,
    MULTILINE,
    SWITCH,
    advise,
    kind_of,
    knob_of,
    placed,
)
from handrefiner_ext.knobs import WEBUI
from handrefiner_ext.params import fields_of

OURS = re.compile(r'(\.dark )?(div|button)?(\[id\^="handrefiner_"\]|#handrefiner)')
PROJECT = Path(handrefiner_ext.__file__).parent.parent


def test_every_parameter_of_the_webui_has_exactly_one_place():
    assert sorted(placed()) == sorted(f.name for f in fields_of(WEBUI))


def test_the_switch_and_what_people_change_most_come_first():
    assert placed()[:4] == (SWITCH, *IN_VIEW) == ("enabled", "strength", "candidates", "keep_best")


def test_the_switch_is_off_by_default_and_the_first_argument():
    assert FIELDS[SWITCH].default is False
    assert next(iter(FIELDS)) == SWITCH


@pytest.mark.parametrize("name", placed())
def test_a_component_offers_what_the_schema_allows(name):
    knob, kind = knob_of(name), kind_of(name)
    assert (kind == "checkbox") == isinstance(FIELDS[name].default, bool)
    assert (kind == "dropdown") == (knob.choices is not None)
    assert (kind == "slider") == (knob.ge is not None)
    if kind == "slider":
        assert knob.le is not None
        assert knob.step is not None
        steps = (FIELDS[name].default - knob.ge) / knob.step
        assert steps == pytest.approx(round(steps)), "the slider can stand at the default"


def test_a_text_of_which_the_webui_has_a_list_becomes_a_dropdown():
    assert kind_of("sampler") == "text"
    assert kind_of("sampler", ("sampler",)) == "dropdown"


def test_labels_are_unique_since_saved_defaults_are_found_by_them():
    labels = [knob_of(name).label for name in placed()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", [*IMG2IMG_ONLY, *MULTILINE])
def test_the_special_cases_are_parameters(name):
    assert name in FIELDS


@pytest.mark.parametrize(
    ("strength", "warned"), [(0.0, False), (0.55, False), (0.8, False), (0.85, True), (1.0, True)]
)
def test_a_warning_stands_beside_a_strength_above_the_recommended_range(strength, warned):
    said = advise(strength, "control_sd15_inpaint_depth_hand_fp16", strength)
    assert ("plastic" in said) == warned
    assert bool(said) == warned


def test_another_recommendation_of_the_chosen_model_is_shown():
    assert advise(0.55, "depth <model>", 1.0) == "depth &lt;model&gt; recommends strength 1."
    assert advise(0.55, "depth model", 0.55) == ""
    assert advise(0.6, "hand model made for the default", 0.55) == ""
    assert advise(0.55, None, None) == ""


def test_style_sheet_touches_only_elements_of_ours():
    text = re.sub(r"/\*.*?\*/", "", (PROJECT / "style.css").read_text("utf-8"), flags=re.DOTALL)
    selectors = [
        selector.strip()
        for head in re.findall(r"([^{}]+)\{", text)
        if not head.strip().startswith("@")
        for selector in head.split(",")
    ]
    assert selectors
    assert all(OURS.match(s) for s in selectors)
