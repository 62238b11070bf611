"""Loop's subdivision, so that a coarse mesh has round outlines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray

Faces = NDArray[np.int32]


def subdivide(values: FloatArray, faces: Faces) -> tuple[FloatArray, Faces]:
    """(n, k) values of the vertices and (m, 3) faces -> the same for four times as many faces.

    Loop 1987, "Smooth subdivision surfaces based on triangles". Open edges stay where they are.
    """
    corners = faces.astype(np.int64)
    sides = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), 1)
    count = len(values)
    _, first, edge_of, used = np.unique(
        sides[:, 0] * count + sides[:, 1],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    edges, edge_of = sides[first], edge_of.reshape(-1)
    opposite = np.concatenate([corners[:, 2], corners[:, 0], corners[:, 1]])
    middles = _middles(values, edges, edge_of, opposite)
    inner = used == 2
    middles[~inner] = values[edges[~inner]].mean(axis=1)
    new = count + edge_of.reshape(3, -1)
    return np.concatenate([_move_old(values, edges, inner), middles]), _split(corners, new)


def _middles(
    values: FloatArray, edges: NDArray[np.int64], edge_of: NDArray[np.int64], opposite: Faces
) -> FloatArray:
    """(e, k): 3/8 of both ends and 1/8 of both opposite corners of each inner edge."""
    across = _sum_at(edge_of, values[opposite], len(edges))
    return np.asarray(0.375 * values[edges].sum(axis=1) + 0.125 * across)


def _move_old(values: FloatArray, edges: NDArray[np.int64], inner: NDArray[np.bool_]) -> FloatArray:
    """(n, k): old vertices drawn towards their neighbours; those on an open edge stay."""
    ends, others = edges.reshape(-1), edges[:, ::-1].reshape(-1)
    valence = np.bincount(ends, minlength=len(values))
    around = _sum_at(ends, values[others], len(values))
    several = np.maximum(valence, 1)
    weight = (0.625 - (0.375 + 0.25 * np.cos(2.0 * np.pi / several)) ** 2) / several
    fixed = np.zeros(len(values), dtype=bool)
    fixed[edges[~inner]] = True
    weight = np.where(fixed | (valence < 3), 0.0, weight)[:, None]
    return np.asarray((1.0 - weight * valence[:, None]) * values + weight * around)


def _sum_at(place: NDArray[np.int64], values: FloatArray, count: int) -> FloatArray:
    """(count, k): values added up by place."""
    columns = [np.bincount(place, column, minlength=count) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((count, 0))


def _split(corners: NDArray[np.int64], new: NDArray[np.int64]) -> Faces:
    """Four faces for each one; new: (3, m) middles of its sides."""
    a, b, c = corners.T
    ab, bc, ca = new
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([np.column_stack(part) for part in parts]).astype(np.int32)
