"""Boxes in the picture: bounding, growing, clipping, overlap."""

from __future__ import annotations

import math

from handrefiner_ext.types import Box, FloatArray


def bounding_box(points: FloatArray) -> Box:
    """Smallest whole-pixel box around (n, 2) points in pixels; at least one pixel each way."""
    x0, y0 = (math.floor(v) for v in points.min(axis=0))
    x1, y1 = (math.ceil(v) for v in points.max(axis=0))
    return Box(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))


def grow(box: Box, margin_x: int, margin_y: int) -> Box:
    return Box(box.x0 - margin_x, box.y0 - margin_y, box.x1 + margin_x, box.y1 + margin_y)


def clip(box: Box, height: int, width: int) -> Box:
    """The part of `box` inside a picture; zero-sized, never negative, where there is none."""
    x0, x1 = (min(max(v, 0), width) for v in (box.x0, box.x1))
    y0, y1 = (min(max(v, 0), height) for v in (box.y0, box.y1))
    return Box(x0, y0, max(x0, x1), max(y0, y1))


def area(box: Box) -> int:
    return max(box.width, 0) * max(box.height, 0)


def intersect(a: Box, b: Box) -> Box:
    """Common part of two boxes; zero-sized where there is none."""
    x0, y0 = max(a.x0, b.x0), max(a.y0, b.y0)
    return Box(x0, y0, max(x0, min(a.x1, b.x1)), max(y0, min(a.y1, b.y1)))


def intersection_over_union(a: Box, b: Box) -> float:
    common = area(intersect(a, b))
    union = area(a) + area(b) - common
    return common / union if union else 0.0


def slices_within(part: Box, box: Box) -> tuple[slice, slice]:
    """(rows, columns) of `part` in an array that spans `box`; `part` lies inside `box`."""
    return (
        slice(part.y0 - box.y0, part.y1 - box.y0),
        slice(part.x0 - box.x0, part.x1 - box.x0),
    )
