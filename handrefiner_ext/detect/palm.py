"""The palms of a picture: the palm network's anchors, and the windows of hands."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from handrefiner_ext.detect.ssd import AnchorGrid, decode
from handrefiner_ext.detect.windows import UPRIGHT, Roi, around_palm
from handrefiner_ext.types import FloatArray

PALM_SIZE = 192
"""Side of the network's input, pixels."""
PALM_POINTS = 7
ANCHOR_GRIDS = (AnchorGrid(24, 2), AnchorGrid(12, 6))
"""Strides 8 and three times 16."""
WRIST_POINT, MIDDLE_POINT = 0, 2
"""Indices of the wrist and the base of the middle finger among the network's seven points."""
SAME_PLACE, SAME_SIZE, SAME_TURN = 0.15, 1.4, 0.5
"""Windows that differ by less in place (sides), size (ratio) and turn (radians) show one hand."""

MOST_ALTERNATIVES = 2
"""Each costs a run of the landmark network where the window before shows no hand."""


@dataclass(frozen=True)
class Palm:
    """One palm: score 0..1, the window for its hand, the number of the view that showed it.

    alternatives: windows that other views gave for the same palm, in case `roi` shows no hand.
    A tile's palm can score better although only the whole picture's window shows the hand.
    """

    score: float
    roi: Roi
    view: int = 0
    alternatives: tuple[Roi, ...] = ()


@lru_cache(maxsize=1)
def anchor_centers() -> FloatArray:
    """Return the (2016, 2) centres of the anchors in the unit square, in the network's order."""
    return np.concatenate([grid.centers() for grid in ANCHOR_GRIDS])


def decode_palms(
    raw: FloatArray, logits: FloatArray, threshold: float
) -> tuple[FloatArray, FloatArray]:
    """Decode (2016, 18) palms with their seven points; see `ssd.decode`."""
    return decode(raw, logits, threshold, anchor_centers(), PALM_SIZE, PALM_POINTS)


def to_window(box: FloatArray, view: Roi, upright: float = UPRIGHT) -> Roi:
    """Return a hand's window in the picture from its palm's (18,) box in `view`'s unit square."""
    points = view.to_picture(box.reshape(-1, 2))
    corners, joints = points[:2].reshape(4), points[2:]
    return around_palm(corners, joints[WRIST_POINT], joints[MIDDLE_POINT], upright)


def distinct(palms: list[Palm]) -> list[Palm]:
    """Keep the best palm of every place, size and direction, with its alternatives; best first."""
    kept: list[Palm] = []
    for palm in sorted(palms, key=lambda p: -p.score):
        same = [n for n, k in enumerate(kept) if _is_same_window(palm.roi, k.roi)]
        if not same:
            kept.append(palm)
        elif len(kept[same[0]].alternatives) < MOST_ALTERNATIVES:
            twin = kept[same[0]]
            kept[same[0]] = replace(twin, alternatives=(*twin.alternatives, palm.roi))
    return kept


def _is_same_window(a: Roi, b: Roi) -> bool:
    small, large = sorted((a.side, b.side))
    apart = math.hypot(a.center_x - b.center_x, a.center_y - b.center_y)
    turned = abs(math.remainder(a.angle - b.angle, 2 * math.pi))
    return apart < SAME_PLACE * small and large < SAME_SIZE * small and turned < SAME_TURN
