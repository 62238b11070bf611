"""The panel in the txt2img and img2img tabs, built from the schema."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from modules.infotext_utils import PasteField
from modules.ui_common import create_refresh_button
from modules.ui_components import InputAccordion

from handrefiner_ext.host import controlnet
from handrefiner_ext.host.layout import (
    FIELDS,
    FIRST,
    IMG2IMG_ONLY,
    MULTILINE,
    SWITCH,
    TABS,
    advise,
    kind_of,
    knob_of,
)
from handrefiner_ext.host.lists import LISTS
from handrefiner_ext.host.preview import build_preview
from handrefiner_ext.infotext import restore

log = logging.getLogger(__name__)
TITLE = "HandRefiner"


@dataclass(frozen=True)
class Restore:
    """What pasting sets one parameter to; equal in both tabs, so that "send to" finds it there."""

    name: str

    def __call__(self, infotext: dict[str, Any]) -> Any:
        return restore(FIELDS[self.name], infotext)


@dataclass
class Panel:
    """Components by parameter, made as they are placed."""

    tab: str
    parts: dict[str, Any] = field(default_factory=dict)

    def elem_id(self, name: str) -> str:
        return f"handrefiner_{self.tab}_{name}"

    def add(self, name: str) -> None:
        """Make the component of a parameter where the page stands now."""
        self.parts[name] = MAKERS[kind_of(name, tuple(LISTS))](self, name)

    def add_row(self, names: Sequence[str]) -> None:
        with gr.Row(elem_id=self.elem_id(f"row_{names[0]}")):
            for name in names:
                self.add(name)

    def in_order(self) -> list[Any]:
        return [self.parts[name] for name in FIELDS]


def build_panel(script: Any, is_img2img: bool) -> list[Any]:
    """The components in the order of the script's arguments: the schema, then the drawn mask."""
    panel = Panel("img2img" if is_img2img else "txt2img")
    switch = InputAccordion(FIELDS[SWITCH].default, label=TITLE, elem_id=f"handrefiner_{panel.tab}")
    panel.parts[SWITCH] = switch
    with switch:
        panel.add(FIRST)
        advice = gr.HTML("", elem_id=panel.elem_id("advice"), visible=False)
        with gr.Accordion("Advanced", open=False, elem_id=panel.elem_id("advanced")):
            _add_tabs(panel)
        with gr.Accordion("Preview", open=False, elem_id=panel.elem_id("preview")):
            drawn_mask = build_preview(script, panel.tab, panel.in_order)
    _connect_advice(panel, advice)
    _connect_infotext(script, panel)
    return [*panel.in_order(), drawn_mask]


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
        "info": knob.help,
        "elem_id": panel.elem_id(name),
        "visible": panel.tab == "img2img" or name not in IMG2IMG_ONLY,
    }


def _make_slider(panel: Panel, name: str) -> Any:
    knob = knob_of(name)
    return gr.Slider(minimum=knob.ge, maximum=knob.le, step=knob.step, **_common(panel, name))


def _make_dropdown(panel: Panel, name: str) -> Any:
    """A list of the WebUI's takes other names, too: a pasted one may not be installed here."""
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


def _connect_advice(panel: Panel, advice: Any) -> None:
    strength, model = panel.parts[FIRST], panel.parts["control_model"]
    for component in (strength, model, panel.parts[SWITCH]):
        component.change(
            show_advice,
            inputs=[strength, model],
            outputs=[advice],
            show_progress=False,
            queue=False,
        )


def show_advice(strength: float, wanted: str) -> Any:
    """What stands beside the slider, hidden where there is nothing to say."""
    try:
        family = controlnet.checkpoint_family()
        choice = controlnet.choose_model(controlnet.list_models(), family, wanted)
    except Exception:
        log.exception("HandRefiner could not ask which ControlNet model would be used")
        choice = controlnet.ModelChoice(None, None, "")
    text = advise(float(strength), choice.name, choice.recommended_strength, choice.reason)
    return gr.update(value=text, visible=bool(text))


def _connect_infotext(script: Any, panel: Panel) -> None:
    targets = {name: Restore(name) for name in FIELDS}
    # Without an `api` name: the host would set it on the request, which knows no such field.
    script.infotext_fields = [PasteField(panel.parts[n], target) for n, target in targets.items()]
    script.paste_field_names = list(targets.values())
