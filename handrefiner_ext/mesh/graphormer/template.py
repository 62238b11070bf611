"""The mesh that the network starts from, its coarser levels and their adjacency."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from handrefiner_ext.errors import InvalidParameter, WeightsError
from handrefiner_ext.pickles.arrays import KNOWN, Translator
from handrefiner_ext.pickles.machine import BAD_CONTENT, Built, Limits, Machine
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


FULL = 778
LARGEST_MEMBER = 16 * 2**20
"""Bytes; the authors' largest is under a hundred thousand."""


@dataclass(frozen=True)
class Sampling:
    """downsampling: (195, 778), each row chooses a vertex. adjacency: (195, 195), rows sum to 1."""

    downsampling: FloatArray
    adjacency: FloatArray


def read_sampling(path: Path) -> Sampling:
    """The first step of the file's pyramid; its pickled arrays are read without being executed.

    Raises WeightsError for another file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            chosen = as_dense(_read_first(archive, "D", 0))
            faces = np.asarray(_read_first(archive, "F", 1))
    except WeightsError as error:
        raise WeightsError(f"{path} is refused. {error}") from error
    except (*BAD_CONTENT, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise WeightsError(f"{path} is no mano_downsampling.npz ({error}); get it anew.") from error
    fits = chosen.shape == (COARSE, FULL) and np.allclose(chosen.sum(axis=1), 1.0)
    if not fits or faces.ndim != 2 or faces.shape[1] != 3 or not _points_inside(faces):
        raise WeightsError(
            f"{path} does not take {FULL} vertices to {COARSE}; it is for another mesh. "
            "mano_downsampling.npz of microsoft/MeshGraphormer is needed."
        )
    return Sampling(chosen, make_adjacency(faces, COARSE))


def _points_inside(faces: np.ndarray[Any, Any]) -> bool:
    return bool(faces.dtype.kind in "iu" and faces.min() >= 0 and faces.max() < COARSE)


def _read_first(archive: zipfile.ZipFile, name: str, number: int) -> Any:
    """Item `number` of the array of objects `name`."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > LARGEST_MEMBER:
        raise WeightsError(f"Its {name} has {info.file_size:,} bytes, far too many.")
    with archive.open(info) as stream:
        if npy_format.read_magic(stream) != (1, 0):
            raise WeightsError(f"Its {name} is of an unknown version of numpy's format.")
        npy_format.read_array_header_1_0(stream)
        content = Machine(stream, Limits(allowed=_is_known)).run()
    if not isinstance(content, Built) or not isinstance(content.state, tuple):
        raise WeightsError(f"Its {name} is no array of objects.")
    return Translator().translate(content.state[-1][number])


def _is_known(name: object) -> bool:
    return KNOWN.fullmatch(str(name)) is not None
