"""The settings page's button that collects what a report of a fault needs, ready to copy.

It says what `handrefiner doctor` says, and what only the WebUI knows: its version, flags,
extensions and ControlNet models, the parameters of the last run, and HandRefiner's last messages.
"""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path
from typing import Any

import gradio as gr
from modules import extensions, paths, shared
from modules.options import OptionInfo

from handrefiner_ext.files.diagnosis import (
    LOG_LINES,
    collect,
    section_of_log,
    section_of_parameters,
    without_paths,
)
from handrefiner_ext.host.callbacks import register
from handrefiner_ext.host.serving import describe_host, list_models
from handrefiner_ext.host.settings import PREFIX, SECTION, list_changed, read_model_home

logger = logging.getLogger(__name__)
NAME = f"{PREFIX}report"
BUTTON = "Collect a report"
HINT = (
    "For a report of a fault: versions, backends, ControlNet models, the parameters of the last "
    "run and HandRefiner's last messages, without paths, names and prompts. Read it before you "
    "post it all the same."
)


class LastMessages(logging.Handler):
    """Keeps the last messages of this package, which the WebUI writes to its console only.

    Python itself prints warnings as long as no handler is there. The WebUI adds none without
    --loglevel, so this one must not count as any: it hands them on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: deque[str] = deque(maxlen=LOG_LINES)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
        printing = logging.lastResort
        if not logging.root.handlers and printing and record.levelno >= printing.level:
            printing.handle(record)


MESSAGES = LastMessages()


def register_button() -> None:
    """Keep messages from now on, and have the button added to the settings page."""
    logging.getLogger(__package__.partition(".")[0]).addHandler(MESSAGES)
    register("ui_settings", add_button, __file__)


def add_button() -> None:
    """Add the button as an entry of our section; it has no value to be saved."""
    info = OptionInfo(BUTTON, "", build_button, section=SECTION)
    info.do_not_save = True
    shared.opts.add_option(NAME, info)


def build_button(*, value: str, elem_id: str, **_: object) -> Any:
    """Build the hint, the button and the text; the WebUI takes the button for the setting."""
    gr.HTML(HINT, elem_classes="settings-info", elem_id=f"{NAME}_hint")
    button = gr.Button(value, elem_id=elem_id)
    text = gr.Textbox(
        label="Report",
        lines=20,
        max_lines=40,
        interactive=False,
        show_copy_button=True,
        visible=False,
        elem_id=f"{NAME}_text",
    )
    button.click(show_report, inputs=[], outputs=[text])
    return button


def show_report() -> Any:
    """Show the report; what cannot be collected is said in its place."""
    try:
        report = collect_report()
    except Exception as error:
        logger.exception("HandRefiner could not collect a report")
        report = without_paths(f"The report failed: {type(error).__name__}: {error}")
    return gr.update(value=report, visible=True)


def collect_report() -> str:
    """Return the report as Markdown."""
    return collect(
        read_model_home(),
        ("WebUI", describe_webui()),
        section_of_parameters(read_last_infotext()),
        section_of_log(line for text in MESSAGES.texts for line in text.splitlines()),
    )


def describe_webui() -> list[str]:
    """Return list items on version, flags, extensions, models and our settings."""
    flags = [name for name, value in vars(shared.cmd_opts).items() if value is True]
    changed = list_changed()
    models = list_models()
    lines = [
        describe_host(),
        f"flags: {', '.join(sorted(flags)) or 'none'}",
        f"extensions: {', '.join(e.name for e in extensions.active() if not e.is_builtin)}",
        f"checkpoint: {models.checkpoint_family}; auto takes: {models.chosen or models.reason}",
        f"ControlNet models: {', '.join(m.name for m in models.control_models) or 'none'}",
        f"settings that differ from the default: {', '.join(changed) or 'none'}",
    ]
    return [f"- {without_paths(line)}" for line in lines]


def read_last_infotext() -> str:
    """Return what the WebUI noted about its last run; empty where it keeps no notes."""
    try:
        return (Path(paths.data_path) / "params.txt").read_text("utf-8", "replace")
    except OSError:
        return ""
