"""The square of the picture that the network looks at, and the way back from it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray, Hand, Image, WeakPerspective

SIDE = 224
"""Pixels; the network was trained on pictures of this size."""
MARGIN = 1.6
"""Sides of the crop per hand size, as HandRefiner's code has it."""
LARGEST = 4.0
"""Sides of the crop per longer side of the picture; beyond, hardly any of it is picture."""
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True)
class Crop:
    """A square of `side` pixels with its corner at (x0, y0); it may leave the picture.

    mirrored: the square is looked at from behind, so that a left hand looks like a right one.
    """

    x0: int
    y0: int
    side: int
    mirrored: bool

    def cut(self, image: Image) -> Image:
        """(side, side, 3); what lies outside the picture is its reflection."""
        rows = _reflect(self.y0, self.side, image.shape[0])
        columns = _reflect(self.x0, self.side, image.shape[1])
        return image[np.ix_(rows, columns[::-1] if self.mirrored else columns)]

    def look(self, image: Image) -> NDArray[np.float32]:
        """(3, 224, 224) as the network takes it: RGB, normalised by ImageNet's colours."""
        way = cv2.INTER_CUBIC if self.side < SIDE else cv2.INTER_AREA
        seen = cv2.resize(self.cut(image), (SIDE, SIDE), interpolation=way)
        colours = (np.float32(seen) / np.float32(255.0) - IMAGENET_MEAN) / IMAGENET_DEVIATION
        return np.ascontiguousarray(colours.transpose(2, 0, 1))

    def place(self, camera: FloatArray) -> WeakPerspective:
        """The network's camera (scale, shift x, shift y), in pixels of the picture.

        A point's crop coordinate scale * (x + shift) reaches from -1 to 1. Where the crop is
        mirrored, the points must be, too.
        """
        half = self.side / 2.0
        scale, shift_x, shift_y = (float(number) for number in camera)
        sign = -1.0 if self.mirrored else 1.0
        return WeakPerspective(
            scale=scale * half,
            shift_x=self.x0 + half + sign * scale * shift_x * half,
            shift_y=self.y0 + half + scale * shift_y * half,
        )


def choose_crop(hand: Hand) -> Crop:
    """A square of 1.6 hand sizes about the landmarks, at the whole pixels of HandRefiner's code."""
    low = hand.landmarks.min(axis=0).astype(int)
    high = hand.landmarks.max(axis=0).astype(int)
    half = max(int(float((high - low).max()) * MARGIN) // 2, 1)
    x, y = (low + high) // 2
    return Crop(int(x) - half + 1, int(y) - half + 1, 2 * half, hand.handedness == "left")


def _reflect(start: int, count: int, size: int) -> NDArray[np.intp]:
    """(count,) whole numbers from `start`, reflected into 0 … size - 1 as often as needed."""
    turns = np.arange(start, start + count) % (2 * size)
    return np.where(turns < size, turns, 2 * size - 1 - turns)
