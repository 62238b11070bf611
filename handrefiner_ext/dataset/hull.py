"""The convex hull of points in space, one point after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import Faces, FloatArray

FLAT = 1e-12
"""Metres; a point no farther outside a face lies on it."""


def convex_hull(points: FloatArray) -> tuple[NDArray[np.integer[Any]], Faces]:
    """Numbers of the (n, 3) points that are corners, ascending, and (m, 3) faces over those.

    Faces are counter-clockwise seen from outside. The points do not all lie in one plane.
    """
    faces = _first_faces(points)
    remaining = np.setdiff1d(np.arange(len(points)), faces)
    for number in remaining:
        faces = _add_point(points, faces, int(number))
    corners, renumbered = np.unique(faces, return_inverse=True)
    return corners, renumbered.reshape(-1, 3)


def _first_faces(points: FloatArray) -> Faces:
    """A tetrahedron of points far from each other."""
    a = int(points[:, 0].argmin())
    b = int(np.linalg.norm(points - points[a], axis=1).argmax())
    line = (points[b] - points[a]) / np.linalg.norm(points[b] - points[a])
    away = points - points[a]
    c = int(np.linalg.norm(away - (away @ line)[:, None] * line, axis=1).argmax())
    normal = np.cross(points[b] - points[a], points[c] - points[a])
    heights = away @ normal
    d = int(np.abs(heights).argmax())
    if heights[d] > 0.0:
        b, c = c, b
    return np.array([[a, b, c], [a, c, d], [a, d, b], [b, d, c]])


def _add_point(points: FloatArray, faces: Faces, number: int) -> Faces:
    """The hull's faces with one more point; the same where it lies inside."""
    origin = points[faces[:, 0]]
    normals = np.cross(points[faces[:, 1]] - origin, points[faces[:, 2]] - origin)
    lengths = np.maximum(np.linalg.norm(normals, axis=1), 1e-30)
    height = ((points[number] - origin) * normals).sum(axis=1) / lengths
    sees = height > FLAT
    if not sees.any():
        return faces
    seen = faces[sees]
    edges = np.concatenate([seen[:, [0, 1]], seen[:, [1, 2]], seen[:, [2, 0]]])
    count = len(points)
    codes, reverse = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    rim = edges[~np.isin(codes, reverse)]
    fan = np.column_stack([rim, np.full(len(rim), number)])
    return np.concatenate([faces[~sees], fan])
