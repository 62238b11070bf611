"""The mesh at rest, as the network takes it, and its neighbourhoods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.types import FloatArray

JOINTS, COARSE = 21, 195


def as_dense(matrix: Any) -> FloatArray:
    """(m, n) array of a matrix that is dense or sparse, of torch, scipy or `pickles`."""
    if hasattr(matrix, "toarray"):  # scipy
        matrix = matrix.toarray()
    elif hasattr(matrix, "to_dense"):  # torch
        matrix = matrix.detach().cpu().to_dense().numpy()
    elif hasattr(matrix, "dense"):  # handrefiner_ext.pickles.SparseMatrix
        matrix = matrix.dense()
    return np.asarray(matrix, dtype=np.float64)


def make_tokens(template: Any, downsampling: Sequence[Any]) -> FloatArray:
    """(216, 3): joints and coarse vertices, centred on the wrist, the first joint."""
    joints, vertices = _split(template)
    if len(vertices) != COARSE:
        if not len(downsampling):
            raise InvalidParameter(
                f"A template of {len(vertices)} vertices needs a matrix that takes them to "
                f"{COARSE}; give it as downsampling[0]."
            )
        vertices = as_dense(downsampling[0]) @ vertices
    points = np.concatenate([joints, vertices])
    if points.shape != (JOINTS + COARSE, 3):
        raise InvalidParameter(
            f"The template comes to {points.shape} points; {(JOINTS + COARSE, 3)} are needed."
        )
    return np.asarray(points - joints[0])


def _split(template: Any) -> tuple[FloatArray, FloatArray]:
    """(21, 3) joints and the vertices of a pair, or of one array with the joints first."""
    if isinstance(template, (tuple, list)) and len(template) == 2:
        joints, vertices = (as_dense(part).reshape(-1, 3) for part in template)
        return joints, vertices
    points = as_dense(template).reshape(-1, 3)
    return points[:JOINTS], points[JOINTS:]


def make_adjacency(faces: NDArray[np.integer[Any]], count: int) -> FloatArray:
    """(count, count): each vertex and its neighbours, weighted alike; every row sums to 1."""
    joined = np.eye(count)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        joined[faces[:, first], faces[:, second]] = 1.0
        joined[faces[:, second], faces[:, first]] = 1.0
    return np.asarray(joined / joined.sum(axis=1, keepdims=True))
