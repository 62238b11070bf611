"""MANO (Romero, Tzionas, Black 2017, "Embodied Hands"): reading the hand model and posing it.

The formulas are those of SMPL (Loper et al. 2015, equations 1 to 10), on which MANO is based. The
model itself is not part of this project: the user supplies `MANO_RIGHT.pkl`.
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
from handrefiner_ext.pickles import SparseMatrix, read_arrays
from handrefiner_ext.types import Faces, FloatArray

VERTICES, MANO_JOINTS, FACES = 778, 16, 1538
SHAPES = 10

OUR_ORDER = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Index of each joint of `topology.JOINT_NAMES` among MANO's 16 joints (wrist, then three each of
index, middle, little, ring, thumb) followed by the five fingertips from thumb to little finger."""

TEMPLATE_TIPS = (745, 317, 444, 556, 673)
"""Vertices at a right hand's fingertips, thumb first, as in manopth (`manolayer.py`).
MeshGraphormer's template was made with it, so that its network was trained with these."""
REGRESSED_TIPS = (745, 317, 445, 556, 673)
"""The same for the joints of MeshGraphormer's output: its `_mano.py` lists 444 for the middle
finger but uses 445, and its joints were trained and measured with that."""


@dataclass(frozen=True)
class ManoModel:
    """A hand model of MANO's structure, in metres.

    vertices: (778, 3) at rest. faces: (1538, 3). shapes: (778, 3, 10) shift per unit of each
    shape number (beta). pose_shifts: (778, 3, 135) shift per entry of the rotation matrices.
    regressor: (16, 778) from vertices to joints. weights: (778, 16) skinning weights. parents:
    (16,), -1 for the wrist. mean_pose: (15, 3) axis times angle, radians, of a pose of zeros.
    """

    vertices: FloatArray
    faces: Faces
    shapes: FloatArray
    pose_shifts: FloatArray
    regressor: FloatArray
    weights: FloatArray
    parents: tuple[int, ...]
    mean_pose: FloatArray

    def pose(self, pose: FloatArray, shape: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return (778, 3) vertices and (16, 3) joints of a pose and a shape, metres.

        Arguments:
            pose: (16, 3) axis times angle, the wrist first, relative to the mean pose.
            shape: (10,) shape numbers (betas).
        """
        turns = rotations(pose + np.vstack([np.zeros((1, 3)), self.mean_pose]))
        shaped = self.vertices + self.shapes @ shape
        joints = self.regressor @ shaped
        posed = shaped + self.pose_shifts @ (turns[1:] - np.eye(3)).ravel()
        chain = self._chain(turns, joints)
        places = chain[:, :, 3].copy()
        chain[:, :, 3] -= (chain[:, :, :3] @ joints[..., None])[..., 0]
        blended = (self.weights @ chain.reshape(MANO_JOINTS, 12)).reshape(-1, 3, 4)
        skinned = (blended[:, :, :3] @ posed[..., None])[..., 0] + blended[:, :, 3]
        return skinned, places

    def _chain(self, turns: FloatArray, joints: FloatArray) -> FloatArray:
        """Return (16, 3, 4) rotation and position of every joint, parents included."""
        chain = np.zeros((MANO_JOINTS, 3, 4))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                chain[joint] = np.column_stack([turns[joint], joints[joint]])
                continue
            before = chain[parent]
            chain[joint, :, :3] = before[:, :3] @ turns[joint]
            chain[joint, :, 3] = before[:, :3] @ (joints[joint] - joints[parent]) + before[:, 3]
        return chain

    def rest(self) -> tuple[FloatArray, FloatArray]:
        """Return (21, 3) joints and (778, 3) vertices in the mean pose, the network's template."""
        vertices, joints = self.pose(np.zeros((MANO_JOINTS, 3)), np.zeros(SHAPES))
        return np.concatenate([joints, vertices[list(TEMPLATE_TIPS)]])[list(OUR_ORDER)], vertices

    def joints_of(self, vertices: FloatArray) -> FloatArray:
        """Return (..., 21, 3) joints of (..., 778, 3) vertices, by regressor and fingertips."""
        tips = vertices[..., list(REGRESSED_TIPS), :]
        return np.concatenate([self.regressor @ vertices, tips], axis=-2)[..., list(OUR_ORDER), :]


def rotations(vectors: FloatArray) -> FloatArray:
    """Return (..., 3, 3) rotations for (..., 3) axes times angles in radians."""
    angles = np.linalg.norm(vectors, axis=-1)
    axes = vectors / np.where(angles > 0.0, angles, 1.0)[..., None]
    return rotation_about(axes, angles)


def read_mano(path: Path) -> ManoModel:
    """Return the model in a file such as MANO_RIGHT.pkl, without executing any code in it.

    Raises WeightsError for a file that is not MANO's right hand.
    """
    arrays = read_arrays(path)
    try:
        model = _arrange(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} is not a MANO model: {error}. Get MANO_RIGHT.pkl from mano.is.tue.mpg.de."
        ) from error
    if not all(np.isfinite(part).all() for part in (model.vertices, model.shapes, model.weights)):
        raise WeightsError(f"{path} holds numbers that are not finite. Download it again.")
    return model


def _arrange(arrays: Mapping[str, Any]) -> ManoModel:
    parents = _whole_numbers(as_dense(_named(arrays, "kintree_table"))[0])
    faces = _whole_numbers(_shaped(arrays, "f", (FACES, 3))).astype(np.int32)
    if faces.min() < 0 or faces.max() >= VERTICES:
        raise ValueError("its faces point beyond its vertices")
    earlier = (parents[1:] >= 0) & (parents[1:] < np.arange(1, len(parents)))
    if len(parents) != MANO_JOINTS or not earlier.all():
        raise ValueError("its joints are not a tree of 16")
    return ManoModel(
        vertices=_shaped(arrays, "v_template", (VERTICES, 3)),
        faces=faces,
        shapes=_shaped(arrays, "shapedirs", (VERTICES, 3, SHAPES)),
        pose_shifts=_shaped(arrays, "posedirs", (VERTICES, 3, 9 * (MANO_JOINTS - 1))),
        regressor=_shaped(arrays, "J_regressor", (MANO_JOINTS, VERTICES)),
        weights=_shaped(arrays, "weights", (VERTICES, MANO_JOINTS)),
        parents=(-1, *(int(parent) for parent in parents[1:])),
        mean_pose=_shaped(arrays, "hands_mean", (3 * (MANO_JOINTS - 1),)).reshape(-1, 3),
    )


def _whole_numbers(array: FloatArray) -> NDArray[np.int64]:
    if not (np.abs(array) < 2**53).all():  # not so for infinity and NaN either
        raise ValueError("it has numbers that are not whole")
    return array.astype(np.int64)


def _named(arrays: Mapping[str, Any], name: str) -> NDArray[Any] | SparseMatrix:
    """Return the array of that name; nested lists, which could unfold to any size, are refused."""
    found = arrays.get(name)
    if not isinstance(found, (np.ndarray, SparseMatrix)):
        raise ValueError(f"it has no array named {name}")
    return found


def _shaped(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> FloatArray:
    array = as_dense(_named(arrays, name))
    if array.shape != shape:
        raise ValueError(f"its {name} has the shape {array.shape} where {shape} belongs")
    return array
