"""Z-buffer of a triangle mesh in numpy: exact at pixel centres, bounded in memory.

Triangles count from both sides, as for ray casting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.spans import (
    EDGE_PX,
    Ints,
    Spans,
    Triangles,
    chunks,
    counting,
    cut_spans,
    is_usable,
    sort_corners,
)
from handrefiner_ext.types import Box, DepthMap, FloatArray, HandMesh

# Small enough for the processor's cache, which is faster than fewer and larger chunks.
CHUNK_ROWS = 1 << 14
CHUNK_PIXELS = 1 << 15
BAND_PIXELS = 1 << 18

EMPTY = (0x7F800000 << 32) | 0xFFFFFFFF
"""What `_unpack` reads as infinity and -1: behind all that is drawn."""


@dataclass(frozen=True)
class Fragments:
    """What is nearest at each pixel of a box.

    depth: (h, w) float32, unit of the input z, infinity where empty.
    triangle: (h, w) int32 number of the face, -1 where empty.
    barycentric: (h, w, 3) float32 weights of the face's corners, 0 where empty.
    """

    depth: DepthMap
    triangle: NDArray[np.int32]
    barycentric: NDArray[np.float32]


def picture_points(mesh: HandMesh) -> FloatArray:
    """(n, 3): x and y in pixels, z in metres, of the mesh's vertices; infinite stays infinite."""
    with np.errstate(all="ignore"):
        return np.column_stack([mesh.camera.project(mesh.vertices), mesh.vertices[:, 2]])


def covered_box(points: FloatArray, height: int, width: int) -> Box:
    """Box around the usable points, clipped to a picture; zero-sized where there is none."""
    usable = points[is_usable(points)]
    return clip(bounding_box(usable[:, :2]), height, width) if len(usable) else Box(0, 0, 0, 0)


def rasterize(points: FloatArray, faces: NDArray[np.integer[Any]], box: Box) -> Fragments:
    """Nearest face, depth and barycentric weights at each pixel centre of `box`.

    points: (n, 3), x and y in pixels and z in any unit, smaller is nearer. faces: (m, 3).
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
    fragments: Fragments, faces: NDArray[np.integer[Any]], attributes: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """(n, k) values of the vertices -> (h, w, k) float32 at the pixels, 0 where empty."""
    values = np.zeros((*fragments.triangle.shape, attributes.shape[1]), dtype=np.float32)
    seen = fragments.triangle >= 0
    corners = attributes[faces[fragments.triangle[seen]]]
    values[seen] = np.einsum("pc,pck->pk", fragments.barycentric[seen], corners)
    return values


def z_buffer(
    points: FloatArray, faces: NDArray[np.integer[Any]], box: Box
) -> tuple[DepthMap, NDArray[np.int32]]:
    """Depth (h, w), infinity where empty, and number of the nearest face, -1 where empty."""
    height, width = max(box.height, 0), max(box.width, 0)
    depth = np.full((height, width), np.inf, dtype=np.float32)
    number = np.full((height, width), -1, dtype=np.int32)
    if not height or not width or not len(faces):
        return depth, number
    triangles = sort_corners(points - (box.x0 + 0.5, box.y0 + 0.5, 0.0), faces)
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        keys = np.full((bottom - top) * width, EMPTY, dtype=np.int64)
        _draw(triangles, top, (bottom - top, width), keys)
        depth[top:bottom], number[top:bottom] = _unpack(keys.reshape(-1, width))
    return depth, number


def _draw(triangles: Triangles, top: int, shape: tuple[int, int], keys: Ints) -> None:
    """Draw into the band of the given (height, width) that begins at row `top`."""
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
            _fill(spans, run, keys)


def _fill(spans: Spans, run: slice, keys: Ints) -> None:
    """Put the pixels of some spans into the buffer where they are nearer."""
    count = spans.count[run]
    along = counting(count)
    depth = np.repeat(spans.depth[run], count) + along * np.repeat(spans.slope[run], count)
    number = np.repeat(spans.number[run], count)
    np.minimum.at(keys, np.repeat(spans.first[run], count) + along, _pack(depth, number))


def _pack(depth: FloatArray, number: Ints) -> Ints:
    """One whole number that orders by depth (as float32), then by the face's number."""
    bits = depth.astype(np.float32).view(np.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.astype(np.int64) << 32) | number


def _unpack(keys: Ints) -> tuple[DepthMap, NDArray[np.int32]]:
    ordered = (keys >> 32).astype(np.int32)
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    return bits.view(np.float32), (keys & 0xFFFFFFFF).astype(np.int32)


def _affine_weights(corners: FloatArray) -> FloatArray:
    """(m, 3, 2) corners of triangles that have an area -> (6, m), see `_weights_at`."""
    origin = corners[:, 0]
    (a_x, a_y), (b_x, b_y) = (corners[:, 1] - origin).T, (corners[:, 2] - origin).T
    area = a_x * b_y - a_y * b_x
    return np.stack([*origin.T, b_y / area, -b_x / area, -a_y / area, a_x / area])


def _weights_at(affine: FloatArray, which: Ints, x: Ints, y: Ints) -> FloatArray:
    """(p,) points inside the triangles `which` -> (p, 3) weights that sum up to 1."""
    origin_x, origin_y, second_x, second_y, third_x, third_y = affine.take(which, axis=1)
    right, down = x - origin_x, y - origin_y
    # Points on an edge may lie outside by rounding.
    second = np.clip(right * second_x + down * second_y, 0.0, 1.0)
    third = np.clip(right * third_x + down * third_y, 0.0, 1.0 - second)
    return np.column_stack([1.0 - second - third, second, third])
