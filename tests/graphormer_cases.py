"""The network with random weights and the crops on which it was compared with the authors' code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from mano_model import TIPS, make_coarse_faces, make_downsampling, make_mano

from handrefiner_ext.mesh.graphormer.template import make_adjacency

SEED = 2104
GOLDEN = Path(__file__).parent / "golden" / "graphormer_reference.npz"


def make_crops(count: int = 8) -> np.ndarray:
    """(n, 3, 224, 224) float32: random colours, from coarse to fine."""
    generator = np.random.default_rng(SEED)
    crops = []
    for side in generator.integers(3, 60, count):
        colours = generator.normal(size=(side, side, 3)).astype(np.float32)
        crops.append(cv2.resize(colours, (224, 224), interpolation=cv2.INTER_LINEAR))
    return np.stack(crops).transpose(0, 3, 1, 2).copy()


def make_template() -> tuple[np.ndarray, np.ndarray]:
    """(21, 3) joints and (778, 3) vertices of the synthetic hand at rest, metres."""
    arrays = make_mano()
    vertices = arrays["v_template"]
    joints = np.zeros((21, 3))
    joints[[0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3]] = (
        arrays["J_regressor"] @ vertices
    )
    joints[list(TIPS)] = vertices[list(TIPS.values())]
    return joints, vertices


def make_parts() -> tuple:
    """Template, adjacency and downsampling, as build_network takes them."""
    adjacency = make_adjacency(make_coarse_faces(), 195)
    return make_template(), adjacency, [make_downsampling()]
