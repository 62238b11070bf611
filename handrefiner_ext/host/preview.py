"""The panel's fold with a picture: its hands, depth and mask, and what the user draws or gives."""

from __future__ import annotations

import atexit
import logging
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from html import escape
from itertools import count, cycle
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from modules.infotext_utils import image_from_url_text
from numpy.typing import NDArray
from PIL import Image as PillowImage

from handrefiner_ext.api.body import Arguments, read_arguments
from handrefiner_ext.errors import HandRefinerError, InvalidParameter
from handrefiner_ext.host.inputs import read_depth_in, read_drawn_mask
from handrefiner_ext.host.layout import FIELDS, call_editor
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.host.sketch import make_sketch, split_sketch
from handrefiner_ext.knobs import coerce
from handrefiner_ext.pictures.masks import draw_mask
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.pictures.picture import encode_map
from handrefiner_ext.pipeline import hints
from handrefiner_ext.report import list_panel_lines
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import Hints, Image

logger = logging.getLogger(__name__)
NO_PICTURE = "Drop a picture here first, or take the selected one of the gallery."
UNUSED_DRAWING = "What you painted counts only where Mask is drawn or union."
ANOTHER, BEST = "another", 0
OTHER_IS_USED = (
    "The next runs use this mesh, too, until another picture is here or Another mesh is 0 again."
)
PLACE_OF_ANOTHER = list(FIELDS).index(ANOTHER)
Pictures = list[tuple[str, str]]
QUICKLY: dict[str, Any] = {
    "queue": False,  # the queue's own way takes longer than the drawing
    "show_progress": False,  # gradio's moves all the while, on a core that the search needs
}
NAMES = cycle(range(48))
"""Pictures that are kept; the page copies each as soon as it is returned."""
LOOKS = count()
"""Tells the page that the words are those of another look, even where they are the same."""


