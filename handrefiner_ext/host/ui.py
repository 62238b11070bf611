"""The panel in the txt2img and img2img tabs, built from the schema, with its preview."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Any

import gradio as gr
import numpy as np
from modules.infotext_utils import PasteField, image_from_url_text
from modules.ui_common import create_refresh_button
from modules.ui_components import InputAccordion

from handrefiner_ext.api.body import Arguments, read_arguments
from handrefiner_ext.errors import HandRefinerError, InvalidParameter
from handrefiner_ext.host import controlnet
from handrefiner_ext.host.inputs import read_depth_in, read_drawn_mask
from handrefiner_ext.host.layout import (
    FIELDS,
    FIRST,
    IMG2IMG_ONLY,
    LISTS,
    MULTILINE,
    SWITCH,
    TABS,
    advise,
    kind_of,
    knob_of,
)
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.host.sketch import make_sketch, split_sketch
from handrefiner_ext.infotext import restore
from handrefiner_ext.knobs import coerce
from handrefiner_ext.pictures.masks import draw_mask
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.pipeline import hints
from handrefiner_ext.report import list_panel_lines
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import Image

logger = logging.getLogger(__name__)
TITLE = "HandRefiner"
NO_PICTURE = "Drop a picture here first, or take the last one that was generated."
UNUSED_DRAWING = "What you painted counts only where Mask is drawn or union."
ANOTHER = "another"
PLACE_OF_ANOTHER = list(FIELDS).index(ANOTHER)
Pictures = list[tuple[Image, str]]


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
    """Build the panel; return the components in the order of the script's arguments."""
    panel = Panel("img2img" if is_img2img else "txt2img")
    switch = InputAccordion(
        bool(FIELDS[SWITCH].default), label=TITLE, elem_id=f"handrefiner_{panel.tab}"
    )
    panel.parts[SWITCH] = switch
    with switch:
        panel.add(FIRST)
        advice = gr.HTML("", elem_id=panel.elem_id("advice"), visible=False)
        with gr.Accordion("Advanced", open=False, elem_id=panel.elem_id("advanced")):
            _add_tabs(panel)
        with gr.Accordion("Preview", open=False, elem_id=panel.elem_id("preview")):
            given = build_preview(script, panel.tab, panel.in_order)
    _connect_advice(panel, advice)
    _connect_infotext(script, panel)
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
        "info": knob.help,
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
    """Update the advice beside the slider; it is hidden where there is none."""
    try:
        family = controlnet.checkpoint_family()
        choice = controlnet.choose_model(controlnet.list_models(), family, wanted)
    except Exception:
        logger.exception("HandRefiner could not ask which ControlNet model would be used")
        choice = controlnet.ModelChoice(None, None, "")
    text = advise(float(strength), choice.name, choice.recommended_strength, choice.reason)
    return gr.update(value=text, visible=bool(text))


def _connect_infotext(script: Any, panel: Panel) -> None:
    targets = {name: Restore(name) for name in FIELDS}
    # Without an `api` name: the host would set it on the request, which knows no such field.
    script.infotext_fields = [PasteField(panel.parts[n], target) for n, target in targets.items()]
    script.paste_field_names = list(targets.values())


def build_preview(script: Any, tab: str, components: Callable[[], list[Any]]) -> list[Any]:
    """Build the fold; return what holds the mask drawn by hand, and the depth map."""
    with gr.Row():
        take = gr.Button("Take the last picture", elem_id=f"handrefiner_{tab}_take")
        show = gr.Button(
            "Show hands", variant="primary", elem_id=f"handrefiner_{tab}_show", size="sm"
        )
        another = gr.Button("Another mesh", elem_id=f"handrefiner_{tab}_show_another", size="sm")
    sketch = make_sketch(
        "Picture; paint on it what may change (mask: drawn or union)",
        f"handrefiner_{tab}_sketch",
    )
    depth_in = gr.Image(
        label="Depth map of your own instead of a search (near is bright, black = no hand)",
        source="upload",
        type="pil",
        image_mode="I",  # "RGB" would turn every 16-bit map white
        elem_id=f"handrefiner_{tab}_depth_in",
        height=200,
    )
    said = gr.HTML("", elem_id=f"handrefiner_{tab}_said")
    pictures = gr.Gallery(
        label="Hands, depth and mask",
        elem_id=f"handrefiner_{tab}_hints",
        columns=3,
        object_fit="contain",
        height="auto",
        show_label=False,
        visible=False,
    )
    show.click(
        show_hands,
        inputs=[*components(), sketch, depth_in],
        outputs=[pictures, said],
        show_progress=True,
    )
    another.click(
        show_another,
        inputs=[*components(), sketch, depth_in],
        outputs=[components()[PLACE_OF_ANOTHER], pictures, said],
        show_progress=True,
    )
    script.on_after_component(partial(_connect_gallery, take, sketch), elem_id=f"{tab}_gallery")
    return [sketch, depth_in]


def _connect_gallery(take: Any, sketch: Any, made: Any) -> None:
    """Connect the button with the WebUI's gallery, which is built after the panel."""
    take.click(
        image_from_url_text,
        _js="extract_image_from_gallery",
        inputs=[made.component],
        outputs=[sketch],
        show_progress=False,
    )


def show_hands(*values: object) -> tuple[Any, str]:
    """Return overlay, depth and mask for the values in view, and the words below them."""
    try:
        pictures, text = _preview(values)
    except HandRefinerError as error:
        pictures, text = [], str(error)
    except Exception as error:
        logger.exception("HandRefiner's preview failed")
        pictures, text = [], f"The preview failed: {type(error).__name__}: {error}"
    return gr.update(value=pictures, visible=bool(pictures)), _paragraphs(text)


def show_another(*values: object) -> tuple[int, Any, str]:
    """Show the next mesh of every hand, after the last the best again; return its number too."""
    number = _next_mesh(values[PLACE_OF_ANOTHER])
    chosen = [*values[:PLACE_OF_ANOTHER], number, *values[PLACE_OF_ANOTHER + 1 :]]
    return number, *show_hands(*chosen)


def _next_mesh(shown: object) -> int:
    try:
        number = int(coerce(FIELDS[ANOTHER], shown)) + 1
        return int(coerce(FIELDS[ANOTHER], number))
    except InvalidParameter:
        return 0


def _preview(values: Sequence[object]) -> tuple[Pictures, str]:
    arguments = read_arguments(values)
    picture = picture_of(arguments)
    if picture is None:
        return [], NO_PICTURE
    params, size = arguments.params, (picture.shape[0], picture.shape[1])
    drawn = read_drawn_mask(arguments.drawn_mask, size)
    used = drawn if params.uses_drawing else None
    depth_in = read_depth_in(arguments.depth_in, size)
    seen = hints(picture, params, build_stages(params, read_model_home()), used, depth_in)
    pictures = [
        (draw_overlay(picture, seen), "hands"),
        (seen.maps.control, "depth"),
        (draw_mask(seen.maps.mask), "mask"),
    ]
    unused = "" if used is drawn else UNUSED_DRAWING
    return pictures, "\n".join([*list_panel_lines(seen), unused])


def picture_of(arguments: Arguments) -> Image | None:
    """Return the picture under the sketch, (H, W, 3), or None."""
    sketch = split_sketch(arguments.drawn_mask)
    if sketch is None or sketch.picture is None:
        return None
    return np.asarray(sketch.picture.convert("RGB"), dtype=np.uint8)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in text.splitlines())
