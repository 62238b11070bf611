"""Z-buffer of a triangle mesh in numpy: exact at pixel centres, bounded in memory.

Triangles are seen from both sides, as in ray casting. Each is cut into spans, one for every row
of pixels that it covers. An edge is always evaluated from its upper vertex to its lower one,
whichever triangle asks, so that neighbours leave no crack between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.types import Box, DepthMap, Faces, FloatArray, HandMesh

LIMIT = 1e7
"""Pixels or metres; vertices with larger coordinates are left out, they belong to no hand."""
EDGE_PX = 1e-9
"""Spans are this much longer on both sides, so that rounding never opens a crack."""
LEVEL_PX = 1e-9
"""Edges that descend less than this are treated as level."""
NARROW_PX = 1e-6
"""Spans narrower than this have one depth, since dividing by their width would be unstable."""
MIN_AREA_PX = 1e-12

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Triangles:
    """Triangles in coordinates whose whole numbers are pixel centres, corners from top to bottom.

    x, y: (3, m). long: (5, m) edges from the top to the bottom corner, with rows x, y, z at the
    upper end and the change of x and z per pixel downwards. short: (5, 2 m), the same from top to
    middle, then from middle to bottom. number: (m,) number of the face in the caller's list.
    """

    x: FloatArray
    y: FloatArray
    long: FloatArray
    short: FloatArray
    number: Ints


@dataclass(frozen=True)
class Spans:
    """Runs of pixels: flat index and depth of the first, count, depth per pixel, and face."""

    first: Ints
    count: Ints
    depth: FloatArray
    slope: FloatArray
    number: Ints


def is_usable(points: FloatArray) -> NDArray[np.bool_]:
    """Return (n,) bool: whether all coordinates of each point are finite and of a sensible size."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(points) < LIMIT).all(axis=1))


# Sized for the processor's cache: larger chunks are fewer, but slower.
CHUNK_ROWS = 1 << 14
CHUNK_PIXELS = 1 << 15
BAND_PIXELS = 1 << 18

EMPTY_KEY = (0x7F800000 << 32) | 0xFFFFFFFF
"""Key of an empty pixel: `_unpack` reads infinity and -1. It is behind everything drawn."""


@dataclass(frozen=True)
class Fragments:
    """The nearest surface at each pixel of a box.

    depth: (h, w) float32, unit of the input z, infinity where empty.
    triangle: (h, w) int32 number of the face, -1 where empty.
    barycentric: (h, w, 3) float32 weights of the face's corners, 0 where empty.
    """

    depth: DepthMap
    triangle: NDArray[np.int32]
    barycentric: NDArray[np.float32]


def picture_points(mesh: HandMesh) -> FloatArray:
    """Return (n, 3) the mesh's vertices: x and y in pixels, z in metres.

    What is not finite stays so.
    """
    with np.errstate(all="ignore"):
        return np.column_stack([mesh.camera.project(mesh.vertices), mesh.vertices[:, 2]])


def covered_box(points: FloatArray, height: int, width: int) -> Box:
    """Return the box around the usable points, clipped to a picture; zero-sized outside it."""
    usable = points[is_usable(points)]
    return clip(bounding_box(usable[:, :2]), height, width) if len(usable) else Box(0, 0, 0, 0)


def rasterize(points: FloatArray, faces: Faces, box: Box) -> Fragments:
    """Return nearest face, depth and barycentric weights at each pixel centre of `box`.

    Arguments:
        points: (n, 3), x and y in pixels of the picture, z in any unit, smaller is nearer.
        faces: (m, 3) indices of points.
    """
    depth, triangle = z_buffer(points, faces, box)
    weights = np.zeros((*triangle.shape, 3), dtype=np.float32)
    flat, flat_weights = triangle.reshape(-1), weights.reshape(-1, 3)
    seen = np.flatnonzero(flat >= 0)
    used = np.flatnonzero(np.bincount(flat[seen], minlength=len(faces)))
    slot = np.zeros(len(faces), dtype=np.int64)
    slot[used] = np.arange(len(used))
    affine = _affine_weights(points[faces[used], :2] - (box.x0 + 0.5, box.y0 + 0.5))
    for start in range(0, len(seen), CHUNK_PIXELS):
        pixels = seen[start : start + CHUNK_PIXELS]
        row, column = np.divmod(pixels, max(box.width, 1))
        flat_weights[pixels] = _weights_at(affine, slot[flat[pixels]], column, row)
    return Fragments(depth, triangle, weights)


