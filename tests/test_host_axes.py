"""The X/Y/Z plot's axes, on the stand-in of the WebUI."""

from __future__ import annotations

import pytest
import stand_in
from host_runs import BRIGHT, PLAIN, hands_of
from modules import errors, script_callbacks, scripts, shared

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.host.xyz import CARRIER, LEFT_OUT, SWEPT, add_axes, axis_label, set_value
from handrefiner_ext.knobs import WEBUI
from handrefiner_ext.params import fields_of


def axes(webui):
    """Label -> axis of ours."""
    module = next(d.module for d in scripts.scripts_data if hasattr(d.module, "axis_options"))
    ours = [option for option in module.axis_options if option.label.startswith("[HandRefiner]")]
    assert len(ours) == len({option.label for option in ours})
    return {option.label: option for option in ours}


def sweep(webui, label, texts, hands=None):
    """The infotexts of a sweep; no hook may have failed."""
    request = webui.txt2img([BRIGHT], hands or PLAIN, width=512, height=256)
    results = webui.find("X/Y/Z plot").run(request, f"[HandRefiner] {label}", texts)
    assert errors.reported == []
    return [processed.infotexts[0] for processed in results]


def test_what_people_sweep_is_an_axis_and_the_strength_is_the_first(webui):
    found = axes(webui)
    assert next(iter(found)) == "[HandRefiner] Strength"
    assert set(found) == {axis_label(f) for f in fields_of(WEBUI) if f.name in SWEPT}
    assert len(found) == len(SWEPT) == 21


def test_a_setting_adds_every_other_parameter_but_those_left_out(webui):
    shared.opts.data["handrefiner_all_axes"] = True
    assert add_axes() is True
    found = axes(webui)
    assert set(found) == {axis_label(f) for f in fields_of(WEBUI) if f.name not in LEFT_OUT}
    assert found["[HandRefiner] Checkpoint"].cost > found["[HandRefiner] VAE"].cost > 0


def test_axes_are_added_once_however_often_the_page_is_built(webui):
    before = set(axes(webui))
    assert add_axes() is True
    assert set(axes(webui)) == before


def test_axes_wait_for_the_page_where_the_plot_is_loaded_later(tmp_path, monkeypatch):
    started = stand_in.WebUI(tmp_path)
    late = [d for d in scripts.scripts_data if hasattr(d.module, "axis_options")]
    del late[0].module.axis_options[1:]
    scripts.scripts_data[:] = [d for d in scripts.scripts_data if d not in late]
    assert add_axes() is False
    script_callbacks.forget_all()
    scripts.load_script(started.script)
    scripts.scripts_data += late
    assert axes(started) == {}
    script_callbacks.call("before_ui")
    assert axes(started)


def test_each_cell_has_its_value_and_the_others_stay(webui):
    pytest.importorskip("torch")
    texts = sweep(webui, "Strength", "0.2, 0.4", {**PLAIN, "steps": 9})
    assert ["HandRefiner strength: 0.2" in text for text in texts] == [True, False]
    assert all("HandRefiner steps: 9" in text for text in texts)
    assert all("refined" in hands_of(text) for text in texts)


def test_the_switch_can_be_an_axis_and_leaves_nothing_in_the_next_cell(webui):
    pytest.importorskip("torch")
    texts = sweep(webui, "Enable", "True, False, True")
    assert ["HandRefiner" in text for text in texts] == [True, False, True]


def test_a_value_that_cannot_be_stops_the_plot_before_anything_is_made(webui):
    with pytest.raises(InvalidParameter, match="strength = 2"):
        sweep(webui, "Strength", "0.5, 2")
    assert webui.find("ControlNet").seen == []


def test_axes_offer_choices_where_there_are_some(webui):
    found = axes(webui)
    assert found["[HandRefiner] Enable"].choices() == ["True", "False"]
    assert found["[HandRefiner] Mask"].choices() == list(
        next(f for f in fields_of(WEBUI) if f.name == "mask").metadata["knob"].choices
    )
    assert stand_in.HAND in found["[HandRefiner] Control model"].choices()
    assert found["[HandRefiner] Strength"].choices is None


def test_cells_do_not_share_the_dictionary_of_values(webui):
    class Cell:
        pass

    first = Cell()
    set_value("strength", first, 0.4, [])
    second = Cell()
    setattr(second, CARRIER, getattr(first, CARRIER))
    set_value("steps", second, 9, [])
    assert getattr(first, CARRIER) == {"strength": 0.4}
    assert getattr(second, CARRIER) == {"strength": 0.4, "steps": 9}
