"""MANO (Romero, Tzionas, Black 2017, "Embodied Hands"): a hand model's file and its skinning.

The formulas are those of SMPL (Loper et al. 2015, equations 1 to 10), of which MANO is an
instance. Nothing of the model itself is here: `MANO_RIGHT.pkl` is the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.geometry.transforms import rotation_about
from handrefiner_ext.mesh.graphormer.template import as_dense
from handrefiner_ext.pickles import read_arrays
from handrefiner_ext.types import FloatArray

VERTICES, JOINTS, FACES = 778, 16, 1538
SHAPES = 10

OUR_ORDER = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""MANO's 16 joints (wrist; index, middle, little, ring, thumb, three each) and then five fingertips
from thumb to little finger -> the order of `topology.JOINT_NAMES`."""

TEMPLATE_TIPS = (745, 317, 444, 556, 673)
"""Vertices at the fingertips of a right hand, thumb first, as manopth (`manolayer.py`) takes them;
MeshGraphormer's template was made with it, so its network was trained with these."""
REGRESSED_TIPS = (745, 317, 445, 556, 673)
"""The same where joints are read off MeshGraphormer's mesh: its `_mano.py` lists 444 for the middle
finger and then uses 445; its joints were trained and measured with that."""


@dataclass(frozen=True)
class HandModel:
    """A hand model of MANO's structure, metres.

    vertices: (778, 3) at rest. faces: (1538, 3). shapes: (778, 3, 10) shift per unit of each shape
    number. pose_shifts: (778, 3, 135) shift per entry of the rotations. regressor: (16, 778).
    weights: (778, 16) of each joint on each vertex. parents: (16,), -1 for the wrist.
    mean_pose: (15, 3) axis times angle, radians, which a pose of zeros means.
    """

    vertices: FloatArray
    faces: NDArray[np.int32]
    shapes: FloatArray
    pose_shifts: FloatArray
    regressor: FloatArray
    weights: FloatArray
    parents: tuple[int, ...]
    mean_pose: FloatArray

    def pose(self, pose: FloatArray, shape: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(778, 3) vertices and (16, 3) joints of a pose and a shape, metres.

        pose: (16, 3) axis times angle, the wrist first, relative to the mean pose. shape: (10,).
        """
        turns = rotations(pose + np.vstack([np.zeros((1, 3)), self.mean_pose]))
        shaped = self.vertices + self.shapes @ shape
        joints = self.regressor @ shaped
        posed = shaped + self.pose_shifts @ (turns[1:] - np.eye(3)).ravel()
        chain = self._chain(turns, joints)
        places = chain[:, :, 3].copy()
        chain[:, :, 3] -= (chain[:, :, :3] @ joints[..., None])[..., 0]
        blended = (self.weights @ chain.reshape(JOINTS, 12)).reshape(-1, 3, 4)
        skinned = (blended[:, :, :3] @ posed[..., None])[..., 0] + blended[:, :, 3]
        return skinned, places

    def _chain(self, turns: FloatArray, joints: FloatArray) -> FloatArray:
        """(16, 3, 4): rotation and place of every joint, each after its parent's."""
        chain = np.zeros((JOINTS, 3, 4))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                chain[joint] = np.column_stack([turns[joint], joints[joint]])
                continue
            before = chain[parent]
            chain[joint, :, :3] = before[:, :3] @ turns[joint]
            chain[joint, :, 3] = before[:, :3] @ (joints[joint] - joints[parent]) + before[:, 3]
        return chain

    def rest(self) -> tuple[FloatArray, FloatArray]:
        """(21, 3) joints and (778, 3) vertices in the mean pose, as the network was trained."""
        vertices, joints = self.pose(np.zeros((JOINTS, 3)), np.zeros(SHAPES))
        return np.concatenate([joints, vertices[list(TEMPLATE_TIPS)]])[list(OUR_ORDER)], vertices

    def joints_of(self, vertices: FloatArray) -> FloatArray:
        """(..., 778, 3) vertices in any pose -> (..., 21, 3) joints, by regressor and tips."""
        tips = vertices[..., list(REGRESSED_TIPS), :]
        return np.concatenate([self.regressor @ vertices, tips], axis=-2)[..., list(OUR_ORDER), :]


def rotations(vectors: FloatArray) -> FloatArray:
    """(..., 3) axis times angle in radians -> (..., 3, 3); Rodrigues' formula."""
    angles = np.linalg.norm(vectors, axis=-1)
    axes = vectors / np.where(angles > 0.0, angles, 1.0)[..., None]
    return rotation_about(axes, angles)


def read_hand_model(path: Path) -> HandModel:
    """The model in a file such as MANO_RIGHT.pkl, of which nothing is executed.

    Raises WeightsError for a file that is not MANO's right hand.
    """
    arrays = read_arrays(path)
    try:
        model = _arrange(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} is no MANO model: {error}. MANO_RIGHT.pkl comes from mano.is.tue.mpg.de."
        ) from error
    if not all(np.isfinite(part).all() for part in (model.vertices, model.shapes, model.weights)):
        raise WeightsError(f"{path} holds numbers that are not finite; get it anew.")
    return model


def _arrange(arrays: Mapping[str, Any]) -> HandModel:
    parents = np.asarray(arrays["kintree_table"])[0].astype(np.int64)
    faces = _shaped(arrays, "f", (FACES, 3)).astype(np.int32)
    if faces.min() < 0 or faces.max() >= VERTICES:
        raise ValueError("its faces point beyond its vertices")
    if len(parents) != JOINTS or not (parents[1:] < np.arange(1, JOINTS)).all():
        raise ValueError("its joints are not a tree of 16")
    return HandModel(
        vertices=_shaped(arrays, "v_template", (VERTICES, 3)),
        faces=faces,
        shapes=_shaped(arrays, "shapedirs", (VERTICES, 3, SHAPES)),
        pose_shifts=_shaped(arrays, "posedirs", (VERTICES, 3, 9 * (JOINTS - 1))),
        regressor=_shaped(arrays, "J_regressor", (JOINTS, VERTICES)),
        weights=_shaped(arrays, "weights", (VERTICES, JOINTS)),
        parents=(-1, *(int(parent) for parent in parents[1:])),
        mean_pose=_shaped(arrays, "hands_mean", (3 * (JOINTS - 1),)).reshape(-1, 3),
    )


def _shaped(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> FloatArray:
    if name not in arrays:
        raise KeyError(f"it has no {name}")
    array = as_dense(arrays[name])
    if array.shape != shape:
        raise ValueError(f"its {name} has the shape {array.shape} where {shape} belongs")
    return array
