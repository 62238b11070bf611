"""The open hand at rest: what is assumed where nobody can see how a hand lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.mesh.open_hand.kinematics import Kinematics, Pose
from handrefiner_ext.mesh.open_hand.model import ABDUCTION, FLEXION, load_open_hand
from handrefiner_ext.types import FloatArray, Hand, Handedness

AT_REST = {
    **{(0, 0, FLEXION): 5, (0, 1, FLEXION): 10, (0, 2, FLEXION): 10},
    **{(1, 0, ABDUCTION): 2, (4, 0, ABDUCTION): -4},
    **{(finger, 0, FLEXION): 6 + 3 * finger for finger in range(1, 5)},
    **{(finger, 1, FLEXION): 10 + 4 * finger for finger in range(1, 5)},
    **{(finger, 2, FLEXION): 6 + 3 * finger for finger in range(1, 5)},
}
"""(finger, joint, axis) -> degrees beyond the rest pose: at ease, the fingers bend more and more
from the index to the little one."""
SIDE_UNKNOWN = 0.5


@dataclass(frozen=True)
class Lie:
    """Where a hand lies in the picture.

    centre: (2,) pixels, of the landmarks' extent. towards: (2,) unit vector from the wrist to the
    fingertips. length_px: of that extent along `towards`.
    """

    centre: FloatArray
    towards: FloatArray
    length_px: float


def relaxed_landmarks() -> FloatArray:
    """(21, 3) of a right hand seen from its back, fingers up, metres."""
    kinematics = Kinematics(load_open_hand())
    anatomy = kinematics.anatomy
    places = list(zip(*anatomy.where, strict=True))
    free = np.radians([AT_REST.get((int(f), int(j), int(a)), 0) for f, j, a in places])
    pose = Pose(np.eye(3), 1.0, np.zeros(2), 0.0, free, np.zeros(len(anatomy.shapes)))
    return np.asarray(kinematics.pose_skeleton(pose).landmarks)


def assume_hand(
    lie: Lie, handedness: Handedness, shows_palm: bool, picture_size: tuple[int, int]
) -> Hand:
    """A relaxed hand as if it had been detected there; picture_size: (height, width)."""
    points = relaxed_landmarks()
    if shows_palm:
        points = points * (-1.0, 1.0, -1.0)
    if handedness == "left":
        points = points * (-1.0, 1.0, 1.0)
    x, y = lie.towards
    roll = np.array([[-y, -x, 0.0], [x, -y, 0.0], [0.0, 0.0, 1.0]])
    length = float(np.ptp(points[:, 1]))
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    points = (points - middle) @ roll.T
    scale = lie.length_px / length
    landmarks = scale * points[:, :2] + lie.centre
    return Hand(
        handedness=handedness,
        handedness_score=SIDE_UNKNOWN,
        score=0.0,
        box=clip(bounding_box(landmarks), *picture_size),
        landmarks=landmarks,
        landmark_depth=scale * (points[:, 2] - points[0, 2]),
        world_landmarks=points - points.mean(axis=0),
        assumed=True,
    )
