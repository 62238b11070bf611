"""The one schema of parameters."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import handrefiner_ext
from handrefiner_ext.cli.options import options_table
from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.knobs import CLI, coerce
from handrefiner_ext.params import MAIN, RefineParams, fields_of

FIELDS = {f.name: f for f in fields(RefineParams)}
names = pytest.mark.parametrize("name", list(FIELDS))


def knob(name):
    return FIELDS[name].metadata["knob"]


def values(name):
    """Any value that the field allows."""
    kind, limits = type(FIELDS[name].default), knob(name)
    if limits.choices is not None:
        return st.sampled_from(limits.choices)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(int(limits.ge), int(limits.le))
    if kind is float:
        return st.floats(limits.ge, limits.le)
    return st.text().map(str.strip)


@names
@given(data=st.data())
def test_the_text_of_a_value_is_read_as_that_value(name, data):
    value = data.draw(values(name))
    again = coerce(FIELDS[name], str(value))
    assert again == value
    assert type(again) is type(FIELDS[name].default)


@names
@given(data=st.data())
def test_params_hold_what_they_are_given(name, data):
    value = data.draw(values(name))
    assert getattr(RefineParams(**{name: value}), name) == value
    assert getattr(RefineParams(**{name: str(value)}), name) == value


def wrong_values(name):
    """Values that the field does not allow."""
    kind, limits = type(FIELDS[name].default), knob(name)
    common = (
        st.none() | st.lists(st.integers(), max_size=2) | st.sampled_from(["nan", "a", "1e999"])
    )
    if limits.choices is not None:
        return common | st.text().filter(lambda t: t.strip() not in limits.choices) | st.booleans()
    if kind is bool:
        return common | st.integers(2) | st.just("Falsch")
    if kind is str:
        return st.none() | st.integers() | st.booleans()
    outside = st.floats(max_value=limits.ge, exclude_max=True) | st.floats(
        min_value=limits.le, exclude_min=True
    )
    fractions = st.just(limits.ge + 0.5) if kind is int else st.nothing()
    return common | outside | fractions | st.just(float("nan")) | st.booleans()


@names
@given(data=st.data())
def test_a_wrong_value_is_refused_with_the_field_and_what_is_allowed(name, data):
    wrong = data.draw(wrong_values(name))
    for form in (wrong, str(wrong)) if not isinstance(wrong, (str, bool)) else (wrong,):
        if type(FIELDS[name].default) is str and knob(name).choices is None and form is not wrong:
            continue  # any text is text
        with pytest.raises(InvalidParameter) as caught:
            RefineParams(**{name: form})
        assert str(caught.value).startswith(f"{name} = ")
        assert knob(name).describe_allowed(type(FIELDS[name].default)) in str(caught.value)


@pytest.mark.parametrize("word", ["true", "True", " YES ", "on", "1", True])
def test_every_word_for_true_is_true(word):
    assert RefineParams(keep_best=word).keep_best is True


@pytest.mark.parametrize("word", ["false", "False", "no", "OFF", "0", False])
def test_every_word_for_false_is_false(word):
    assert RefineParams(outline=word).outline is False


@names
def test_every_field_has_a_label_a_help_text_and_an_allowed_default(name):
    assert knob(name).label
    assert knob(name).help
    assert coerce(FIELDS[name], FIELDS[name].default) == FIELDS[name].default


def test_the_parameters_that_the_paper_and_the_issue_name_have_their_defaults():
    params = RefineParams()
    assert (params.strength, params.padding_bbox) == (0.55, 30)
    assert (params.detector, params.mesh, params.keep_best) == ("auto", "auto", True)


def test_the_command_line_has_no_switch_to_turn_itself_on():
    shown = {f.name for f in fields_of(CLI)}
    assert "strength" in shown
    assert not shown & {"enabled", "control_model", "skip_img2img"}


def test_the_table_has_a_row_for_every_field_of_the_command_line_in_order():
    rows = options_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [f"--{f.name}" for f in fields_of(CLI)]
    assert all(row.count(" | ") == 3 for row in rows)


def test_whole_numbers_are_printed_whole():
    with pytest.raises(InvalidParameter, match="a whole number from 0 to 4294967295"):
        RefineParams(seed=-5)
    assert "from 0 to 4294967295 |" in options_table()
    assert knob("strength").describe_allowed(float) == "a number from 0 to 1"
    assert knob("cfg_scale").describe_allowed(float) == "a number from 0 to 30"


def test_only_the_schema_knows_which_masks_use_the_drawing():
    used = [kind for kind in knob("mask").choices if RefineParams(mask=kind).uses_drawing]
    assert used == ["drawn", "union"]
    package = Path(handrefiner_ext.__file__).parent
    pairs = re.compile(r"""["']drawn["'],\s*["']union["']""")
    naming = [p.name for p in package.rglob("*.py") if pairs.search(p.read_text("utf-8"))]
    assert naming == ["params.py"]


def test_surfaces_derive_the_main_parameter_from_the_schema():
    package = Path(handrefiner_ext.__file__).parent
    surfaces = [
        "infotext/__init__.py",
        "host/layout.py",
        "host/xyz.py",
        "api/access.py",
        "api/body.py",
    ]
    named = [p for p in surfaces if MAIN.name in (package / p).read_text("utf-8").split('"')]
    assert (MAIN.name, named) == ("strength", [])
