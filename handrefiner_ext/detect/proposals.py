"""Boxes in which another network sees hands, and how the outputs of YOLO networks become boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.detect.anchors import overlaps
from handrefiner_ext.geometry.boxes import area, clip
from handrefiner_ext.types import Box, FloatArray, Image

PADDING = 114
"""Grey of the bars beside a picture that is not square; ultralytics trains with it."""
SAME_OVERLAP = 0.6
"""Overlap above which the lower one of two boxes is dropped; hands that hold each other overlap."""
MOST_PROPOSALS = 32
HAND_CLASS = re.compile(r"(?:^|[^a-z])hands?(?:$|[^a-z])")
"""Classes that are hands: hand, left_hand, Hands, but not handbag."""


@dataclass(frozen=True)
class Proposal:
    """A box in which a network sees a hand with a score of 0..1."""

    score: float
    box: Box


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies in a square network input: scale, then shift (x, y) in its pixels."""

    side: int
    scale: float
    shift: tuple[int, int]

    @classmethod
    def around(cls, image: Image, side: int) -> Letterbox:
        height, width = image.shape[:2]
        scale = side / max(height, width)
        across, down = (max(1, round(length * scale)) for length in (width, height))
        return cls(side, scale, ((side - across) // 2, (side - down) // 2))

    def enter(self, image: Image) -> NDArray[np.float32]:
        """Return the picture as (3, side, side) in 0..1, with grey bars beside it."""
        height, width = image.shape[:2]
        size = max(1, round(width * self.scale)), max(1, round(height * self.scale))
        method = cv2.INTER_AREA if self.scale < 1.0 else cv2.INTER_LINEAR
        square = np.full((self.side, self.side, 3), PADDING, np.uint8)
        x, y = self.shift
        square[y : y + size[1], x : x + size[0]] = cv2.resize(image, size, interpolation=method)
        return np.asarray(square.transpose(2, 0, 1) / 255.0, dtype=np.float32)

    def leave(self, boxes: FloatArray) -> FloatArray:
        """Map (n, 4) boxes x0, y0, x1, y1 back into the picture's pixels."""
        placed: FloatArray = (boxes - np.tile(self.shift, 2)) / self.scale
        return placed


def list_hand_classes(names: Mapping[int, str]) -> list[int]:
    """Return the numbers of the classes that are hands."""
    return [n for n, name in sorted(names.items()) if HAND_CLASS.search(name.lower())]


def decode(
    output: NDArray[np.floating], names: Mapping[int, str], least: float
) -> tuple[FloatArray, FloatArray]:
    """Return the boxes (n, 4) x0, y0, x1, y1 and scores (n,) of the hands in an output, best first.

    output: (4 + classes, n) with centres and sizes, as YOLOv8 and its successors give it, or
    (n, 6) with corners, score and class, as networks do that drop overlapping boxes themselves.
    Both in pixels of the input. Raises ValueError for another shape.
    """
    values = output.astype(np.float64)
    hands = list_hand_classes(names)
    if values.ndim == 2 and len(values) == 4 + len(names):
        scores = values[4:][hands].max(axis=0)
        middle, half = values[:2], np.abs(values[2:4]) / 2
        boxes = np.concatenate([middle - half, middle + half]).T
    elif values.ndim == 2 and values.shape[1] == 6:
        scores = np.where(np.isin(values[:, 5], hands), values[:, 4], 0.0)
        boxes = values[:, :4]
    else:
        raise ValueError(f"an output of shape {output.shape} for {len(names)} classes")
    fit = np.isfinite(boxes).all(axis=1) & (scores >= least)
    order = np.flatnonzero(fit)[np.argsort(-scores[fit], kind="stable")]
    return _suppress(boxes[order], scores[order])


def _suppress(boxes: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Drop each box that overlaps a better one by more than SAME_OVERLAP."""
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left) and len(kept) < MOST_PROPOSALS:
        first, rest = left[0], left[1:]
        kept.append(int(first))
        left = rest[overlaps(boxes[first], boxes[rest]) <= SAME_OVERLAP]
    return boxes[kept], scores[kept]


def to_proposals(boxes: FloatArray, scores: FloatArray, height: int, width: int) -> list[Proposal]:
    """Return the boxes that have a pixel in a picture of that size."""
    found = [
        Proposal(min(float(score), 1.0), clip(Box(*map(round, box)), height, width))
        for box, score in zip(boxes.tolist(), scores, strict=True)
    ]
    return [proposal for proposal in found if area(proposal.box)]
