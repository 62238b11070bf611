"""The posed open hand: its points, and their derivatives by the unknowns of the fit.

The unknowns are, in this order, rotation (3), logarithm of the scale, shift in the picture (2),
offset in depth, the free joint angles, and the free shapes. Points are in the fit's space: x and y
of the picture, and depth, in hand sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.transforms import rotation_from_vector
from handrefiner_ext.mesh.open_hand.anatomy import Anatomy, load_anatomy
from handrefiner_ext.mesh.open_hand.model import (
    FINGER_COUNT,
    OpenHand,
    PosedSkeleton,
    load_open_hand,
    split_joints,
)
from handrefiner_ext.topology import JOINT_COUNT
from handrefiner_ext.types import FloatArray

ROTATION, SCALE, SHIFT, OFFSET, CAMERA_COUNT = slice(0, 3), 3, slice(4, 6), 6, 7
MAX_SCALE_STEP = 0.5


@dataclass(frozen=True)
class Pose:
    """The state of the fit: point = scale * rotation @ (point of the hand) + (shift, offset).

    rotation: (3, 3). shift: (2,). free_angles: radians. free_shapes: in units of 10 %.
    """

    rotation: FloatArray
    scale: float
    shift: FloatArray
    offset: float
    free_angles: FloatArray
    free_shapes: FloatArray

    @property
    def translation(self) -> FloatArray:
        """(3,) shift and offset."""
        return np.array([self.shift[0], self.shift[1], self.offset])

    def moved(self, step: FloatArray) -> Pose:
        """Return the pose after a step of the unknowns."""
        angle_end = CAMERA_COUNT + len(self.free_angles)
        growth = np.clip(step[SCALE], -MAX_SCALE_STEP, MAX_SCALE_STEP)
        return Pose(
            rotation=rotation_from_vector(step[ROTATION]) @ self.rotation,
            scale=self.scale * float(np.exp(growth)),
            shift=self.shift + step[SHIFT],
            offset=self.offset + float(step[OFFSET]),
            free_angles=self.free_angles + step[CAMERA_COUNT:angle_end],
            free_shapes=self.free_shapes + step[angle_end:],
        )


@dataclass(frozen=True)
class MovingPoints:
    """Points (n, 3) and their derivatives (n, 3, unknowns)."""

    points: FloatArray
    derivatives: FloatArray


class Kinematics:
    """Computes points of one model in a pose, with derivatives."""

    def __init__(self, model: OpenHand) -> None:
        self.model = model
        self.anatomy: Anatomy = load_anatomy(model.shape_names)
        free = self.anatomy.shapes
        self._shape_bases, self._shape_bones = split_joints(model.shape_joints[free])
        self._shape_vertices = model.shape_vertices[free]
        heads = model.shape_joints[free][:, 1:].reshape(len(free), FINGER_COUNT, 4, 3)[:, :, :3]
        self._shape_heads = heads.reshape(len(free), -1, 3)
        by_finger = model.weights[:, 1:].reshape(-1, FINGER_COUNT, 3)
        reach = by_finger[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
        finger, level, _ = self.anatomy.where
        self._reach = reach[:, finger, level]
        """(n, angles): share of each vertex that derivatives with each angle."""

    @property
    def unknown_count(self) -> int:
        """Number of unknowns of the fit."""
        return CAMERA_COUNT + self.anatomy.angle_count + len(self.anatomy.shapes)

    def shape(self, pose: Pose) -> FloatArray:
        """Return (k,) all shape numbers of the model."""
        full = np.zeros(self.model.shape_count)
        full[self.anatomy.shapes] = pose.free_shapes
        return full

    def pose_skeleton(self, pose: Pose) -> PosedSkeleton:
        """Return the skeleton in the hand's own frame, metres."""
        skeleton = self.model.skeleton(self.shape(pose))
        return self.model.pose_skeleton(skeleton, self.anatomy.angles(pose.free_angles))

    def skin(self, pose: Pose) -> FloatArray:
        """Return (n, 3) vertices in the hand's own frame, metres."""
        return self.model.skin(self.shape(pose), self.pose_skeleton(pose))

    def place_vertices(self, pose: Pose) -> FloatArray:
        """Return (n, 3) vertices in the fit's space."""
        return np.asarray(pose.scale * self.skin(pose) @ pose.rotation.T + pose.translation)

    def place_landmarks(self, pose: Pose) -> FloatArray:
        """Return (21, 3) landmarks in the fit's space."""
        landmarks = self.pose_skeleton(pose).landmarks
        return np.asarray(pose.scale * landmarks @ pose.rotation.T + pose.translation)

    def landmarks(self, pose: Pose, posed: PosedSkeleton) -> MovingPoints:
        """Return the 21 landmarks with derivatives; `posed` is the skeleton of `pose`."""
        to_picture = pose.scale * pose.rotation
        turned = posed.landmarks @ to_picture.T
        derivatives = self._camera_derivatives(turned)
        finger, level, _ = self.anatomy.where
        hinges, pivots = self._hinges(pose, posed)
        chains = turned[1:].reshape(FINGER_COUNT, 4, 3)
        swing = np.cross(hinges[:, None], chains[finger] - pivots[:, None])
        swing *= (np.arange(4)[None] > level[:, None])[..., None]
        columns = CAMERA_COUNT + np.arange(self.anatomy.angle_count)
        rows = 1 + 4 * finger[:, None] + np.arange(4)
        derivatives[rows, :, columns[:, None]] = swing
        growth = self._joint_growth(posed).reshape(-1, JOINT_COUNT - 1, 3)
        derivatives[1:, :, CAMERA_COUNT + self.anatomy.angle_count :] = np.moveaxis(
            growth @ to_picture.T, 0, -1
        )
        return MovingPoints(turned + pose.translation, derivatives)

    def vertices(self, pose: Pose, posed: PosedSkeleton, numbers: NDArray[np.intp]) -> MovingPoints:
        """Return the vertices `numbers` with derivatives, which blend those of rigid bones."""
        to_picture = pose.scale * pose.rotation
        turned = self.model.skin(self.shape(pose), posed, numbers) @ to_picture.T
        derivatives = self._camera_derivatives(turned)
        hinges, pivots = self._hinges(pose, posed)
        swing = np.cross(hinges[None], turned[:, None] - pivots[None])
        swing *= self._reach[numbers][..., None]
        angle_end = CAMERA_COUNT + self.anatomy.angle_count
        derivatives[:, :, CAMERA_COUNT:angle_end] = np.moveaxis(swing, 1, -1)
        growth = self._vertex_growth(posed, numbers)
        derivatives[:, :, angle_end:] = np.moveaxis(growth @ to_picture.T, 0, -1)
        return MovingPoints(turned + pose.translation, derivatives)

    def _camera_derivatives(self, turned: FloatArray) -> FloatArray:
        """Return (n, 3, unknowns) with only the camera's columns filled.

        turned: (n, 3) points without the translation.
        """
        derivatives = np.zeros((len(turned), 3, self.unknown_count))
        x, y, z = turned.T
        derivatives[:, 1, 0], derivatives[:, 2, 0] = -z, y
        derivatives[:, 0, 1], derivatives[:, 2, 1] = z, -x
        derivatives[:, 0, 2], derivatives[:, 1, 2] = -y, x
        derivatives[:, :, SCALE] = turned
        derivatives[:, 0, 4] = derivatives[:, 1, 5] = derivatives[:, 2, OFFSET] = 1.0
        return derivatives

    def _hinges(self, pose: Pose, posed: PosedSkeleton) -> tuple[FloatArray, FloatArray]:
        """Return (angles, 3) axis and pivot of each free angle in the fit's space, untranslated."""
        finger, level, axis = self.anatomy.where
        hinges = posed.hinges[finger, level, axis] @ pose.rotation.T
        joints = posed.joints[1:].reshape(FINGER_COUNT, 4, 3)
        pivots = pose.scale * joints[finger, level] @ pose.rotation.T
        return hinges, pivots

    def _joint_growth(self, posed: PosedSkeleton) -> FloatArray:
        """Return (k, 5, 4, 3) derivatives of finger joints by the free shapes, hand's frame."""
        bones = np.matmul(posed.rotations, self._shape_bones[..., None])[..., 0]
        return np.concatenate([self._shape_bases[:, :, None], bones], axis=2).cumsum(axis=2)

    def _vertex_growth(self, posed: PosedSkeleton, numbers: NDArray[np.intp]) -> FloatArray:
        """Return (k, n, 3) derivatives of vertices by the free shapes, hand's frame."""
        rotations = posed.rotations.reshape(-1, 3, 3)
        weights = self.model.weights[numbers]
        heads = self._joint_growth(posed)[:, :, :3].reshape(len(self._shape_heads), -1, 3)
        carried = heads - np.matmul(rotations, self._shape_heads[..., None])[..., 0]
        blended = np.tensordot(weights, np.concatenate([np.eye(3)[None], rotations]), 1)
        own = np.matmul(blended, self._shape_vertices[:, numbers, :, None])[..., 0]
        return np.asarray(own + weights[:, 1:] @ carried)


@cache
def load_kinematics() -> Kinematics:
    """Return the kinematics of the model that ships with the package; it keeps no state."""
    return Kinematics(load_open_hand())
