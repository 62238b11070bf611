"""Decode what the palm, pose and face networks answer.

They are single-shot detectors with fixed square anchors (Liu et al. 2016, arXiv 1512.02325;
BlazeFace, Bazarevsky et al. 2019, arXiv 1907.05047). Overlapping boxes are averaged, weighted by
score, as BlazeFace does ("blending"), rather than suppressed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from handrefiner_ext.types import FloatArray

SAME_OVERLAP = 0.3
"""Overlap above which two boxes are averaged (`min_suppression_threshold` in MediaPipe)."""
SCORE_CLIP = 100.0
"""Bound on a logit (`score_clipping_thresh` of MediaPipe's graphs)."""


class AnchorGrid(NamedTuple):
    """Square grid of anchors: cells along a side, anchors in each cell."""

    cells: int
    copies: int

    def centers(self) -> FloatArray:
        """Return the (cells * cells * copies, 2) centres in the unit square, row by row."""
        line = (np.arange(self.cells) + 0.5) / self.cells
        y, x = np.meshgrid(line, line, indexing="ij")
        return np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), self.copies, axis=0)


def decode(
    raw: FloatArray,
    logits: FloatArray,
    threshold: float,
    anchors: FloatArray,
    size: int,
    points: int,
) -> tuple[FloatArray, FloatArray]:
    """Decode the boxes that score at least `threshold`, best first.

    raw: (n, 4 + 2 * points) centre, size and points in pixels of a `size` network; logits: (n,).
    Returns (m, 4 + 2 * points) x0, y0, x1, y1 and the points in the unit square, and (m,) scores.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -SCORE_CLIP, SCORE_CLIP)))
    kept = np.flatnonzero((scores >= threshold) & (raw[:, 2] > 0) & (raw[:, 3] > 0))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    values = raw[kept].astype(np.float64) / size
    centers = anchors[kept]
    half = values[:, 2:4] / 2
    middle = values[:, :2] + centers
    placed = values[:, 4:] + np.tile(centers, points)
    return np.concatenate([middle - half, middle + half, placed], axis=1), scores[kept]


def blend(boxes: FloatArray, scores: FloatArray, limit: int) -> list[tuple[float, FloatArray]]:
    """Average overlapping boxes, weighted by score; return up to `limit` (score, box) pairs.

    The boxes must come best first; so do the results.
    """
    found: list[tuple[float, FloatArray]] = []
    while len(boxes) and len(found) < limit:
        same = overlaps(boxes[0], boxes) > SAME_OVERLAP
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
