"""Hands drawn wrong on purpose, each beside its well-formed twin.

Every fault is done to the posed mesh of a hand model, in the hand's own frame, so that any model of
`scenes.HandModel` can have it. A twin differs in nothing but the fault: pose, place, skin, light,
background and grain are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scenes import (
    MIRROR,
    HandModel,
    Placement,
    random_angles,
    random_rotation,
    random_shape,
)
from trimesh import Trimesh

from handrefiner_ext.geometry.boxes import bounding_box
from handrefiner_ext.mesh.open_hand.anatomy import load_anatomy
from handrefiner_ext.mesh.open_hand.model import ABDUCTION, FLEXION, OpenHand
from handrefiner_ext.types import FloatArray, Hand, Handedness, HandMesh, WeakPerspective

LONG_FINGERS = (1, 2, 3, 4)
THUMB, LITTLE = 0, 4
Faces = NDArray[np.int64]


@dataclass(frozen=True)
class Surface:
    """body: (n, 3) vertices of the hand, in the model's order. extra: parts added to it."""

    body: FloatArray
    body_faces: Faces
    extra: tuple[tuple[FloatArray, Faces], ...] = ()


@dataclass(frozen=True)
class PosedHand:
    """A hand model in a pose, and how it lies in the picture.

    angles: (5, 3, 3) radians. turn: (3, 3), applied from the right, mirror included.
    """

    model: OpenHand
    side: Handedness
    shape: FloatArray
    angles: FloatArray
    turn: FloatArray
    camera: WeakPerspective

    def skin(self, angles: FloatArray | None = None) -> FloatArray:
        """(n, 3) vertices in the hand's frame, in this pose or with other angles."""
        return self.model.skin(self.shape, self._pose(angles))

    def joints(self, angles: FloatArray | None = None) -> FloatArray:
        """(21, 3) joints in the hand's frame."""
        return np.asarray(self._pose(angles).joints)

    def well_formed(self) -> Surface:
        return Surface(self.skin(), self.model.faces.astype(np.int64))

    def mesh(self) -> HandMesh:
        """The well-formed hand with the exact landmarks; the faulty one has no others."""
        joints = self._pose().landmarks @ self.turn
        landmarks = self.camera.project(joints)
        hand = Hand(
            handedness=self.side,
            handedness_score=1.0,
            score=1.0,
            box=bounding_box(landmarks),
            landmarks=landmarks,
            landmark_depth=self.camera.scale * (joints[:, 2] - joints[0, 2]),
            world_landmarks=joints - joints.mean(axis=0),
        )
        vertices = self.skin() @ self.turn
        return HandMesh(
            hand, vertices, self.turn_faces(self.model.faces), joints, self.camera, 0.0, "truth"
        )

    def turn_faces(self, faces: NDArray[np.integer]) -> NDArray[np.int32]:
        faces = faces[:, ::-1] if self.side == "left" else faces
        return np.asarray(faces, dtype=np.int32)

    def _pose(self, angles: FloatArray | None = None):
        chosen = self.angles if angles is None else angles
        return self.model.pose_skeleton(self.model.skeleton(self.shape), chosen)


def pose_hand(rng: np.random.Generator, place: Placement, hand: HandModel) -> PosedHand:
    """A random hand at a place in the picture."""
    model = hand.model
    side: Handedness = "right" if rng.integers(2) else "left"
    shape = random_shape(rng, model)
    angles = random_angles(rng, load_anatomy(model.shape_names))
    turn = (MIRROR if side == "left" else np.ones(3))[:, None] * random_rotation(rng).T
    joints = model.pose_skeleton(model.skeleton(shape), angles).landmarks @ turn
    low, high = joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)
    scale = place.size_px / float((high - low).max())
    shift = np.array([place.centre_x, place.centre_y]) - scale * (low + high) / 2
    camera = WeakPerspective(scale, float(shift[0]), float(shift[1]))
    return PosedHand(model, side, shape, angles, turn, camera)


Fault = Callable[[PosedHand, np.random.Generator], Surface]


def extra_finger(hand: PosedHand, rng: np.random.Generator) -> Surface:
    """A sixth finger beside the little or the index finger, or squeezed in between two."""
    finger = int(rng.choice(LONG_FINGERS))
    angles = hand.angles.copy()
    if finger == LITTLE:
        angles[finger, 0, ABDUCTION] -= np.radians(rng.uniform(22, 38))
    elif finger == 1:
        angles[finger, 0, ABDUCTION] += np.radians(rng.uniform(22, 38))
    else:
        angles[finger, 0, ABDUCTION] += np.radians(rng.choice([-1, 1]) * rng.uniform(14, 20))
    angles[finger, 0, FLEXION] += np.radians(rng.uniform(-15, 25))
    return replace(hand.well_formed(), extra=(_lone_finger(hand, finger, angles),))


def missing_finger(hand: PosedHand, rng: np.random.Generator) -> Surface:
    """One finger is a stump at its knuckle."""
    finger = int(rng.integers(5))
    return _scale_finger(hand, finger, rng.uniform(0.04, 0.12))


def long_finger(hand: PosedHand, rng: np.random.Generator) -> Surface:
    """One finger is far too long."""
    finger = int(rng.integers(5))
    return _scale_finger(hand, finger, rng.uniform(1.55, 1.9))


