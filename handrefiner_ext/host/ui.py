"""The panel in the txt2img and img2img tabs, built from the schema."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import gradio as gr
from modules.infotext_utils import PasteField
from modules.ui_common import create_refresh_button
from modules.ui_components import InputAccordion, ToolButton

from handrefiner_ext.host import fetching
from handrefiner_ext.host.fix_button import FixButton
from handrefiner_ext.host.gesture_panel import build_gestures
from handrefiner_ext.host.layout import (
    FIELDS,
    FIRST,
    GESTURE,
    IMG2IMG_ONLY,
    IN_VIEW,
    LISTS,
    MULTILINE,
    POSE,
    SWITCH,
    TABS,
    advise,
    kind_of,
    knob_of,
)
from handrefiner_ext.host.preview import build_preview
from handrefiner_ext.host.status import (
    ASK,
    MISSING,
    READY,
    WORKING,
    Status,
    find_status,
    write_line,
)
from handrefiner_ext.infotext import restore
from handrefiner_ext.params import RefineParams
from handrefiner_ext.weights.manifest import HAND_CONTROLNET

logger = logging.getLogger(__name__)
TITLE = "HandRefiner"


@dataclass(frozen=True)
class Restore:
    """What pasting sets one parameter to; equal in both tabs, so that "send to" finds it there."""

    name: str

    def __call__(self, infotext: dict[str, Any]) -> Any:
        return restore(FIELDS[self.name], infotext)


@dataclass
class Panel:
    """Makes components where the page stands now, and keeps them by parameter."""

    tab: str
    parts: dict[str, Any] = field(default_factory=dict)

    def elem_id(self, name: str) -> str:
        return f"handrefiner_{self.tab}_{name}"

    def add(self, name: str) -> Any:
        """Make the component of a parameter where the page stands now; return it."""
        self.parts[name] = MAKERS[kind_of(name, tuple(LISTS))](self, name)
        return self.parts[name]

    def add_row(self, names: Sequence[str]) -> None:
        with gr.Row(elem_id=self.elem_id(f"row_{names[0]}")):
            for name in names:
                self.add(name)

    def in_order(self) -> list[Any]:
        return [self.parts[name] for name in FIELDS]


def build_panel(script: Any, is_img2img: bool) -> list[Any]:
    """Build the panel; return the components in the order of the script's arguments."""
    panel = Panel("img2img" if is_img2img else "txt2img")
    switch = InputAccordion(
        bool(FIELDS[SWITCH].default), label=TITLE, elem_id=f"handrefiner_{panel.tab}"
    )
    panel.parts[SWITCH] = switch
    with switch:
        panel.add_row(IN_VIEW)
        advice = gr.HTML("", elem_id=panel.elem_id("advice"), visible=False)
        state = _add_status(panel)
        posed = _add_posed(panel)
        with gr.Accordion("Gestures", open=False, elem_id=panel.elem_id("gestures_fold")):
            build_gestures(panel.tab, lambda: panel.add(GESTURE))
        with gr.Accordion("Advanced", open=False, elem_id=panel.elem_id("advanced")):
            _add_tabs(panel)
        with gr.Accordion("Preview", open=False, elem_id=panel.elem_id("preview")):
            given = build_preview(script, panel.tab, panel.in_order)
    _connect_state(panel, [advice, *state])
    _connect_posed(panel, *posed)
    _connect_infotext(script, panel)
    FixButton(script, panel.tab, [*panel.in_order(), *given])
    return [*panel.in_order(), *given]


def _add_tabs(panel: Panel) -> None:
    with gr.Tabs(elem_id=panel.elem_id("tabs")):
        for title, rows in TABS.items():
            with gr.Tab(title, elem_id=panel.elem_id("fold_" + title.lower().replace(" ", "_"))):
                for row in rows:
                    panel.add_row(row)


def _common(panel: Panel, name: str) -> dict[str, Any]:
    knob = knob_of(name)
    return {
        "label": knob.label,
        "value": FIELDS[name].default,
        "tooltip": knob.help,
        "elem_id": panel.elem_id(name),
        "visible": panel.tab == "img2img" or name not in IMG2IMG_ONLY,
    }


def _make_slider(panel: Panel, name: str) -> Any:
    knob = knob_of(name)
    assert knob.ge is not None
    assert knob.le is not None
    return gr.Slider(minimum=knob.ge, maximum=knob.le, step=knob.step, **_common(panel, name))


def _make_dropdown(panel: Panel, name: str) -> Any:
    """Make a dropdown; the WebUI's lists take other names too, as a pasted one may be missing."""
    listed = LISTS.get(name)
    if listed is None:
        return gr.Dropdown(choices=list(knob_of(name).choices or ()), **_common(panel, name))
    choices = listed.read()
    made = gr.Dropdown(choices=choices, allow_custom_value=True, **_common(panel, name))
    if listed.refresh is not None:
        create_refresh_button(
            made,
            listed.refresh,
            lambda: {"choices": listed.read()},
            panel.elem_id(f"{name}_refresh"),
        )
    return made


def _make_checkbox(panel: Panel, name: str) -> Any:
    return gr.Checkbox(**_common(panel, name))


