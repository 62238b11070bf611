"""A picture that one can paint on, as gradio 3 and gradio 4 have it.

gradio 3 paints on an Image and gives {"image", "mask"}; gradio 4 has an ImageEditor for it, which
gives {"background", "layers", "composite"}. Forge has gradio 4, and drops what its Image does not
know any more (modules/gradio_extensions.py:135), so that nothing could be painted there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image as PillowImage

WHITE = "#ffffff"
HEIGHT = 400


@dataclass(frozen=True)
class Sketch:
    """picture: what lies under the painting. mask: what was painted; each None where there is none.

    Both are as gradio gave them, or a mask "L" with 255 where something was painted.
    """

    picture: Any
    mask: Any


def make_sketch(label: str, elem_id: str) -> Any:
    """Make the component where the page stands now."""
    newer: Any = gr
    if not hasattr(newer, "ImageEditor"):
        return gr.Image(
            label=label,
            source="upload",
            tool="sketch",
            type="pil",
            image_mode="RGB",
            elem_id=elem_id,
            brush_color=WHITE,
            height=HEIGHT,
        )
    return newer.ImageEditor(
        label=label,
        sources=["upload", "clipboard"],
        type="pil",
        image_mode="RGBA",  # what is painted is a layer's alpha
        elem_id=elem_id,
        brush=newer.Brush(colors=[WHITE], color_mode="fixed"),
        transforms=(),
        layers=False,
        format="png",  # its own, WebP, changes the picture
        # It cuts a picture off at a height that is given, and its brushes with it.
    )


def split_sketch(value: object) -> Sketch | None:
    """Return picture and mask of a sketch of either gradio; None for what is no sketch."""
    if not isinstance(value, Mapping):
        return None
    if "background" not in value:
        return Sketch(value.get("image"), value.get("mask"))
    return Sketch(_shown(value["background"]), _painted(value.get("layers") or ()))


def _shown(background: Any) -> Any:
    """Return what lies under the painting; None for the empty editor, which is all transparent."""
    if not isinstance(background, PillowImage.Image) or background.mode != "RGBA":
        return background
    return background if background.getchannel("A").getextrema()[1] else None


def _painted(layers: Any) -> PillowImage.Image | None:
    """Return the union of what the layers cover; None without layers."""
    alphas = [np.asarray(layer.convert("RGBA"))[..., 3] for layer in layers]
    if not alphas:
        return None
    return PillowImage.fromarray(np.where(np.maximum.reduce(alphas) > 0, 255, 0).astype(np.uint8))
