"""The arguments of the script, by position or by name."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_params import FIELDS, values, wrong_values

from handrefiner_ext.api.body import DEPTH_IN, DRAWN_MASK, NAMES, Arguments, read_arguments
from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.knobs import WEBUI
from handrefiner_ext.params import RefineParams, fields_of

SHOWN = [f.name for f in fields_of(WEBUI)]
LISTS = {
    **{"hands": "1,3", "boxes": "1,2,30,40", "occlusion_order": "2,1", "pose": '{"people": []}'},
    "gesture": "1: victory; fist",
}
"""Parameters whose text must be a list, a pose or gestures, with one that is."""
IN_ORDER = {"guidance_start": st.floats(0.0, 0.5), "guidance_end": st.floats(0.5, 1.0)}


def allowed(name):
    if name in IN_ORDER:
        return IN_ORDER[name]
    return st.just(LISTS[name]) if name in LISTS else values(name)


settings_of_the_webui = st.fixed_dictionaries({name: allowed(name) for name in SHOWN})


@settings(max_examples=30)
@given(settings_of_the_webui, st.none() | st.text())
def test_position_and_name_say_the_same(given_values, mask):
    by_name = read_arguments([{**given_values, DRAWN_MASK: mask}])
    by_position = read_arguments([*(given_values[name] for name in SHOWN), mask])
    assert by_name == by_position == Arguments(RefineParams(**given_values), mask)


def test_the_switch_comes_first_and_the_pictures_last():
    assert NAMES[0] == "enabled"
    assert NAMES[1] == "strength"
    assert NAMES[-2:] == (DRAWN_MASK, DEPTH_IN)


def test_without_arguments_everything_has_its_default():
    assert read_arguments([]) == read_arguments([{}]) == Arguments(RefineParams())


@settings(max_examples=30)
@given(settings_of_the_webui, st.integers(0, len(SHOWN)))
def test_places_that_are_not_given_have_their_defaults(given_values, count):
    read = asdict(read_arguments([given_values[name] for name in SHOWN[:count]]).params)
    defaults = asdict(RefineParams())
    assert all(read[name] == given_values[name] for name in SHOWN[:count])
    assert all(read[name] == defaults[name] for name in SHOWN[count:])


def test_the_panels_defaults_after_a_dict_are_not_read():
    panel = [getattr(RefineParams(), name) for name in SHOWN[1:]]
    read = read_arguments([{"strength": 0.4}, *panel, None])
    assert read.params == RefineParams(strength=0.4)


@settings(max_examples=30)
@given(settings_of_the_webui, st.sampled_from(SHOWN), st.data())
def test_an_override_wins_and_changes_nothing_else(given_values, name, data):
    value = data.draw(allowed(name))
    plain = read_arguments([given_values])
    read = read_arguments([given_values], {name: value})
    assert read.params == replace(plain.params, **{name: value})


@pytest.mark.parametrize("name", SHOWN)
@settings(max_examples=20)
@given(data=st.data())
def test_a_wrong_value_is_refused_by_name_wherever_it_comes_from(name, data):
    wrong = data.draw(wrong_values(name))
    positional = [getattr(RefineParams(), n) for n in SHOWN]
    positional[SHOWN.index(name)] = wrong
    for args, overrides in (([{name: wrong}], {}), (positional, {}), ([], {name: wrong})):
        with pytest.raises(InvalidParameter, match=f"^{name} = .* must be "):
            read_arguments(args, overrides)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_guidance_never_ends_before_it_starts(start, end):
    given_values = {"guidance_start": start, "guidance_end": end}
    if start <= end:
        assert read_arguments([given_values]).params == RefineParams(**given_values)
    else:
        with pytest.raises(InvalidParameter, match=r"^guidance_start = .* guidance_end = "):
            read_arguments([given_values])


@pytest.mark.parametrize("name", ["strenght", "Strength", "seed", "", 3, None])
def test_an_unknown_name_is_refused_with_the_names_that_exist(name):
    for args, overrides in (([{name: 1}], {}), ([], {name: 1})):
        with pytest.raises(InvalidParameter) as caught:
            read_arguments(args, overrides)
        assert f"{name} is not a parameter" in str(caught.value)
        assert ", ".join(SHOWN) in str(caught.value)


def test_a_slip_of_the_pen_gets_the_name_that_was_meant():
    with pytest.raises(InvalidParameter, match=r"Did you mean strength\?"):
        read_arguments([{"strenght": 0.5}])


def test_parameters_of_the_command_line_alone_are_refused():
    hidden = {f.name for f in fields(RefineParams)} - set(SHOWN)
    assert hidden
    for name in hidden:
        with pytest.raises(InvalidParameter):
            read_arguments([{name: FIELDS[name].default}])


def test_more_values_than_places_are_refused():
    with pytest.raises(InvalidParameter, match=f"at most {len(NAMES)} arguments"):
        read_arguments([None] * (len(NAMES) + 1))


@pytest.mark.parametrize("name", list(LISTS))
def test_a_list_that_no_picture_could_make_right_is_refused(name):
    with pytest.raises(InvalidParameter):
        read_arguments([{name: "middle"}])


def test_the_drawn_mask_is_handed_on_untouched():
    sketch = {"image": object(), "mask": object()}
    assert read_arguments([{DRAWN_MASK: sketch}]).drawn_mask is sketch
