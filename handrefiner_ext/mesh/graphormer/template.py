"""The network's template: the mesh it starts from, its coarser level and that one's adjacency."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from handrefiner_ext.errors import InvalidParameter, WeightsError
from handrefiner_ext.pickles import SparseMatrix
from handrefiner_ext.pickles.arrays import Translator, is_known
from handrefiner_ext.pickles.bounds import BAD_CONTENT, Budget, Damage, explain
from handrefiner_ext.pickles.machine import Built, Machine, describe
from handrefiner_ext.types import Faces, FloatArray

JOINTS, COARSE_VERTICES, FULL_VERTICES = 21, 195, 778


def as_dense(matrix: Any) -> FloatArray:
    """Return an (m, n) array of a dense or sparse matrix of torch, scipy or `pickles`."""
    if hasattr(matrix, "toarray"):  # scipy
        matrix = matrix.toarray()
    elif hasattr(matrix, "to_dense"):  # torch
        matrix = matrix.detach().cpu().to_dense().numpy()
    elif hasattr(matrix, "dense"):  # handrefiner_ext.pickles.SparseMatrix
        matrix = matrix.dense()
    return np.asarray(matrix, dtype=np.float64)


def make_tokens(template: Any, downsampling: Sequence[Any]) -> FloatArray:
    """Return (216, 3) joints and coarse vertices, centred on the wrist, the first joint.

    Arguments as for `network.build_network`; InvalidParameter if their shapes do not fit.
    """
    joints, vertices = _split_template(template)
    if len(vertices) != COARSE_VERTICES:
        if not len(downsampling):
            raise InvalidParameter(
                f"A template of {len(vertices)} vertices needs a matrix that maps them to "
                f"{COARSE_VERTICES}; give it as downsampling[0]."
            )
        vertices = as_dense(downsampling[0]) @ vertices
    points = np.concatenate([joints, vertices])
    if points.shape != (JOINTS + COARSE_VERTICES, 3):
        raise InvalidParameter(
            f"The template's points have the shape {points.shape}; "
            f"{(JOINTS + COARSE_VERTICES, 3)} is needed."
        )
    return np.asarray(points - joints[0])


def _split_template(template: Any) -> tuple[FloatArray, FloatArray]:
    """Return joints (21, 3) and vertices from a pair, or from one array with the joints first."""
    if isinstance(template, (tuple, list)) and len(template) == 2:
        joints, vertices = (as_dense(part).reshape(-1, 3) for part in template)
        return joints, vertices
    points = as_dense(template).reshape(-1, 3)
    return points[:JOINTS], points[JOINTS:]


def make_adjacency(faces: Faces, count: int) -> FloatArray:
    """Return (count, count) equal weights of each vertex and its neighbours; rows sum to 1."""
    joined = np.eye(count)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        joined[faces[:, first], faces[:, second]] = 1.0
        joined[faces[:, second], faces[:, first]] = 1.0
    return np.asarray(joined / joined.sum(axis=1, keepdims=True))


LARGEST_MEMBER = 16 * 2**20
"""Bytes of an array in the file at most; the authors' largest has less than a hundred thousand."""


@dataclass(frozen=True)
class Sampling:
    """The step from the full mesh to the coarse one.

    downsampling: (195, 778), each row chooses a vertex. adjacency: (195, 195), rows sum to 1.
    """

    downsampling: FloatArray
    adjacency: FloatArray


def read_sampling(path: Path) -> Sampling:
    """Return the first downsampling step in the file, without executing its pickled objects.

    Raises WeightsError for another file.
    """
    budget = Budget(path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            chosen = as_dense(_read_item(archive, "D", 0, budget))
            faces = as_dense(_read_item(archive, "F", 1, budget))
    except WeightsError as error:
        raise WeightsError(f"{path} is refused. {error}") from error
    except (*BAD_CONTENT, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"{path} is not an intact mano_downsampling.npz: {explain(error)}. Download it again."
        ) from error
    fits = chosen.shape == (COARSE_VERTICES, FULL_VERTICES) and np.allclose(chosen.sum(axis=1), 1.0)
    if not fits or faces.ndim != 2 or faces.shape[1] != 3 or not _points_inside(faces):
        raise WeightsError(
            f"{path} does not map {FULL_VERTICES} vertices to {COARSE_VERTICES}, so it is for "
            "another mesh. mano_downsampling.npz of microsoft/MeshGraphormer is needed."
        )
    return Sampling(chosen, make_adjacency(faces.astype(np.int64), COARSE_VERTICES))


def _points_inside(faces: FloatArray) -> bool:
    whole = (faces == np.floor(faces)).all()
    return bool(faces.size and whole and faces.min() >= 0 and faces.max() < COARSE_VERTICES)


def _read_item(
    archive: zipfile.ZipFile, name: str, number: int, budget: Budget
) -> NDArray[Any] | SparseMatrix:
    """Return item `number` of the array of objects `name`."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > LARGEST_MEMBER:
        raise WeightsError(f"Its {name} has {info.file_size:,} bytes, far too many.")
    with archive.open(info) as member:
        stream = io.BytesIO(member.read(LARGEST_MEMBER))
    if npy_format.read_magic(stream) != (1, 0):
        raise WeightsError(f"Its {name} is of an unknown version of numpy's format.")
    npy_format.read_array_header_1_0(stream)
    content = Machine(stream, budget, is_known).run()
    items = content.state[-1] if isinstance(content, Built) and content.state else None
    if not isinstance(items, list) or len(items) <= number:
        raise Damage(f"its {name} is not an array of objects")
    item = Translator(budget).translate(items[number])
    if not isinstance(item, (np.ndarray, SparseMatrix)):
        raise WeightsError(f"Its {name} holds {describe(item)} where an array belongs.")
    return item
