"""Parts of the picture at a working scale, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.spans import LIMIT
from handrefiner_ext.types import Box, FloatArray, Image

Floats = NDArray[np.float32]

TILE_PX = 1024
COORDINATE_LIMIT = 16000.0
"""OpenCV draws with 16 fractional bits; points farther away than this are drawn at it."""


@dataclass(frozen=True)
class Closeup:
    """The rectangle `box` of the picture, sampled `scale` (x, y) times as densely."""

    box: Box
    scale: tuple[float, float]
    height: int
    width: int

    @property
    def frame(self) -> Box:
        """The close-up's own rectangle, in its own pixels."""
        return Box(0, 0, self.width, self.height)

    @property
    def density(self) -> float:
        """Pixels of the close-up for one of the picture, both directions taken together."""
        return math.sqrt(self.scale[0] * self.scale[1])

    def to_local(self, points: FloatArray) -> FloatArray:
        """(n, 2 or 3) points in the picture, pixels -> the same in the close-up; z stays."""
        local = points.copy()
        local[:, :2] = (points[:, :2] - (self.box.x0, self.box.y0)) * self.scale
        return np.asarray(local)

    def shrink(self, image: Image) -> Floats:
        """This part of the picture at the close-up's scale, 0..1."""
        return np.asarray(self.shrink_part(image[self.box.slices]) / 255.0, dtype=np.float32)

    def shrink_part(self, part: NDArray[np.uint8]) -> Floats:
        """An array that covers the box, at the close-up's scale, with its own values."""
        way = cv2.INTER_AREA if max(self.scale) <= 1.0 else cv2.INTER_LINEAR
        small = cv2.resize(part, (self.width, self.height), interpolation=way)
        return np.asarray(small, dtype=np.float32)

    def sample_for(self, local: Floats, other: Closeup, outside: bool = False) -> Floats:
        """A map of this close-up at the pixels of another one, bilinear.

        Beyond this close-up its edge continues, or with `outside` there is 0.
        """
        step_x, step_y = (a / b for a, b in zip(self.scale, other.scale, strict=True))
        x0 = (other.box.x0 - self.box.x0) * self.scale[0] + 0.5 * step_x - 0.5
        y0 = (other.box.y0 - self.box.y0) * self.scale[1] + 0.5 * step_y - 0.5
        matrix = np.array([[step_x, 0.0, x0], [0.0, step_y, y0]])
        border = cv2.BORDER_CONSTANT if outside else cv2.BORDER_REPLICATE
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (other.width, other.height)
        return np.asarray(cv2.warpAffine(local, matrix, size, flags=flags, borderMode=border))


def study_closely(box: Box, longest_px: int) -> Closeup:
    """The close-up of a box at its own scale, or at that at which `longest_px` are enough."""
    return look_at(box, fit_scale(box, longest_px))


def look_at(box: Box, scale: float) -> Closeup:
    """The close-up of a box that is not empty, at about `scale`, in whole pixels."""
    height = max(1, round(box.height * scale))
    width = max(1, round(box.width * scale))
    return Closeup(box, (width / box.width, height / box.height), height, width)


def fit_scale(box: Box, longest_px: int) -> float:
    """At most 1: the scale at which the longer side has at most `longest_px` pixels."""
    return min(1.0, longest_px / max(box.width, box.height))


def tiles(box: Box) -> Iterator[Box]:
    """`box` cut into parts of at most TILE_PX, so that memory stays bounded."""
    for y in range(box.y0, box.y1, TILE_PX):
        for x in range(box.x0, box.x1, TILE_PX):
            yield Box(x, y, min(x + TILE_PX, box.x1), min(y + TILE_PX, box.y1))


def drawable(points: FloatArray) -> NDArray[np.int32]:
    """(n, 2) points as OpenCV's whole numbers; what is no number becomes 0."""
    sound = np.nan_to_num(points, nan=0.0, posinf=LIMIT, neginf=-LIMIT)
    return np.asarray(np.clip(sound, -COORDINATE_LIMIT, COORDINATE_LIMIT).round(), dtype=np.int32)


def blur(values: Floats, sigma_px: float) -> Floats:
    """Gaussian blur, cheap for a wide one too: that is done on a smaller copy."""
    shrink = max(1.0, sigma_px / 3.0)
    if shrink < 2.0:
        return _gaussian(values, sigma_px)
    height, width = values.shape[:2]
    size = (max(1, math.ceil(width / shrink)), max(1, math.ceil(height / shrink)))
    small = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    soft = _gaussian(small, sigma_px / shrink)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR))


def _gaussian(values: Floats, sigma_px: float) -> Floats:
    if sigma_px <= 0.0:
        return values
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE))
