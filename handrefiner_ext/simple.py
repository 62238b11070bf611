"""Offer `hints` and `refine` to scripts and notebooks: a picture in, a picture out, one call each.

    from handrefiner_ext import refine
    result = refine("picture.png", mask="silhouette")
    result.save("refined.png")

The parameters have the same names as on the command line (`RefineParams`). The networks are kept
between calls.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handrefiner_ext import pipeline
from handrefiner_ext.api.body import check_names, read_parameters
from handrefiner_ext.knobs import CLI, WEBUI
from handrefiner_ext.params import RefineParams, fields_of
from handrefiner_ext.pictures import (
    Picture,
    encode_picture,
    encode_png,
    load_picture,
    write_atomically,
)
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import Hints, Image, Mask, ModelHome, RefineResult

NAMES = tuple(dict.fromkeys(f.name for surface in (CLI, WEBUI) for f in fields_of(surface)))
HOME = ("models_dir", "device", "dtype")


@dataclass(frozen=True)
class Found(Hints):
    """The hands of a picture; a notebook shows them drawn over it. image: (H, W, 3) uint8."""

    image: Image = None  # type: ignore[assignment]  # the fields before it have defaults, too

    @property
    def overlay(self) -> Image:
        """The picture with boxes, landmarks and meshes, (H, W, 3) uint8."""
        return draw_overlay(self.image, self)

    def _repr_png_(self) -> bytes:
        return encode_png(self.overlay)


@dataclass(frozen=True)
class Refined(RefineResult):
    """The picture kept, and why; a notebook shows it. image: (H, W, 3) uint8."""

    source: Picture | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG, with the transparency and metadata of the source if that was a file."""
        write_atomically(Path(path), self._repr_png_())

    def _repr_png_(self) -> bytes:
        if self.source is None:
            return encode_png(self.image)
        return encode_picture(self.source, self.image)


def hints(image: Any, *, drawn_mask: Mask | None = None, **parameters: Any) -> Found:
    """Find the hands of a picture: meshes, depth and mask, without painting.

    Arguments:
        image: a path, a PIL picture, or an array (H, W, 3) uint8 RGB.
        drawn_mask: (H, W) bool, for mask="drawn" or "union".
        parameters: by the names of `RefineParams`, and models_dir, device and dtype as for the
            command line.

    Raises InvalidParameter, which says what is wrong and what is allowed.
    """
    params, stages = _prepare(parameters)
    array, _ = _open(image)
    seen = pipeline.hints(array, params, stages, drawn_mask)
    return Found(**vars(seen), image=array)


def refine(image: Any, *, drawn_mask: Mask | None = None, **parameters: Any) -> Refined:
    """Repaint the badly drawn hands of a picture; arguments as for `hints`."""
    params, stages = _prepare(parameters)
    array, source = _open(image)
    result = pipeline.refine(array, params, stages, drawn_mask)
    return Refined(**vars(result), source=source)


def _prepare(parameters: dict[str, Any]) -> tuple[RefineParams, Stages]:
    values = check_names(parameters, (*NAMES, *HOME))
    home: dict[str, Any] = {name: values.pop(name, None) for name in HOME}
    folder = home["models_dir"]
    params = read_parameters(values)
    place = ModelHome(
        None if folder is None else Path(folder),
        home["device"],
        keep_on_device=True,
        dtype=home["dtype"],
    )
    return params, build_stages(params, place)


def _open(image: Any) -> tuple[Image, Picture | None]:
    """Return the pixels, and the file they came from."""
    if isinstance(image, (str, os.PathLike)):
        picture = load_picture(Path(image))
        return picture.image, picture
    if hasattr(image, "convert"):  # a PIL picture in any mode
        image = image.convert("RGB")
    return np.asarray(image), None
