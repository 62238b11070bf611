"""Rotations in three dimensions."""

from __future__ import annotations

import numpy as np

from handrefiner_ext.types import FloatArray


def cross_matrix(vectors: FloatArray) -> FloatArray:
    """(..., 3) vectors v -> (..., 3, 3) matrices K with K @ w = v x w."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    zero = np.zeros_like(x)
    rows = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    return np.moveaxis(rows, (0, 1), (-2, -1))


def rotation_about(axes: FloatArray, angles: FloatArray) -> FloatArray:
    """Rodrigues' formula: (..., 3) unit axes and (...) angles in radians -> (..., 3, 3)."""
    K = cross_matrix(axes)
    sine, cosine = np.sin(angles)[..., None, None], np.cos(angles)[..., None, None]
    return np.eye(3) + sine * K + (1.0 - cosine) * (K @ K)


def rotation_from_vector(vector: FloatArray) -> FloatArray:
    """(3,) axis times angle in radians -> (3, 3)."""
    angle = float(np.linalg.norm(vector))
    axis = np.asarray(vector) / angle if angle > 0.0 else np.array([1.0, 0.0, 0.0])
    return rotation_about(axis, np.array(angle))