def fused_fingers(hand: PosedHand, rng: np.random.Generator) -> Surface:
    """Two neighbouring fingers are one, as in a mitten."""
    finger = int(rng.choice(LONG_FINGERS[:-1]))
    angles = hand.angles.copy()
    angles[finger + 1, :, FLEXION] = angles[finger, :, FLEXION]
    angles[finger, 0, ABDUCTION] -= np.radians(3)
    angles[finger + 1, 0, ABDUCTION] += np.radians(3)
    points = hand.skin(angles)
    weights = hand.model.weights
    hulls = []
    for level in range(3):
        near = weights[:, [1 + 3 * finger + level, 4 + 3 * finger + level]].sum(axis=1) > 0.5
        hull = Trimesh(points[near], process=False).convex_hull
        hulls.append((np.asarray(hull.vertices), np.asarray(hull.faces, dtype=np.int64)))
    return Surface(points, hand.model.faces.astype(np.int64), tuple(hulls))


def two_thumbs(hand: PosedHand, rng: np.random.Generator) -> Surface:
    """A second thumb on the little finger's side, with or instead of the little finger."""
    points, faces = _lone_finger(hand, THUMB, hand.angles)
    joints = hand.joints()
    middle = (joints[5, 0] + joints[17, 0]) / 2
    points = points * MIRROR + np.array([2 * middle, 0.0, 0.0])
    instead = rng.uniform() < 0.5
    base = _scale_finger(hand, LITTLE, 0.06) if instead else hand.well_formed()
    return replace(base, extra=((points, faces[:, ::-1]),))


def broken_joint(hand: PosedHand, rng: np.random.Generator) -> Surface:
    """One finger is bent sideways at a joint that has no such hinge."""
    finger, level = int(rng.choice(LONG_FINGERS)), int(rng.integers(1, 3))
    angles = hand.angles.copy()
    turn = rng.uniform(50, 85) if level == 1 else rng.uniform(65, 95)
    angles[finger, level, ABDUCTION] = np.radians(turn * rng.choice([-1, 1]))
    return Surface(hand.skin(angles), hand.model.faces.astype(np.int64))


def reversed_fingers(hand: PosedHand, rng: np.random.Generator) -> Surface:
    """The four fingers in reversed order: the little one is next to the thumb.

    Each finger takes the length and the thickness of the one it changes places with, and the line
    of the knuckles slants the other way.
    """
    del rng
    joints = hand.joints()
    lengths = np.linalg.norm(np.diff(joints[1:].reshape(5, 4, 3), axis=1), axis=2).sum(axis=1)
    points, moved = hand.skin(), 0.0
    for finger in LONG_FINGERS:
        other = 5 - finger
        factor = float(lengths[other] / lengths[finger])
        grown = _scale_finger(hand, finger, factor, thickness=factor**0.7).body - points
        share = _finger_weight(hand.model, finger)[:, None]
        lift = np.array([0.0, joints[1 + 4 * other, 1] - joints[1 + 4 * finger, 1], 0.0])
        moved = moved + grown + share * lift
    return Surface(points + moved, hand.model.faces.astype(np.int64))


FAULTS: dict[str, Fault] = {
    "extra_finger": extra_finger,
    "missing_finger": missing_finger,
    "fused_fingers": fused_fingers,
    "long_finger": long_finger,
    "two_thumbs": two_thumbs,
    "broken_joint": broken_joint,
    "reversed_fingers": reversed_fingers,
}


def _finger_weight(model: OpenHand, finger: int) -> FloatArray:
    """(n,) how much each vertex belongs to a finger."""
    return np.asarray(model.weights[:, 1 + 3 * finger : 4 + 3 * finger].sum(axis=1))


def _lone_finger(hand: PosedHand, finger: int, angles: FloatArray) -> tuple[FloatArray, Faces]:
    """A copy of one finger with other angles."""
    faces = hand.model.faces
    chosen = (_finger_weight(hand.model, finger) > 0.35)[faces].all(axis=1)
    used, renumbered = np.unique(faces[chosen], return_inverse=True)
    return hand.skin(angles)[used], renumbered.reshape(-1, 3).astype(np.int64)


def _scale_finger(hand: PosedHand, finger: int, factor: float, thickness: float = 1.0) -> Surface:
    """The hand with one finger longer or shorter, and thicker or thinner."""
    joints = hand.joints()[1 + 4 * finger : 5 + 4 * finger]
    points = hand.skin()
    weights = hand.model.weights[:, 1 + 3 * finger : 4 + 3 * finger]
    moved = np.zeros_like(points)
    for level in range(3):
        bone = joints[level + 1] - joints[level]
        direction = bone / np.linalg.norm(bone)
        offset = points - joints[level]
        along = (offset @ direction)[:, None] * direction
        forward = np.maximum(offset @ direction, 0.0)[:, None] * direction
        reach = joints[level] - joints[0] + forward
        wider = (thickness - 1.0) * (offset - along)
        moved += weights[:, level, None] * ((factor - 1.0) * reach + wider)
    return Surface(points + moved, hand.model.faces.astype(np.int64))
