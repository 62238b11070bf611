"""Masks drawn by hand: what a picture file says may change.

Two forms are read. Black and white, soft edges included: white may change. Strokes on
transparency, as GIMP and other editors save a layer: what is painted may change, whatever its
colour; where a file of one colour, or a picture, is opaque up to its border, what is painted is the
hole in it, as ComfyUI's mask editor saves it. Anything else is refused, because an ordinary picture
taken for a mask would have whatever is bright in it repainted.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import PictureError
from handrefiner_ext.pictures.decode import Pixels
from handrefiner_ext.pictures.picture import Picture, load_picture
from handrefiner_ext.types import Mask

WHITE_FROM = 128
COLOURED = 40
"""Distance of the channels, of 255, from which a pixel is neither black nor white nor grey."""
MOST_COLOURED = 0.01
MOST_GREY = 0.25
"""Share of a mask that may lie between black and white; of 286 pictures 97 % have more."""
MOST_EDGES, EDGES_PER_SIDE = 0.03, 12.0
"""Steps between black and white as a share of the pixels; drawings in ink have 0.045 to 0.085. A
small mask may have this many for each pixel of its side."""
INSTEAD = (
    "paint white on black what may change, or paint on a transparent layer and save that alone"
)


def load_mask(path: Path, height: int, width: int) -> Mask:
    """Load a mask drawn by hand; PictureError where it is no mask, or of another size."""
    return to_mask(load_picture(path), height, width)


def to_mask(picture: Picture, height: int, width: int) -> Mask:
    """Return what may change, (H, W); PictureError where the picture is no mask of that size."""
    if picture.image.shape[:2] != (height, width):
        rows, columns = picture.image.shape[:2]
        raise PictureError(
            f"The mask {picture.path.name} has {columns} × {rows} pixels but the picture has "
            f"{width} × {height}; draw the mask at the picture's size."
        )
    try:
        return read_mask(picture.pixels)
    except PictureError as error:
        raise PictureError(f"{picture.path.name} {error}") from error


def draw_mask(mask: Mask) -> NDArray[np.uint8]:
    """Return (H, W), 255 where a pixel may change and 0 elsewhere."""
    return np.where(mask, 255, 0).astype(np.uint8)


def read_mask(pixels: Pixels) -> Mask:
    """Return what may change, (H, W), from pixels (H, W, C) as `Picture` holds them.

    PictureError (a sentence without its subject) where they are no mask.
    """
    colours = _to_bytes(pixels)
    if pixels.shape[2] not in (2, 4):
        return _read_black_and_white(colours)
    alpha = pixels[..., -1]
    opaque = np.asarray(alpha > int(alpha.max()) // 2)  # strokes may be faint
    if opaque.all():
        return _read_black_and_white(colours)
    if not opaque.any():
        return opaque
    border = np.concatenate([opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]])
    has_hole = bool(border.mean() > 0.5)
    if _has_one_colour(colours[opaque]):
        return ~opaque if has_hole else opaque
    try:
        return _read_black_and_white(np.where(opaque[..., None], colours, 0)) & opaque
    except PictureError:
        if has_hole:  # the picture itself, erased where it may change, as ComfyUI writes it
            return ~opaque
        raise


def _to_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    """Return (H, W, 1 or 3) of 8 bits: what is not alpha."""
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    return np.asarray(colours >> 8 if colours.dtype == np.uint16 else colours, dtype=np.uint8)


def _has_one_colour(colours: NDArray[np.uint8]) -> bool:
    """Return whether nearly all of the colours, (n, 1 or 3), are the same."""
    middle = np.median(colours, axis=0)
    return bool((abs(colours - middle).max(axis=1) <= COLOURED).mean() >= 1 - MOST_COLOURED)


def _read_black_and_white(colours: NDArray[np.uint8]) -> Mask:
    """Return where (H, W, 1 or 3) is white; PictureError where it is no mask."""
    grey, coloured = colours[..., 0], 0.0
    if colours.shape[2] == 3:  # OpenCV, because a mask may have a hundred million pixels
        planes = cv2.split(np.ascontiguousarray(colours))
        least, most = (pick(pick(*planes[:2]), planes[2]) for pick in (cv2.min, cv2.max))
        coloured = float((cv2.subtract(most, least) > COLOURED).mean())
        grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY))
    between = float(((grey > COLOURED) & (grey < 255 - COLOURED)).mean())
    white = np.asarray(grey >= WHITE_FROM)
    edges = int((white[1:] != white[:-1]).sum() + (white[:, 1:] != white[:, :-1]).sum())
    most_edges = max(MOST_EDGES * white.size, EDGES_PER_SIDE * white.size**0.5)
    if coloured > MOST_COLOURED or between > MOST_GREY or edges > most_edges:
        raise PictureError(f"is a picture, not a mask; {INSTEAD}.")
    return white
