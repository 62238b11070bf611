"""What a second pass changes in the WebUI is put back, whatever happens in between."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest
from modules import shared

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
