"""The palm network's output: anchors, decoding and weighted suppression.

Single-shot detection with fixed square anchors (Liu et al. 2016, arXiv 1512.02325; BlazeFace,
Bazarevsky et al. 2019, arXiv 1907.05047), whose "blending" replaces plain suppression: boxes that
overlap the best one are averaged, weighted by score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from handrefiner_ext.detect.windows import UPRIGHT, Roi, around_palm
from handrefiner_ext.types import FloatArray

PALM_SIZE = 192
"""Side of the network's input, pixels."""
ANCHOR_GRIDS = ((24, 2), (12, 6))
"""(cells along a side, anchors in each cell): strides 8 and three times 16."""
WRIST_POINT, MIDDLE_POINT = 0, 2
"""Indices of the wrist and the base of the middle finger among the network's seven points."""
SAME_PALM_OVERLAP = 0.3
"""Overlap above which two boxes are averaged (`min_suppression_threshold` of MediaPipe's graph)."""
SCORE_CLIP = 100.0
"""Bound on a logit (`score_clipping_thresh` of MediaPipe's graph)."""
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
    parts = []
    for cells, copies in ANCHOR_GRIDS:
        line = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(line, line, indexing="ij")
        parts.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), copies, axis=0))
    return np.concatenate(parts)


def decode(raw: FloatArray, logits: FloatArray, threshold: float) -> tuple[FloatArray, FloatArray]:
    """Decode the boxes that score at least `threshold`, best first.

    raw: (2016, 18) centre, size and seven points in network pixels; logits: (2016,).
    Returns (n, 18) x0, y0, x1, y1 and the points in the unit square, and (n,) scores.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -SCORE_CLIP, SCORE_CLIP)))
    kept = np.flatnonzero((scores >= threshold) & (raw[:, 2] > 0) & (raw[:, 3] > 0))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    values = raw[kept].astype(np.float64) / PALM_SIZE
    centers = anchor_centers()[kept]
    half = values[:, 2:4] / 2
    middle = values[:, :2] + centers
    points = values[:, 4:] + np.tile(centers, 7)
    return np.concatenate([middle - half, middle + half, points], axis=1), scores[kept]


def blend(boxes: FloatArray, scores: FloatArray, limit: int) -> list[tuple[float, FloatArray]]:
    """Average overlapping boxes, weighted by score; return up to `limit` (score, (18,) box) pairs.

    The boxes must come best first; so do the results.
    """
    found: list[tuple[float, FloatArray]] = []
    while len(boxes) and len(found) < limit:
        same = overlaps(boxes[0], boxes) > SAME_PALM_OVERLAP
        same[0] = True
        weights = scores[same]
        found.append((float(scores[0]), weights @ boxes[same] / weights.sum()))
        boxes, scores = boxes[~same], scores[~same]
    return found


def overlaps(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Return the (n,) intersections over union of one box with (n, ≥4) boxes x0, y0, x1, y1."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:4], boxes[:, 2:4])
    common = np.prod(np.clip(high - low, 0.0, None), axis=1)
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
    union = np.prod(box[2:4] - box[:2]) + areas - common
    ratio: FloatArray = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ratio


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
