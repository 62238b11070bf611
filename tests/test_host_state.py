"""What a second pass changes in the WebUI is put back, whatever happens in between."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest
from host_runs import BRIGHT, PLAIN, run
from modules import sd_samplers, shared

from handrefiner_ext.host.patches import attribute, options


@pytest.fixture
def settings(monkeypatch):
    """The settings of a WebUI, as the code finds them."""
    monkeypatch.setattr(shared.opts, "data", {"save_mask": True, "other": 1})
    return shared.opts.data


def test_settings_come_back_and_those_that_were_absent_are_absent_again(settings):
    with suppress(KeyError), options({"save_mask": False, "new": 7}):
        assert settings == {"save_mask": False, "new": 7, "other": 1}
        settings["other"] = 2
        raise KeyError
    assert settings == {"save_mask": True, "other": 2}


class Script:
    def process(self):
        return "the class's"


def test_a_method_replaced_on_an_instance_is_the_classs_again():
    script = Script()
    with suppress(KeyError), attribute(script, "process", lambda: "another"):
        assert script.process() == "another"
        raise KeyError
    assert vars(script) == {}
    assert script.process() == "the class's"


def test_a_value_of_the_instance_comes_back():
    flags = SimpleNamespace(no_prompt_history=False)
    with attribute(flags, "no_prompt_history", True):
        assert flags.no_prompt_history
    assert flags.no_prompt_history is False


def test_a_sampler_that_another_extension_hands_out_is_the_outer_runs_alone(webui, monkeypatch):
    """Tiled Diffusion's splits what it samples into the tiles of the outer picture."""
    pytest.importorskip("torch")
    made = []
    real = sd_samplers.create_sampler

    def hand_out(name, model):
        made.append(name)
        return real(name, model)

    monkeypatch.setattr(sd_samplers, "create_sampler", hand_out)
    done = run(webui.img2img(BRIGHT, PLAIN, denoising_strength=0.5, sampler_name="Euler a"))
    assert "1 right refined; 2 left refined" in done.infotexts[0]
    assert made == ["Euler a"]
    assert sd_samplers.create_sampler is hand_out
