"""The open hand as a record that people can read and change: side, place and joint angles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from handrefiner_ext.geometry.boxes import clip
from handrefiner_ext.geometry.transforms import (
    MIRROR,
    rotation_from_vector,
    see_joints,
    vector_from_rotation,
)
from handrefiner_ext.mesh.open_hand.anatomy import FREE_ANGLES
from handrefiner_ext.mesh.open_hand.fit import POINT_DEVIATION, HandFitter, Target
from handrefiner_ext.mesh.open_hand.kinematics import Pose, load_kinematics
from handrefiner_ext.mesh.open_hand.model import ABDUCTION, FLEXION
from handrefiner_ext.topology import FINGER_NAMES
from handrefiner_ext.types import (
    FloatArray,
    Handedness,
    HandMesh,
    HandPose,
    WeakPerspective,
)

JOINTS = {"thumb": ("cmc", "mcp", "ip")}
LONG_JOINTS = ("mcp", "pip", "dip")
AXES = {FLEXION: "flexion", ABDUCTION: "abduction"}
NOTHING_KNOWN = 1e3
"""Deviation, in hand sizes, of what nobody has measured."""
BACKEND = "open_hand"


def _name(finger: int, level: int, axis: int) -> str:
    joint = JOINTS.get(FINGER_NAMES[finger], LONG_JOINTS)[level]
    return f"{FINGER_NAMES[finger]}_{joint}_{AXES.get(axis, 'twist')}"


ANGLE_NAMES = tuple(_name(angle.finger, angle.level, angle.axis) for angle in FREE_ANGLES)
"""Name of each free joint angle, such as index_mcp_flexion."""


def list_shapes() -> tuple[str, ...]:
    """Return the names of the shapes that a pose may set."""
    kinematics = load_kinematics()
    return tuple(kinematics.model.shape_names[number] for number in kinematics.anatomy.shapes)


def describe_pose(pose: Pose, handedness: Handedness, camera: WeakPerspective) -> HandPose:
    """Return the record of a fitted pose. camera: of its mesh."""
    return HandPose(
        handedness,
        wrist=(camera.shift_x, camera.shift_y),
        scale=camera.scale,
        turn=vector_from_rotation(pose.rotation),
        angles=dict(zip(ANGLE_NAMES, map(float, pose.free_angles), strict=True)),
        shapes=dict(zip(list_shapes(), map(float, pose.free_shapes), strict=True)),
    )


def build_mesh(record: HandPose, picture_size: tuple[int, int]) -> HandMesh:
    """Return the mesh of a record, as if that hand had been seen. picture_size: (height, width).

    Angles are kept within what a hand can do; those that are not named are those of the rest pose.
    """
    kinematics = load_kinematics()
    anatomy = kinematics.anatomy
    free = np.array([record.angles.get(name, 0.0) for name in ANGLE_NAMES])
    shapes = np.array([record.shapes.get(name, 0.0) for name in list_shapes()])
    pose = Pose(
        rotation_from_vector(np.array(record.turn)),
        1.0,
        np.zeros(2),
        0.0,
        np.clip(free, anatomy.low, anatomy.high),
        np.clip(shapes, -3.0, 3.0),
    )
    mirror = MIRROR if record.handedness == "left" else np.ones(3)
    turn = pose.rotation.T * mirror
    joints = kinematics.pose_skeleton(pose).landmarks @ turn
    vertices = kinematics.skin(pose)
    # The stub of the forearm lies below the wrist joint, the origin, and follows no finger.
    vertices[kinematics.model.vertices[:, 1] > 0.0, 1] *= record.wrist_length
    camera = WeakPerspective(record.scale, *record.wrist)
    hand = see_joints(joints, camera, record.handedness)
    faces = kinematics.model.faces
    return HandMesh(
        hand=replace(hand, box=clip(hand.box, *picture_size)),
        vertices=vertices @ turn,
        faces=faces[:, ::-1] if record.handedness == "left" else faces,
        joints=joints,
        camera=camera,
        reprojection_error=0.0,
        backend=BACKEND,
        pose=replace(
            record,
            angles=dict(zip(ANGLE_NAMES, map(float, pose.free_angles), strict=True)),
            shapes=dict(zip(list_shapes(), map(float, pose.free_shapes), strict=True)),
        ),
    )


def fit_pose(points: FloatArray, seen: FloatArray, handedness: Handedness) -> HandPose:
    """Return the hand that best fits keypoints in the picture, of which no depth is known.

    Arguments:
        points: (21, 2) pixels.
        seen: (21,) bool, the points that are known; at least 4, not all in one place.
    """
    known = points[seen]
    size = float(np.ptp(known, axis=0).max())
    centre = (known.min(axis=0) + known.max(axis=0)) / 2.0
    mirror = MIRROR[:2] if handedness == "left" else np.ones(2)
    target = Target(
        np.where(seen[:, None], (points - centre) / size * mirror, 0.0),
        np.zeros(len(points)),
        np.where(seen, POINT_DEVIATION, NOTHING_KNOWN),
        np.full(len(points), NOTHING_KNOWN),
    )
    pose = HandFitter(load_kinematics()).fit(target).pose
    shift = centre + size * mirror * pose.shift
    camera = WeakPerspective(pose.scale * size, float(shift[0]), float(shift[1]))
    return describe_pose(pose, handedness, camera)