def interpolate(
    fragments: Fragments, faces: Faces, attributes: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Return (h, w, k) float32, the vertices' (n, k) `attributes` at each pixel; 0 where empty."""
    values = np.zeros((*fragments.triangle.shape, attributes.shape[1]), dtype=np.float32)
    seen = fragments.triangle >= 0
    corners = attributes[faces[fragments.triangle[seen]]]
    values[seen] = np.einsum("pc,pck->pk", fragments.barycentric[seen], corners)
    return values


def z_buffer(points: FloatArray, faces: Faces, box: Box) -> tuple[DepthMap, NDArray[np.int32]]:
    """Return depth (h, w), infinity where empty, and number of the nearest face, -1 where empty.

    Arguments as for `rasterize`.
    """
    height, width = max(box.height, 0), max(box.width, 0)
    depth = np.full((height, width), np.inf, dtype=np.float32)
    number = np.full((height, width), -1, dtype=np.int32)
    if not height or not width or not len(faces):
        return depth, number
    triangles = sort_corners(points - (box.x0 + 0.5, box.y0 + 0.5, 0.0), faces)
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        keys = np.full((bottom - top) * width, EMPTY_KEY, dtype=np.int64)
        _draw_band(triangles, top, (bottom - top, width), keys)
        depth[top:bottom], number[top:bottom] = _unpack(keys.reshape(-1, width))
    return depth, number


def _draw_band(triangles: Triangles, top: int, shape: tuple[int, int], keys: Ints) -> None:
    """Draw into the band of rows that begins at `top`; shape: its (height, width)."""
    height, width = shape
    x, y = triangles.x, triangles.y
    first = np.maximum(np.ceil(y[0]), top).astype(np.int64)
    last = np.minimum(np.floor(y[2]), top + height - 1).astype(np.int64)
    left, right = np.ceil(x.min(axis=0) - EDGE_PX), np.floor(x.max(axis=0) + EDGE_PX)
    hit = (last >= first) & (np.maximum(left, 0) <= np.minimum(right, width - 1))
    chosen, first = np.flatnonzero(hit), first[hit]
    count = last[hit] - first + 1
    for part in chunks(count, CHUNK_ROWS):
        row = counting(count[part]) + np.repeat(first[part].astype(np.float64), count[part])
        spans = cut_spans(triangles, np.repeat(chosen[part], count[part]), row, (top, width))
        for run in chunks(spans.count, CHUNK_PIXELS):
            _fill_spans(spans, run, keys)


def _fill_spans(spans: Spans, run: slice, keys: Ints) -> None:
    """Write the pixels of some spans into the buffer where they are nearer."""
    count = spans.count[run]
    along = counting(count)
    depth = np.repeat(spans.depth[run], count) + along * np.repeat(spans.slope[run], count)
    number = np.repeat(spans.number[run], count)
    np.minimum.at(keys, np.repeat(spans.first[run], count) + along, _pack(depth, number))


def _pack(depth: FloatArray, number: Ints) -> Ints:
    """Return integers that sort by depth (as float32), then by the face's number."""
    # The bits of a positive float sort like integers; those of a negative one must be flipped.
    bits = depth.astype(np.float32).view(np.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.astype(np.int64) << 32) | number


def _unpack(keys: Ints) -> tuple[DepthMap, NDArray[np.int32]]:
    ordered = (keys >> 32).astype(np.int32)
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    return bits.view(np.float32), (keys & 0xFFFFFFFF).astype(np.int32)


def _affine_weights(corners: FloatArray) -> FloatArray:
    """Return (6, m) coefficients for `_weights_at` of (m, 3, 2) triangles that have an area."""
    origin = corners[:, 0]
    (a_x, a_y), (b_x, b_y) = (corners[:, 1] - origin).T, (corners[:, 2] - origin).T
    area = a_x * b_y - a_y * b_x
    return np.stack([*origin.T, b_y / area, -b_x / area, -a_y / area, a_x / area])


def _weights_at(affine: FloatArray, which: Ints, x: Ints, y: Ints) -> FloatArray:
    """Return (p, 3) barycentric weights, summing to 1, of points inside the triangles `which`."""
    origin_x, origin_y, second_x, second_y, third_x, third_y = affine.take(which, axis=1)
    right, down = x - origin_x, y - origin_y
    # Rounding can put points on an edge outside.
    second = np.clip(right * second_x + down * second_y, 0.0, 1.0)
    third = np.clip(right * third_x + down * third_y, 0.0, 1.0 - second)
    return np.column_stack([1.0 - second - third, second, third])


def sort_corners(points: FloatArray, faces: Faces) -> Triangles:
    """Return the usable triangles, each with its corners from top to bottom."""
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
    """Return (5, m) edges between two corners; level ones get no slope."""
    upper, lower = ends
    drop = y[lower] - y[upper]
    steep = drop > LEVEL_PX
    drop = np.where(steep, drop, 1.0)
    slopes = [np.where(steep, v[lower] - v[upper], 0.0) / drop for v in (x, z)]
    return np.stack([x[upper], y[upper], z[upper], *slopes])


def _doubled_area(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return (m,) twice the signed area of triangles with (3, m) corners."""
    return np.asarray((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))


def chunks(counts: Ints, limit: int) -> Iterator[slice]:
    """Yield slices of `counts` whose sums are at most `limit`, or that hold one item."""
    ends = np.cumsum(counts)
    start, done = 0, 0
    while start < len(counts):
        stop = max(int(np.searchsorted(ends, done + limit, side="right")), start + 1)
        yield slice(start, stop)
        start, done = stop, int(ends[stop - 1])


def counting(counts: Ints) -> Ints:
    """Return 0 … count - 1 for each count, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def cut_spans(t: Triangles, which: Ints, row: FloatArray, frame: tuple[int, int]) -> Spans:
    """Return the span of each triangle `which` in its `row`; frame: top row of the band, width."""
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
    """Return x and z where (5, n) edges cross their rows."""
    x, y, z, x_slope, z_slope = edges
    down = row - y
    return x + down * x_slope, z + down * z_slope