def _make_text(panel: Panel, name: str) -> Any:
    return gr.Textbox(lines=2 if name in MULTILINE else 1, **_common(panel, name))


MAKERS: dict[str, Callable[[Panel, str], Any]] = {
    "slider": _make_slider,
    "dropdown": _make_dropdown,
    "checkbox": _make_checkbox,
    "text": _make_text,
}


STATE_OF = (
    *(FIRST, "control_model", "mesh", "checkpoint"),
    *("steps", "cfg_scale", "sampler", "scheduler"),
)
"""The parameters on which the lines under the first row depend."""


def _add_status(panel: Panel) -> tuple[Any, Any, Any]:
    """Add the line that says what the next run uses, and the download of what is missing."""
    with gr.Row(elem_id=panel.elem_id("row_status")):
        status = gr.HTML(write_line("", [ASK]), elem_id=panel.elem_id("status"))
        look = ToolButton("↻", elem_id=panel.elem_id("look"), tooltip="Look again")
    with gr.Row(elem_id=panel.elem_id("row_fetch"), visible=False) as fetch_row:
        gr.HTML(_describe_download(), elem_id=panel.elem_id("licence"))
        fetch = gr.Button(
            "Download (0.7 GB)", variant="primary", size="sm", elem_id=panel.elem_id("fetch")
        )
        stop = gr.Button("Stop", size="sm", elem_id=panel.elem_id("stop"))
    fetch.click(fetch_model, inputs=[], outputs=[status, fetch_row], show_progress=False)
    stop.click(fetching.FETCHER.stop, inputs=[], outputs=[], show_progress=False)
    return status, fetch_row, look


def _connect_state(panel: Panel, shown: Sequence[Any]) -> None:
    *outputs, look = shown
    inputs = [panel.parts[name] for name in STATE_OF]
    arguments: dict[str, Any] = {
        "inputs": inputs,
        "outputs": outputs,
        "show_progress": False,
        "queue": False,
    }
    for component in (*inputs, panel.parts[SWITCH]):
        component.change(show_state, **arguments)
    look.click(show_state, **arguments)


def show_state(*values: object) -> tuple[Any, str, Any]:
    """Return advice, status and download. values: of the parameters of STATE_OF.

    The advice beside the slider is hidden where there is none.
    """
    said: dict[str, Any] = dict(zip(STATE_OF, values, strict=True))
    try:
        known = {name: value for name, value in said.items() if value is not None}
        status = find_status(RefineParams(**known))
    except Exception as fault:
        logger.exception("HandRefiner could not ask which ControlNet model would be used")
        status = Status(missing=f"The WebUI could not be asked ({type(fault).__name__}: {fault}).")
    model = status.model
    text = advise(float(said[FIRST]), model.name, model.recommended_strength)
    text = "<br>".join(filter(None, (text, escape(status.warning))))
    return (
        gr.update(value=text, visible=bool(text)),
        write_line(MISSING, [status.missing])
        if status.missing
        else write_line(READY, status.parts),
        gr.update(visible=status.can_download),
    )


POSED = "The next runs use the hands of the pose in this panel instead of a search."


def _add_posed(panel: Panel) -> tuple[Any, Any]:
    """Add the line that says that a pose is used, which else is folded away, and its end."""
    with gr.Row(elem_id=panel.elem_id("row_posed"), visible=False) as row:
        gr.HTML(f"<span>{POSED}</span>", elem_id=panel.elem_id("posed"))
        again = gr.Button("Search again", size="sm", elem_id=panel.elem_id("search_again"))
    return row, again


def _connect_posed(panel: Panel, row: Any, again: Any) -> None:
    pose = panel.parts[POSE]
    pose.change(
        lambda text: gr.update(visible=bool(text.strip())),
        inputs=[pose],
        outputs=[row],
        show_progress=False,
        queue=False,
    )
    again.click(lambda: "", inputs=[], outputs=[pose], show_progress=False, queue=False)


def _describe_download() -> str:
    """Return what the button downloads from where, and the licence, as HTML."""
    name = HAND_CONTROLNET.name
    link = f'<a href="{fetching.PAGE}" target="_blank" rel="noopener">{name}</a>'
    return f"{link}<br><span>Licence:</span> {escape(fetching.LICENCE)}"


def fetch_model() -> Iterator[tuple[str, Any]]:
    """Download the hand ControlNet; yield the status line while that lasts."""
    if not fetching.is_allowed():
        yield write_line(MISSING, [fetching.FORBIDDEN]), gr.update(visible=False)
        return
    for job in fetching.watch():
        if job.succeeded:
            yield write_line(READY, [job.describe()]), gr.update(visible=False)
        else:
            head = MISSING if job.ended else WORKING
            yield write_line(head, [job.describe()]), gr.update(visible=True)


def _connect_infotext(script: Any, panel: Panel) -> None:
    targets = {name: Restore(name) for name in FIELDS}
    # Without an `api` name: the host would set it on the request, which knows no such field.
    script.infotext_fields = [PasteField(panel.parts[n], target) for n, target in targets.items()]
    script.paste_field_names = list(targets.values())
