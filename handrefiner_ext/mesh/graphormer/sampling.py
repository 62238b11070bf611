"""Which vertices the network sees of MANO's mesh, from the authors' mano_downsampling.npz.

The file (MIT licence, github.com/microsoft/MeshGraphormer) was made by decimating MANO's mesh with
a program of its own, so the choice of the 195 vertices cannot be derived; the neighbourhoods can:
they are those of the file's coarse faces, and give exactly the authors' adjacency files.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.mesh.graphormer.template import as_dense, make_adjacency
from handrefiner_ext.pickles.arrays import KNOWN, Translator
from handrefiner_ext.pickles.machine import BAD_CONTENT, Limits, Machine
from handrefiner_ext.pickles.records import Built
from handrefiner_ext.types import FloatArray

FULL, COARSE = 778, 195
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
