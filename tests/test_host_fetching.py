"""The panel's download of the hand ControlNet, from a real server, into ControlNet's folder."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
import stand_in
from modules import paths, shared
from weights_server import Behaviour, make_safetensors, serving

from handrefiner_ext.host import fetching, ui
from handrefiner_ext.host.fetching import STOPPED
from handrefiner_ext.weights.manifest import HAND_CONTROLNET


@pytest.fixture
def served(webui, monkeypatch):
    """A WebUI without the hand model, and the server that has it."""
    Path(webui.controlnet_state.cn_models[stand_in.HAND]).unlink()
    behaviour = Behaviour(make_safetensors(3), redirect=True, linked=True, tag='"v1"')
    monkeypatch.setattr(fetching, "POLL_S", 0.01)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HANDREFINER_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(behaviour) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield behaviour


def place():
    return Path(paths.models_path) / "ControlNet" / HAND_CONTROLNET.name


def download():
    """What pressing the button shows, line after line; the last says how it ended."""
    (event,) = gr.page.blocks["handrefiner_txt2img_fetch"].events["click"]
    assert event.outputs[0] is gr.page.blocks["handrefiner_txt2img_status"]
    return [(line, row["visible"]) for line, row in event.fn()]


def test_the_button_fetches_the_model_shows_its_checksum_and_disappears(served):
    line, offered = download()[-1]
    assert place().read_bytes() == served.content
    assert served.sha256 in line
    assert "Ready:" in line
    assert not offered


def test_progress_is_shown_while_it_lasts_and_a_second_page_joins(served):
    served.drip_s = 0.0005
    served.content = make_safetensors(3, size=3000)
    steps = ui.fetch_model()
    first, offered = next(steps)
    assert "Downloading:" in first
    assert offered
    assert fetching.FETCHER.start() is fetching.FETCHER.running
    lines = [line for line, _ in steps]
    assert any(" %<" in line for line in lines)
    assert served.sha256 in lines[-1]
    assert len([path for path, _ in served.requests if path.startswith("/elsewhere")]) == 1


def test_what_was_stopped_goes_on_where_it_ended(served):
    served.drip_s = 0.0005
    served.content = make_safetensors(3, size=3000)
    steps = ui.fetch_model()
    next(steps)
    while not fetching.FETCHER.start().done:
        next(steps)
    gr.page.blocks["handrefiner_img2img_stop"].events["click"][0].fn()
    line, offered = list(steps)[-1]
    assert STOPPED in line
    assert offered, "it can be begun again"
    assert not place().exists()
    served.drip_s = 0.0
    assert served.sha256 in download()[-1][0]
    assert place().read_bytes() == served.content
    assert served.ranges_asked()[-1] is not None


def test_a_broken_file_is_not_kept_and_the_reason_stands_there(served):
    served.corrupt = [True] * 4
    line, offered = download()[-1]
    assert "Not ready:" in line
    assert "It was fetched twice and not kept" in line
    assert offered
    assert not place().exists()


def test_offline_is_said(served, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "Nothing is downloaded, because HF_HUB_OFFLINE is set" in download()[-1][0]


def test_a_page_that_may_install_nothing_may_not_download(served):
    shared.cmd_opts.disable_extension_access = True
    ((line, offered),) = download()
    assert fetching.FORBIDDEN in line
    assert not offered
    assert served.requests == []
