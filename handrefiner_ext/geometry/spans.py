"""Cutting triangles into the rows of a picture.

Each edge is evaluated from its upper vertex to its lower one, whichever triangle asks, so that
neighbours leave no crack between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray

LIMIT = 1e7
"""Coordinates beyond this many pixels or metres are no part of a hand; they are left out."""
EDGE_PX = 1e-9
"""Spans are this much longer on both sides, so that rounding never opens a crack."""
LEVEL_PX = 1e-9
"""Edges that drop less than this are level."""
NARROW_PX = 1e-6
"""Spans narrower than this have no depth slope: there is nothing to divide by."""
MIN_AREA_PX = 1e-12


Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Triangles:
    """Triangles whose pixel centres are whole numbers, each with its corners from top to bottom.

    x, y: (3, m). long, short: edges as (5, m) and (5, 2 m) rows x, y, z at the upper end, x and z
    per pixel downwards; short holds upper to middle, then middle to lower.
    number: (m,) number of the face in the caller's list.
    """

    x: FloatArray
    y: FloatArray
    long: FloatArray
    short: FloatArray
    number: Ints


@dataclass(frozen=True)
class Spans:
    """Runs of pixels: flat index of the first, count, depth at the first, slope, face."""

    first: Ints
    count: Ints
    depth: FloatArray
    slope: FloatArray
    number: Ints


def is_usable(points: FloatArray) -> NDArray[np.bool_]:
    """(n,): whether all coordinates of a point are numbers of a sensible size."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(points) < LIMIT).all(axis=1))


def sort_corners(points: FloatArray, faces: NDArray[np.integer[Any]]) -> Triangles:
    """The usable triangles, each with its corners from top to bottom."""
    usable = is_usable(points)
    number = np.flatnonzero(usable[faces].all(axis=1))
    order = np.lexsort((points[:, 0], points[:, 1]))
    rank = np.zeros(len(points), dtype=np.int64)
    rank[order] = np.arange(len(points))
    corners = np.sort(rank[faces[number]], axis=1).T
    x, y, z = (axis.take(corners) for axis in points[order].T)
    keep = np.abs(_doubled_area(x, y)) > MIN_AREA_PX
    x, y, z = x[:, keep], y[:, keep], z[:, keep]
    short = np.concatenate([_edges(x, y, z, (0, 1)), _edges(x, y, z, (1, 2))], axis=1)
    return Triangles(x, y, _edges(x, y, z, (0, 2)), short, number[keep])


def _edges(x: FloatArray, y: FloatArray, z: FloatArray, ends: tuple[int, int]) -> FloatArray:
    """(5, m) edges between two corners; a level edge goes nowhere."""
    upper, lower = ends
    drop = y[lower] - y[upper]
    steep = drop > LEVEL_PX
    drop = np.where(steep, drop, 1.0)
    slopes = [np.where(steep, v[lower] - v[upper], 0.0) / drop for v in (x, z)]
    return np.stack([x[upper], y[upper], z[upper], *slopes])


def _doubled_area(x: FloatArray, y: FloatArray) -> FloatArray:
    """(3, m) corners -> (m,) signed doubled area."""
    return np.asarray((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))


def chunks(counts: Ints, limit: int) -> Iterator[slice]:
    """Slices of `counts` that sum up to at most `limit`, or hold one item."""
    ends = np.cumsum(counts)
    start, done = 0, 0
    while start < len(counts):
        stop = max(int(np.searchsorted(ends, done + limit, side="right")), start + 1)
        yield slice(start, stop)
        start, done = stop, int(ends[stop - 1])


def counting(counts: Ints) -> Ints:
    """0 … count - 1 for each count, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def cut_spans(t: Triangles, which: Ints, row: FloatArray, frame: tuple[int, int]) -> Spans:
    """The span of each triangle `which` in its `row`. frame: top row of the band, width."""
    top, width = frame
    lower_half = row >= t.y[1].take(which)
    x_a, z_a = _cross(t.long.take(which, axis=1), row)
    x_b, z_b = _cross(t.short.take(which + lower_half * len(t.number), axis=1), row)
    x_left, x_right = np.minimum(x_a, x_b), np.maximum(x_a, x_b)
    first = np.maximum(np.ceil(x_left - EDGE_PX), 0)
    count = np.minimum(np.floor(x_right + EDGE_PX), width - 1) - first + 1
    keep = np.flatnonzero(count > 0)
    narrow = x_right - x_left <= NARROW_PX
    slope = np.where(narrow, 0.0, z_b - z_a) / np.where(narrow, 1.0, x_b - x_a)
    depth = z_a + (first - x_a) * slope
    flat = (row - top) * width + first
    return Spans(
        flat.take(keep).astype(np.int64),
        count.take(keep).astype(np.int64),
        depth.take(keep),
        slope.take(keep),
        t.number.take(which.take(keep)),
    )


def _cross(edges: FloatArray, row: FloatArray) -> tuple[FloatArray, FloatArray]:
    """x and z where (5, n) edges cross their rows."""
    x, y, z, x_slope, z_slope = edges
    down = row - y
    return x + down * x_slope, z + down * z_slope