def build_preview(script: Any, tab: str, components: Callable[[], list[Any]]) -> list[Any]:
    """Build the fold; return what holds the mask drawn by hand, and the depth map."""
    with gr.Row(elem_id=f"handrefiner_{tab}_row_take"):
        take = gr.Button("Take the selected picture", size="sm", elem_id=f"handrefiner_{tab}_take")
        show = gr.Button(
            "Show hands", variant="primary", elem_id=f"handrefiner_{tab}_show", size="sm"
        )
        edit = gr.Button("Edit hands", elem_id=f"handrefiner_{tab}_edit", size="sm")
        another = gr.Button("Another mesh", elem_id=f"handrefiner_{tab}_show_another", size="sm")
    sketch = make_sketch(
        "Picture; paint on it what may change (Mask: drawn or union)",
        f"handrefiner_{tab}_sketch",
    )
    with gr.Accordion("Depth map of your own", open=False, elem_id=f"handrefiner_{tab}_own_depth"):
        depth_in = gr.Image(
            label="Used instead of a search: near is bright, black = no hand",
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
    seen: dict[str, Any] = {
        "inputs": [*components(), sketch, depth_in],
        **QUICKLY,
        "_js": tell_page(tab),
    }
    show.click(show_hands, outputs=[pictures, said], **seen)
    edit.click(None, _js=call_editor(tab), inputs=[*components(), sketch], outputs=[said])
    place = components()[PLACE_OF_ANOTHER]
    another.click(show_another, outputs=[place, pictures, said], **seen)
    # Which mesh is used belongs to the picture that it was chosen for.
    for changes in (take.click, sketch.upload, sketch.clear):
        changes(lambda: BEST, inputs=[], outputs=[components()[PLACE_OF_ANOTHER]], queue=False)
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


def tell_page(tab: str) -> str:
    """Return the script by which the page's button says that a search goes on.

    The page finds out itself when it ended (`data-looks` of the words below the pictures): each
    event of gradio's lets it update everything, which takes a tenth of a second.
    """
    return f"(...values) => {{ globalThis.handrefinerLooking?.('{tab}'); return values; }}"


def show_hands(*values: object) -> tuple[Any, str]:
    """Return overlay, depth and mask for the values in view, and the words below them."""
    return _show(values)[:2]


def show_another(*values: object) -> tuple[int, Any, str]:
    """Show the next mesh of every hand, after the last the best again; return its number too.

    Where no hand is found there is no other mesh, and the number is that of the best.
    """
    number = _next_mesh(values[PLACE_OF_ANOTHER])
    chosen = [*values[:PLACE_OF_ANOTHER], number, *values[PLACE_OF_ANOTHER + 1 :]]
    pictures, text, found = _show(chosen)
    if found and number != BEST:
        text += _paragraphs(OTHER_IS_USED)
    return (number if found else BEST), pictures, text


def _show(values: Sequence[object]) -> tuple[Any, str, int]:
    """Return the gallery, the words below it as HTML, and how many hands are in it."""
    found = 0
    try:
        pictures, text, found = _preview(values)
    except HandRefinerError as error:
        pictures, text = [], str(error)
    except Exception as error:
        logger.exception("HandRefiner's preview failed")
        pictures, text = [], f"The preview failed: {type(error).__name__}: {error}"
    said = f'<div data-looks="{next(LOOKS)}">{_paragraphs(text)}</div>'
    return gr.update(value=pictures, visible=bool(pictures)), said, found


def _next_mesh(shown: object) -> int:
    try:
        number = int(coerce(FIELDS[ANOTHER], shown)) + 1
        return int(coerce(FIELDS[ANOTHER], number))
    except InvalidParameter:
        return 0


def _preview(values: Sequence[object]) -> tuple[Pictures, str, int]:
    arguments = read_arguments(values)
    picture = picture_of(arguments)
    if picture is None:
        return [], NO_PICTURE, 0
    params, size = arguments.params, (picture.shape[0], picture.shape[1])
    drawn = read_drawn_mask(arguments.drawn_mask, size)
    used = drawn if params.uses_drawing else None
    depth_in = read_depth_in(arguments.depth_in, size)
    seen = hints(picture, params, build_stages(params, read_model_home()), used, depth_in)
    with ThreadPoolExecutor(3) as threads:
        drawn_ones = [
            (threads.submit(keep_overlay, picture, seen), "hands"),
            (threads.submit(keep_map, seen.maps.control), "depth"),
            (threads.submit(keep_map, draw_mask(seen.maps.mask)), "mask"),
        ]
        pictures = [(place.result(), words) for place, words in drawn_ones]
    unused = "" if used is drawn else UNUSED_DRAWING
    return pictures, "\n".join([*list_panel_lines(seen), unused]), len(seen.meshes)


def keep_overlay(picture: Image, seen: Hints) -> str:
    """Return the path of the overlay as a JPEG; the page's own PNG takes 360 ms at 1024 pixels."""
    path = _next_place(".jpg")
    PillowImage.fromarray(draw_overlay(picture, seen)).save(path, quality=92, subsampling=0)
    return str(path)


def keep_map(pixels: NDArray[np.uint8]) -> str:
    """Return the path of a map as a PNG, written in a third of the time that the page takes."""
    path = _next_place(".png")
    path.write_bytes(encode_map(pixels))
    return str(path)


def _next_place(suffix: str) -> Path:
    path = _folder() / f"hands_{next(NAMES)}{suffix}"
    path.parent.mkdir(exist_ok=True)  # systems clear their folder of temporary files
    return path


@cache
def _folder() -> Path:
    made = tempfile.TemporaryDirectory(prefix="handrefiner_")
    atexit.register(made.cleanup)
    return Path(made.name)


def picture_of(arguments: Arguments) -> Image | None:
    """Return the picture under the sketch, (H, W, 3), or None."""
    sketch = split_sketch(arguments.drawn_mask)
    if sketch is None or sketch.picture is None:
        return None
    return np.asarray(sketch.picture.convert("RGB"), dtype=np.uint8)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in text.splitlines())
