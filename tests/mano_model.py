"""A hand model with MANO's structure and none of its data, and the files that hold it.

778 vertices lie in 48 rings of 16 and a cap of 10, which makes MANO's 1,538 faces; shapes, pose
offsets and weights are random. The joints of the open hand are reached exactly: each is a weighted
sum of four vertices, and the five fingertip vertices are put on its fingertips.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from handrefiner_ext.mesh.open_hand.model import load_open_hand

RINGS, ROUND = 48, 16
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Index, middle, little, ring, thumb, as in MANO."""
IN_OUR_ORDER = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3)
"""Number among the 21 joints of each of MANO's 16."""
TIPS = {4: 745, 8: 317, 12: 445, 16: 556, 20: 673}
COARSE_RINGS, COARSE_ROUND = 13, 15


def make_faces(rings: int, around: int) -> list[tuple[int, int, int]]:
    """Faces of a tube of rings of vertices."""
    faces = []
    for ring in range(rings - 1):
        for k in range(around):
            a, b = ring * around + k, ring * around + (k + 1) % around
            faces += [(a, b, a + around), (b, b + around, a + around)]
    return faces


def make_mano(seed: int = 5) -> dict:
    """The arrays of such a model under MANO's names; J_regressor is dense."""
    generator = np.random.default_rng(seed)
    joints = load_open_hand().joints
    template = _sock(joints)
    template[list(TIPS.values())] = joints[list(TIPS)]
    template[444] = template[445] + 1e-3
    regressor = _regressor(template, joints[list(IN_OUR_ORDER)], generator)
    weights = generator.random((778, 16)) ** 8
    bones = np.vstack([np.where(np.array(PARENTS) < 0, 2**32 - 1, PARENTS), np.arange(16)])
    return {
        "v_template": template,
        "f": _faces().astype(np.uint32),
        "shapedirs": generator.normal(0.0, 1e-3, (778, 3, 10)),
        "posedirs": generator.normal(0.0, 1e-4, (778, 3, 135)),
        "J_regressor": regressor,
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": bones.astype(np.int64),
        "hands_mean": np.zeros(45),
        "hands_components": np.linalg.qr(generator.normal(size=(45, 45)))[0],
        "bs_type": "lrotmin",
        "bs_style": "lbs",
    }


def write_mano(path: Path, **changes: object) -> None:
    """A pickle like MANO_RIGHT.pkl: protocol 2, the regressor sparse."""
    from scipy import sparse

    arrays = make_mano() | changes
    arrays["J_regressor"] = sparse.csc_matrix(arrays["J_regressor"])
    path.write_bytes(pickle.dumps(arrays, protocol=2))


def make_downsampling() -> np.ndarray:
    """(195, 778): a choice of vertices, as in the authors' file."""
    chosen = np.zeros((195, 778))
    chosen[np.arange(195), np.linspace(0, 777, 195).astype(int)] = 1.0
    return chosen


def make_coarse_faces() -> np.ndarray:
    return np.array(make_faces(COARSE_RINGS, COARSE_ROUND))


def write_downsampling(path: Path) -> None:
    """An archive like mano_downsampling.npz: arrays of objects, sparse matrices by column."""
    from scipy import sparse

    arrays = {
        "F": [_faces(), make_coarse_faces()],
        "D": [sparse.csc_matrix(make_downsampling())],
        "U": [sparse.csc_matrix(make_downsampling().T)],
        "A": [sparse.csc_matrix(np.eye(778)), sparse.csc_matrix(_joined(make_coarse_faces()))],
    }
    held = {}
    for name, items in arrays.items():
        held[name] = np.array([None] * len(items), dtype=object)
        held[name][:] = items
    np.savez(path, **held)


def _joined(faces: np.ndarray) -> np.ndarray:
    """(195, 195): how many faces two vertices share, as the authors' file counts."""
    joined = np.zeros((195, 195))
    for a, b, c in faces:
        for first, second in ((a, b), (b, c), (c, a)):
            joined[first, second] += 1.0
            joined[second, first] += 1.0
    return joined


def _faces() -> np.ndarray:
    """(1538, 3): the tube, then 16 vertices to 9 to 1."""
    last, middle, end = (RINGS - 1) * ROUND, RINGS * ROUND, 777
    cap = []
    inner = [middle + k * 9 // ROUND for k in range(ROUND + 1)]
    for k in range(ROUND):
        a, b = last + k, last + (k + 1) % ROUND
        near, after = inner[k], middle + (inner[k + 1] - middle) % 9
        cap.append((a, b, near))
        if after != near:
            cap.append((b, after, near))
    cap += [(middle + k, middle + (k + 1) % 9, end) for k in range(9)]
    return np.array(make_faces(RINGS, ROUND) + cap)


def _sock(joints: np.ndarray) -> np.ndarray:
    """(778, 3) a flat tube as long and wide as the open hand, from the wrist to the tips."""
    low, high = joints.min(axis=0), joints.max(axis=0)
    middle, size = (low + high) / 2.0, high - low + 0.01
    heights = np.repeat(np.linspace(0.5, -0.45, RINGS), ROUND)
    turns = np.tile(np.arange(ROUND) * 2.0 * np.pi / ROUND, RINGS)
    tube = np.stack([0.5 * np.cos(turns), heights, 0.5 * np.sin(turns)], axis=1)
    ring = np.arange(9) * 2.0 * np.pi / 9
    cap = np.stack([0.25 * np.cos(ring), np.full(9, -0.48), 0.25 * np.sin(ring)], axis=1)
    return middle + size * np.concatenate([tube, cap, [[0.0, -0.5, 0.0]]])


def _regressor(template: np.ndarray, joints: np.ndarray, generator) -> np.ndarray:
    """(16, 778) rows that sum to 1 and reach the joints: four random corners for each."""
    rows = np.zeros((len(joints), len(template)))
    for row, joint in zip(rows, joints, strict=True):
        while True:
            corners = generator.choice(len(template), 4, replace=False)
            system = np.vstack([template[corners].T, np.ones(4)])
            if np.linalg.cond(system) < 200.0:
                break
        row[corners] = np.linalg.solve(system, [*joint, 1.0])
    return rows
