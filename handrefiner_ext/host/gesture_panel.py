"""The panel's fold of gestures: pictures to click, and new ones from a picture of a hand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from html import escape
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image as PillowImage

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.hands.gesture_pictures import SHIPPED_PX, draw_cut_out, shipped_picture
from handrefiner_ext.hands.gestures import (
    Gesture,
    load_gestures,
    load_shipped,
    own_place,
    remove_gesture,
    save_gesture,
)
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import read_fingers
from handrefiner_ext.registry import AUTO, RENDERERS
from handrefiner_ext.stages import build_stages

logger = logging.getLogger(__name__)

ALL = "all"
HANDS = (ALL, "left", "right", "1", "2", "3", "4")
"""Hands that a click can mean; what else `gesture` takes can be typed."""
COLUMNS = 6
NO_PICTURE = "Drop a picture of a hand here first."
NO_NAME = "Give the gesture a name first."
SAVED = "The gesture is saved; it is the last of the pictures above, and the command line knows it."
REMOVED = "The gesture is removed."


def build_gestures(tab: str, add_field: Callable[[], Any]) -> None:
    """Build the fold's content.

    Arguments:
        add_field: makes the parameter's component where the page stands, and returns it.
    """
    with gr.Row(elem_id=f"handrefiner_{tab}_row_gesture"):
        chosen = add_field()
        who = gr.Dropdown(
            choices=list(HANDS),
            value=ALL,
            label="A click is for",
            tooltip="The hand that takes the gesture you click: its side, or its number as the "
            "preview shows it.",
            elem_id=f"handrefiner_{tab}_gesture_for",
        )
    pictures = gr.Gallery(
        value=list_pictures(),
        label="Gestures",
        show_label=False,
        columns=COLUMNS,
        object_fit="contain",
        height="auto",
        allow_preview=False,
        elem_id=f"handrefiner_{tab}_gestures",
    )
    with gr.Accordion("Your own gestures", open=False, elem_id=f"handrefiner_{tab}_own_gestures"):
        given = gr.Image(
            label="A picture of a hand, seen whole",
            source="upload",
            type="pil",
            image_mode="RGB",
            elem_id=f"handrefiner_{tab}_gesture_in",
            height=200,
        )
        with gr.Row(elem_id=f"handrefiner_{tab}_row_gesture_name"):
            name = gr.Textbox(label="Name", elem_id=f"handrefiner_{tab}_gesture_name")
            save = gr.Button(
                "Save its fingers", size="sm", elem_id=f"handrefiner_{tab}_gesture_save"
            )
            remove = gr.Button("Remove", size="sm", elem_id=f"handrefiner_{tab}_gesture_remove")
        said = gr.HTML("", elem_id=f"handrefiner_{tab}_gesture_said")
    for extra in (who, name):  # else the WebUI would keep them under a name of its own
        extra.do_not_save_to_config = True
    pictures.select(choose, inputs=[who, chosen], outputs=[chosen, pictures], show_progress=False)
    save.click(save_own, inputs=[given, name], outputs=[pictures, said], show_progress=True)
    remove.click(remove_own, inputs=[name], outputs=[pictures, said], show_progress=False)


def list_pictures() -> list[tuple[PillowImage.Image | str, str]]:
    """Return pictures and names of all gestures; of ours alone if the user's cannot be read.

    A picture that ships is given as its file.
    """
    try:
        known = load_gestures()
    except HandRefinerError as reason:
        logger.warning("HandRefiner: %s", reason)
        known = load_shipped()
    return [(_find_picture(gesture), name) for name, gesture in known.items()]


def _find_picture(gesture: Gesture) -> PillowImage.Image | str:
    shipped = shipped_picture(gesture)
    if shipped is not None and shipped.is_file():
        return str(shipped)
    return _draw(gesture.name, tuple(gesture.angles.items()), gesture.thumb)


@cache
def _draw(name: str, angles: tuple[tuple[str, float], ...], thumb: Any) -> PillowImage.Image:
    """Return the picture of a gesture, drawn once for all pages, on the theme's own ground."""
    gesture = Gesture(name, dict(angles), thumb)
    return PillowImage.fromarray(draw_cut_out(gesture, RENDERERS.build(AUTO), SHIPPED_PX))


def choose(event: gr.SelectData, who: str, text: str) -> tuple[str, Any]:
    """Return the parameter with the gesture that was clicked, and the pictures with none selected.

    A second click on a selected picture would say nothing, though it may be for another hand.
    """
    pictures = list_pictures()
    _, name = pictures[int(event.index)]
    return add_wish(text, who, name), gr.update(value=pictures)


def add_wish(text: str, who: str, name: str) -> str:
    """Return the parameter with a wish for these hands in place of an older one for the same.

    One for all replaces everything; one for certain hands comes before what is wished for all.
    """
    if who == ALL:
        return name
    parts = [part.strip() for part in text.split(";") if part.strip()]
    others = [part for part in parts if part.rpartition(":")[0].strip() != who]
    certain = [part for part in others if ":" in part]
    return "; ".join([*certain, f"{who}: {name}", *(part for part in others if ":" not in part)])


def save_own(picture: Any, name: str) -> tuple[Any, str]:
    """Save the fingers of a picture's largest hand as a gesture; return pictures and words."""
    if picture is None:
        return gr.update(), _paragraph(NO_PICTURE)
    if not name.strip():
        return gr.update(), _paragraph(NO_NAME)
    try:
        params = RefineParams(hands="largest")
        pixels = np.ascontiguousarray(np.asarray(picture.convert("RGB")))
        save_gesture(name, read_fingers(pixels, params, build_stages(params, read_model_home())))
    except HandRefinerError as reason:
        return gr.update(), _paragraph(str(reason))
    except OSError as fault:
        return gr.update(), _paragraph(f"{own_place()} cannot be written ({fault.strerror}).")
    return gr.update(value=list_pictures()), _paragraph(SAVED)


def remove_own(name: str) -> tuple[Any, str]:
    """Remove a gesture of the user's own; return pictures and words."""
    if not name.strip():
        return gr.update(), _paragraph(NO_NAME)
    try:
        remove_gesture(name)
    except HandRefinerError as reason:
        return gr.update(), _paragraph(str(reason))
    return gr.update(value=list_pictures()), _paragraph(REMOVED)


def _paragraph(text: str) -> str:
    return f'<p role="status">{escape(text)}</p>'
