"""Close-ups: parts of the picture resampled to a working scale, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.rasterize import LIMIT
from handrefiner_ext.types import Box, FloatArray, Image

Floats = NDArray[np.float32]

COORDINATE_LIMIT = 16000.0
"""Points are drawn no farther away than this, because OpenCV keeps 16 fractional bits."""


@dataclass(frozen=True)
class Closeup:
    """The rectangle `box` of the picture, sampled `scale` (x, y) times as densely.

    height, width: of the close-up, in its own pixels.
    """

    box: Box
    scale: tuple[float, float]
    height: int
    width: int

    @property
    def frame(self) -> Box:
        """The rectangle of the close-up in its own pixels."""
        return Box(0, 0, self.width, self.height)

    @property
    def density(self) -> float:
        """Pixels of the close-up per pixel of the picture: geometric mean of both directions."""
        return math.sqrt(self.scale[0] * self.scale[1])

    def to_local(self, points: FloatArray) -> FloatArray:
        """Convert (n, 2 or 3) points from pixels of the picture to the close-up's; z stays."""
        local = points.copy()
        local[:, :2] = (points[:, :2] - (self.box.x0, self.box.y0)) * self.scale
        return np.asarray(local)

    def take(self, image: Image) -> Floats:
        """Return this part of a picture (H, W, 3) at the close-up's scale, 0..1."""
        return np.asarray(self.resample(image[self.box.slices]) / 255.0, dtype=np.float32)

    def resample(self, part: NDArray[np.uint8]) -> Floats:
        """Return an array that covers the box at the close-up's scale, values unchanged."""
        way = cv2.INTER_AREA if max(self.scale) <= 1.0 else cv2.INTER_LINEAR
        small = cv2.resize(part, (self.width, self.height), interpolation=way)
        return np.asarray(small, dtype=np.float32)

    def sample_for(self, local: Floats, other: Closeup, outside: bool = False) -> Floats:
        """Return a map of this close-up at the pixels of another one, by bilinear interpolation.

        Arguments:
            local: (h, w) or (h, w, c) of this close-up.
            outside: give 0 beyond this close-up, instead of repeating its edge.
        """
        step_x, step_y = (a / b for a, b in zip(self.scale, other.scale, strict=True))
        x0 = (other.box.x0 - self.box.x0) * self.scale[0] + 0.5 * step_x - 0.5
        y0 = (other.box.y0 - self.box.y0) * self.scale[1] + 0.5 * step_y - 0.5
        matrix = np.array([[step_x, 0.0, x0], [0.0, step_y, y0]])
        border = cv2.BORDER_CONSTANT if outside else cv2.BORDER_REPLICATE
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (other.width, other.height)
        return np.asarray(cv2.warpAffine(local, matrix, size, flags=flags, borderMode=border))


def fit_closeup(box: Box, longest_px: int) -> Closeup:
    """Return the close-up of a box, reduced so that no side is longer than `longest_px`."""
    return make_closeup(box, min(1.0, longest_px / max(box.width, box.height)))


def make_closeup(box: Box, scale: float) -> Closeup:
    """Return the close-up of a box that is not empty, at about `scale`, in whole pixels."""
    height = max(1, round(box.height * scale))
    width = max(1, round(box.width * scale))
    return Closeup(box, (width / box.width, height / box.height), height, width)


def drawable(points: FloatArray) -> NDArray[np.int32]:
    """Round (n, 2) points to integers that OpenCV can draw; NaN becomes 0."""
    sound = np.nan_to_num(points, nan=0.0, posinf=LIMIT, neginf=-LIMIT)
    return np.asarray(np.clip(sound, -COORDINATE_LIMIT, COORDINATE_LIMIT).round(), dtype=np.int32)


def blur(values: Floats, sigma_px: float) -> Floats:
    """Blur with a Gaussian; a wide blur is done on a smaller copy, which is cheap."""
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
