"""The settings page's button collects what a report of a fault needs, on the stand-in."""

from __future__ import annotations

import logging
from pathlib import Path

import gradio as gr
import pytest
from host_runs import BRIGHT, PLAIN, run
from modules import paths, shared

from handrefiner_ext import __version__
from handrefiner_ext.host import problem_report
from handrefiner_ext.host.problem_report import BUTTON, MESSAGES, NAME
from handrefiner_ext.host.settings import SECTION

SECRET = "a secret prompt"


@pytest.fixture
def page(webui, tmp_path, monkeypatch):
    """The settings page with our button on it, nothing said before, and no models of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    MESSAGES.texts.clear()
    info = shared.opts.data_labels[NAME]
    info.component(label=info.label, value=info.default, elem_id=f"setting_{NAME}")
    return webui


def press():
    """What a click puts into the text."""
    (event,) = gr.page.blocks[f"setting_{NAME}"].events["click"]
    answer = gr.fire(event)
    assert event.outputs == (gr.page.blocks[f"{NAME}_text"],)
    assert answer["visible"]
    return answer["value"]


def test_the_button_is_an_entry_of_our_section_without_a_value(page):
    info = shared.opts.data_labels[NAME]
    assert (info.section, info.default) == (SECTION, BUTTON)
    assert NAME not in shared.opts.data
    assert gr.page.blocks[f"setting_{NAME}"].value == BUTTON
    text = gr.page.blocks[f"{NAME}_text"]
    assert not text.visible
    assert text.show_copy_button


def test_the_report_says_what_doctor_says_and_what_the_webui_knows(page):
    shared.opts.data["handrefiner_keep_on_cpu"] = False
    said = press()
    for expected in (
        *(f"handrefiner {__version__}", "- backend draft: can be used", "### Files of weights"),
        *("### WebUI", "- flags: api", "- extensions: handrefiner\n", "checkpoint: sd1"),
        *("control_sd15_inpaint_depth_hand_fp16", "keep_on_cpu = False"),
        *("- no HandRefiner in it", "nothing about HandRefiner"),
    ):
        assert expected in said


def test_the_last_run_and_its_messages_are_in_it_and_nothing_personal(page, tmp_path):
    hands = {**PLAIN, "strength": 0.65, "prompt": SECRET, "hands": "9"}
    run(page.txt2img([BRIGHT], hands, prompt=SECRET, width=512, height=256))
    shared.opts.data["handrefiner_models_dir"] = str(tmp_path / "hands")
    logger = logging.getLogger("handrefiner_ext.host.script")
    try:
        raise OSError(f"{tmp_path / 'x.ckpt'} is damaged")
    except OSError:
        logger.exception("HandRefiner could not work on this picture.")
    said = press()
    assert "- HandRefiner strength: 0.65" in said
    assert "- HandRefiner which hands: 9" in said
    assert "ERROR handrefiner_ext.host.script: HandRefiner could not work" in said
    assert "OSError: …/x.ckpt is damaged" in said
    assert SECRET not in said
    assert str(tmp_path) not in said
    assert "models_dir = …/hands" in said


def test_a_webui_that_keeps_no_notes_of_its_runs_has_no_parameters(page):
    (Path(paths.data_path) / "params.txt").unlink(missing_ok=True)
    assert "- no HandRefiner in it" in press()


def test_only_the_last_messages_are_kept(page):
    for number in range(problem_report.LOG_LINES + 5):
        logging.getLogger("handrefiner_ext").warning("message %d", number)
    assert len(MESSAGES.texts) == problem_report.LOG_LINES
    assert "message 4\n" not in press()


def test_a_report_that_fails_says_so_in_its_place(page, monkeypatch, tmp_path, caplog):
    def fail():
        raise RuntimeError(f"in {tmp_path / 'webui'}")

    monkeypatch.setattr(problem_report, "list_models", fail)
    said = press()
    assert said == "The report failed: RuntimeError: in …/webui"
    assert "could not collect a report" in caplog.text


@pytest.mark.parametrize("configured", [True, False])
def test_warnings_still_reach_the_console_of_a_webui_without_loglevel(
    page, monkeypatch, capsys, configured
):
    """Python prints them only where no handler is there, and ours must not change that."""
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()] if configured else [])
    logger = logging.getLogger("handrefiner_ext.host.script")
    logger.warning("HandRefiner: something is wrong")
    logger.debug("a detail")
    expected = "" if configured else "HandRefiner: something is wrong\n"
    assert capsys.readouterr().err == expected


def test_a_reload_of_the_page_keeps_each_message_once(page):
    problem_report.register_button()
    MESSAGES.texts.clear()
    logging.getLogger("handrefiner_ext").warning("once")
    assert len(MESSAGES.texts) == 1
