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
from scenes import MIRROR, PosedHand
from trimesh import Trimesh

from handrefiner_ext.mesh.open_hand.model import ABDUCTION, FLEXION, OpenHand
from handrefiner_ext.types import FloatArray

LONG_FINGERS = (1, 2, 3, 4)
THUMB, LITTLE = 0, 4
Faces = NDArray[np.int64]


@dataclass(frozen=True)
class Surface:
    """body: (n, 3) vertices of the hand, in the model's order. extra: parts added to it."""

    body: FloatArray
    body_faces: Faces
    extra: tuple[tuple[FloatArray, Faces], ...] = ()


def well_formed(hand: PosedHand) -> Surface:
    """The hand as it is."""
    return Surface(hand.skin(), hand.model.faces.astype(np.int64))


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
    return replace(well_formed(hand), extra=(_lone_finger(hand, finger, angles),))


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
    base = _scale_finger(hand, LITTLE, 0.06) if instead else well_formed(hand)
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
