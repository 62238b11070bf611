"""Infotext: what is written is read again, and what is foreign changes nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handrefiner_ext import __version__
from handrefiner_ext.infotext import key_of, restore, to_infotext, written_fields
from handrefiner_ext.knobs import WEBUI
from handrefiner_ext.params import RefineParams, fields_of

HOST_PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""How the host cuts a line of parameters into keys and values."""


def host_quotes(text):
    """The host puts values with these characters in quotation marks."""
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ",\n:") else text


def host_line(pairs):
    """The last line of a picture's infotext as the host writes it."""
    line = {"Steps": "20", "Seed": "1", "Size": "512x512", **pairs}
    return ", ".join(k if k == v else f"{k}: {host_quotes(v)}" for k, v in line.items())


def host_reads(text):
    """What the host makes of an infotext's last line."""
    read = {}
    *_, line = text.strip().split("\n")
    for key, found in HOST_PARAMETER.findall(line):
        value = found
        if value[0] == '"' and value[-1] == '"':
            try:
                value = json.loads(value)
            except ValueError:
                value = found
        size = re.match(r"^(\d+)x(\d+)$", value)
        if size is None:
            read[key] = value
        else:
            read[f"{key}-1"], read[f"{key}-2"] = size.groups()
    return read


def values(f):
    """Any value that a parameter allows."""
    limits, kind = f.metadata["knob"], type(f.default)
    if limits.choices is not None:
        return st.sampled_from(limits.choices)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(int(limits.ge), int(limits.le))
    if kind is float:
        return st.floats(limits.ge, limits.le)
    awkward = st.sampled_from(['"', "\\", "u0041", "512x768", ", ", ": ", "\n", "\r", "\u2028"])
    return st.text() | st.lists(awkward | st.text(max_size=2), max_size=5).map("".join)


FIELDS = fields_of(WEBUI)
PARAMS = st.fixed_dictionaries({}, optional={f.name: values(f) for f in FIELDS}).map(
    lambda chosen: RefineParams(**{**chosen, "enabled": True})
)


@given(PARAMS)
@example(RefineParams(enabled=True, prompt='"quoted"'))
@example(RefineParams(enabled=True, prompt="512x768"))
@example(RefineParams(enabled=True, prompt="hand \\(anatomy\\), five: fingers\nnails"))
@example(RefineParams(enabled=True, hands=""))
@example(RefineParams(enabled=True, prompt="\\u0041\\\\u005c\r\x00\U000e0001"))
def test_the_host_reads_back_what_was_written(params):
    infotext = host_reads("a prompt\n" + host_line(to_infotext(params)))
    assert RefineParams(**{f.name: restore(f, infotext) for f in FIELDS}) == params


@given(PARAMS)
def test_pasting_a_picture_of_ours_sets_every_parameter(params):
    said = host_reads(host_line(to_infotext(params)))
    assert {f.name: restore(f, said) for f in FIELDS} == {
        f.name: getattr(params, f.name) for f in FIELDS
    }


@given(PARAMS)
def test_keys_and_values_survive_the_host(params):
    for key, value in to_infotext(params).items():
        assert re.fullmatch(r"\w[\w \-/]+", key)
        assert value
        assert value.isprintable()


def test_only_the_version_and_the_strength_are_written_where_all_is_default():
    assert to_infotext(RefineParams(enabled=True)) == {
        "HandRefiner": __version__,
        "HandRefiner strength": "0.55",
    }


def another_value(f):
    """A value that is not the default; None where there is no other."""
    limits = f.metadata["knob"]
    if type(f.default) is bool:
        return not f.default
    candidates = limits.choices or (("x",) if limits.ge is None else (limits.ge, limits.le))
    return next((value for value in candidates if value != f.default), None)


@pytest.mark.parametrize(
    "f", [f for f in written_fields() if another_value(f) is not None], ids=lambda f: f.name
)
def test_a_value_that_is_not_the_default_is_written_under_its_name(f):
    value = type(f.default)(another_value(f))
    written = to_infotext(replace(RefineParams(), **{f.name: value}))
    assert written[key_of(f)] == str(value)
    knob = f.metadata["knob"]
    assert key_of(f) == f"HandRefiner {(knob.key or knob.label).lower()}"


def test_the_key_of_the_results_is_no_parameters_key():
    assert "HandRefiner hands" not in [key_of(f) for f in written_fields()]


def test_no_two_parameters_share_a_key():
    keys = [key_of(f) for f in written_fields()]
    assert len(set(keys)) == len(keys) == len(FIELDS) - 1


FOREIGN = st.dictionaries(
    st.text().filter(lambda key: not key.startswith("HandRefiner")),
    st.text() | st.none() | st.integers() | st.lists(st.text()),
)


@given(FOREIGN)
@example({})
@example(host_reads("Steps: 20, Sampler: Euler, ADetailer model: hand_yolov8n.pt, Size: 512x512"))
def test_foreign_text_changes_nothing(infotext):
    assert all(restore(f, infotext) is None for f in FIELDS)


@pytest.mark.parametrize("value", ["2", "nan", "", "strong", None, 0.5, True])
def test_a_value_that_is_not_allowed_is_left_out(value):
    said = {
        "HandRefiner": __version__,
        "HandRefiner strength": value,
        "HandRefiner which hands": "left",
    }
    restored = {f.name: restore(f, said) for f in FIELDS}
    assert (restored["enabled"], restored["hands"], restored["strength"]) == (True, "left", None)
