"""The three files that the backend needs, and what to say where one is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handrefiner_ext.errors import BackendUnavailable

NEEDED = {
    ("graphormer_hand_state_dict.safetensors", "graphormer_hand_state_dict.bin"): (
        "MeshGraphormer's weights (graphormer_hand_state_dict.bin): run "
        "`handrefiner weights download graphormer`"
    ),
    ("mano_downsampling.npz",): (
        "the table of vertices (mano_downsampling.npz): run "
        "`handrefiner weights download graphormer`"
    ),
    ("MANO_RIGHT.pkl",): (
        "the hand model (MANO_RIGHT.pkl): register at https://mano.is.tue.mpg.de, accept its "
        "licence, and put the file into the models folder"
    ),
}
"""Names of a file, the best one first -> what it is, and where to get it."""


@dataclass(frozen=True)
class GraphormerFiles:
    """Where the files lie."""

    weights: Path
    downsampling: Path
    mano: Path


def find_files(find: Callable[[str], Path | None]) -> GraphormerFiles:
    """The files that `find` knows by name; BackendUnavailable says which are missing."""
    paths = [next(filter(None, map(find, names)), None) for names in NEEDED]
    missing = [how for how, path in zip(NEEDED.values(), paths, strict=True) if path is None]
    if missing:
        raise BackendUnavailable(f"The mesh graphormer lacks {'; '.join(missing)}.")
    return GraphormerFiles(*(path for path in paths if path is not None))
