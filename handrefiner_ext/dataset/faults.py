"""Hands drawn wrong on purpose: each fault is done to the posed mesh, in the hand's own frame.

A faulty hand and its well-formed twin differ in nothing but the fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.hands import BentHand, Surface
from handrefiner_ext.dataset.hull import convex_hull
from handrefiner_ext.geometry.transforms import MIRROR
from handrefiner_ext.mesh.open_hand.model import ABDUCTION, FLEXION, OpenHand
from handrefiner_ext.types import Faces, FloatArray

LONG_FINGERS = (1, 2, 3, 4)
THUMB, INDEX, LITTLE = 0, 1, 4
Fault = Callable[[BentHand, np.random.Generator], Surface]
LonePart = tuple[FloatArray, Faces, NDArray[np.int64]]


def well_formed(hand: BentHand) -> Surface:
    """The hand as it is."""
    return Surface(hand.skin(), hand.model.faces.astype(np.int64))


def extra_finger(hand: BentHand, rng: np.random.Generator) -> Surface:
    """A sixth finger beside the little or the index finger, or squeezed in between two."""
    finger = int(rng.choice(LONG_FINGERS))
    angles = hand.angles.copy()
    if finger == LITTLE:
        angles[finger, 0, ABDUCTION] -= np.radians(rng.uniform(22, 38))
    elif finger == INDEX:
        angles[finger, 0, ABDUCTION] += np.radians(rng.uniform(22, 38))
    else:
        angles[finger, 0, ABDUCTION] += np.radians(rng.choice([-1, 1]) * rng.uniform(14, 20))
    angles[finger, 0, FLEXION] += np.radians(rng.uniform(-15, 25))
    return _add(well_formed(hand), _lone_finger(hand, finger, angles))


def missing_finger(hand: BentHand, rng: np.random.Generator) -> Surface:
    """One finger is a stump at its knuckle."""
    finger = int(rng.integers(5))
    return _scale_finger(hand, finger, rng.uniform(0.04, 0.12))


def long_finger(hand: BentHand, rng: np.random.Generator) -> Surface:
    """One finger is far too long."""
    finger = int(rng.integers(5))
    return _scale_finger(hand, finger, rng.uniform(1.55, 1.9))


def fused_fingers(hand: BentHand, rng: np.random.Generator) -> Surface:
    """Two neighbouring fingers are one, as in a mitten."""
    finger = int(rng.choice(LONG_FINGERS[:-1]))
    angles = hand.angles.copy()
    angles[finger + 1, :, FLEXION] = angles[finger, :, FLEXION]
    angles[finger, 0, ABDUCTION] -= np.radians(3)
    angles[finger + 1, 0, ABDUCTION] += np.radians(3)
    return _wrap(hand, angles, (finger,))


def two_thumbs(hand: BentHand, rng: np.random.Generator) -> Surface:
    """A second thumb on the little finger's side, with or instead of the little finger."""
    points, faces, source = _lone_finger(hand, THUMB, hand.angles)
    joints = hand.joints()
    middle = (joints[5, 0] + joints[17, 0]) / 2
    points = points * MIRROR + np.array([2 * middle, 0.0, 0.0])
    instead = rng.uniform() < 0.5
    base = _scale_finger(hand, LITTLE, 0.06) if instead else well_formed(hand)
    return _add(base, (points, faces[:, ::-1], source))


def broken_joint(hand: BentHand, rng: np.random.Generator) -> Surface:
    """One finger is bent sideways at a joint that has no such hinge."""
    finger, level = int(rng.choice(LONG_FINGERS)), int(rng.integers(1, 3))
    angles = hand.angles.copy()
    turn = rng.uniform(50, 85) if level == 1 else rng.uniform(65, 95)
    angles[finger, level, ABDUCTION] = np.radians(turn * rng.choice([-1, 1]))
    return Surface(hand.skin(angles), hand.model.faces.astype(np.int64))


def reversed_fingers(hand: BentHand, rng: np.random.Generator) -> Surface:
    """The four fingers in reversed order: the little one is next to the thumb.

    Each finger takes the length and the thickness of the one it changes places with, and the line
    of the knuckles slants the other way.
    """
    del rng
    joints = hand.joints()
    lengths = np.linalg.norm(np.diff(joints[1:].reshape(5, 4, 3), axis=1), axis=2).sum(axis=1)
    points = hand.skin()
    moved = np.zeros_like(points)
    for finger in LONG_FINGERS:
        other = 5 - finger
        factor = float(lengths[other] / lengths[finger])
        grown = _scale_finger(hand, finger, factor, thickness=factor**0.7).body - points
        share = finger_weight(hand.model, finger)[:, None]
        lift = np.array([0.0, joints[1 + 4 * other, 1] - joints[1 + 4 * finger, 1], 0.0])
        moved = moved + grown + share * lift
    return Surface(points + moved, hand.model.faces.astype(np.int64))


def many_fingers(hand: BentHand, rng: np.random.Generator) -> Surface:
    """Two or three fingers too many, fanned out between and beside the others."""
    surface = well_formed(hand)
    for finger in rng.choice(LONG_FINGERS, int(rng.integers(2, 4)), replace=False):
        angles = hand.angles.copy()
        angles[finger, 0, ABDUCTION] += np.radians(rng.choice([-1, 1]) * rng.uniform(11, 24))
        angles[finger, 0, FLEXION] += np.radians(rng.uniform(-20, 40))
        angles[finger, 1, FLEXION] += np.radians(rng.uniform(-10, 20))
        surface = _add(surface, _lone_finger(hand, int(finger), angles))
    return surface


def forked_finger(hand: BentHand, rng: np.random.Generator) -> Surface:
    """A finger that is two from its middle joint on."""
    finger = int(rng.choice(LONG_FINGERS))
    one, two = hand.angles.copy(), hand.angles.copy()
    turn = rng.uniform(14, 24)
    one[finger, 1, ABDUCTION] += np.radians(turn)
    two[finger, 1, ABDUCTION] -= np.radians(turn)
    two[finger, 1, FLEXION] += np.radians(rng.uniform(0, 25))
    body = Surface(hand.skin(one), hand.model.faces.astype(np.int64))
    return _add(body, _lone_finger(hand, finger, two))


def mitten(hand: BentHand, rng: np.random.Generator) -> Surface:
    """Three or all four long fingers in one."""
    first = int(rng.integers(1, 3))
    last = LITTLE if first == 1 and rng.uniform() < 0.5 else first + 2
    angles = hand.angles.copy()
    angles[first : last + 1, :, FLEXION] = angles[first, :, FLEXION]
    angles[first : last + 1, 0, ABDUCTION] = 0.0
    return _wrap(hand, angles, tuple(range(first, last)))


def boneless_finger(hand: BentHand, rng: np.random.Generator) -> Surface:
    """One or two fingers that wind like snakes."""
    points = hand.skin()
    joints = hand.joints()
    moved = np.zeros_like(points)
    for finger in rng.choice(5, int(rng.integers(1, 3)), replace=False):
        base, tip = joints[1 + 4 * finger], joints[4 + 4 * finger]
        axis = (tip - base) / np.linalg.norm(tip - base)
        across = np.cross(axis, [0.0, 0.0, 1.0])
        reach = np.clip((points - base) @ axis, 0.0, None)
        wave = np.sin(reach / rng.uniform(0.007, 0.011) + rng.uniform(0, 0.8))
        size = rng.uniform(0.004, 0.008) * np.clip(reach / 0.015, 0.0, 1.0)
        weight = finger_weight(hand.model, int(finger))
        moved += (weight * size * wave)[:, None] * across
    return Surface(points + moved, hand.model.faces.astype(np.int64))


def melted_hand(hand: BentHand, rng: np.random.Generator) -> Surface:
    """A hand of wax: lumps and hollows everywhere, most at the fingers."""
    points = hand.skin()
    moved = np.zeros_like(points)
    for _ in range(10):
        direction = rng.normal(size=3)
        direction *= rng.uniform(60, 190) / np.linalg.norm(direction)
        wave = np.sin(points @ direction + rng.uniform(0, 2 * np.pi))
        moved += wave[:, None] * rng.normal(size=3)
    near = np.clip(np.linalg.norm(points, axis=1) / 0.08, 0.15, 1.0)
    amount = rng.uniform(0.0022, 0.0040)
    return Surface(points + amount * near[:, None] * moved, hand.model.faces.astype(np.int64))


def backward_finger(hand: BentHand, rng: np.random.Generator) -> Surface:
    """One or two fingers bent to the back of the hand at their middle joint."""
    angles = hand.angles.copy()
    for finger in rng.choice(LONG_FINGERS, int(rng.integers(1, 3)), replace=False):
        angles[finger, 0, FLEXION] = np.radians(rng.uniform(-20, 30))
        angles[finger, 1, FLEXION] = np.radians(rng.uniform(-95, -60))
        angles[finger, 2, FLEXION] = np.radians(rng.uniform(-30, 10))
    return Surface(hand.skin(angles), hand.model.faces.astype(np.int64))


def uneven_fingers(hand: BentHand, rng: np.random.Generator) -> Surface:
    """Fingers of every length and thickness."""
    points = hand.skin()
    moved = np.zeros_like(points)
    for finger in range(5):
        factor, thick = rng.uniform(0.5, 1.5), rng.uniform(0.55, 1.7)
        moved = moved + _scale_finger(hand, finger, factor, thick).body - points
    return Surface(points + moved, hand.model.faces.astype(np.int64))


CLASSIC: dict[str, Fault] = {
    "extra_finger": extra_finger,
    "missing_finger": missing_finger,
    "fused_fingers": fused_fingers,
    "long_finger": long_finger,
    "two_thumbs": two_thumbs,
    "broken_joint": broken_joint,
    "reversed_fingers": reversed_fingers,
}
"""The faults of the rendered benchmark of the judge."""
FAULTS: dict[str, Fault] = {
    **CLASSIC,
    "many_fingers": many_fingers,
    "forked_finger": forked_finger,
    "mitten": mitten,
    "boneless_finger": boneless_finger,
    "melted_hand": melted_hand,
    "backward_finger": backward_finger,
    "uneven_fingers": uneven_fingers,
}
"""Name -> fault of the mesh."""
NO_FAULT = "none"


def finger_weight(model: OpenHand, finger: int) -> FloatArray:
    """(n,) how much each vertex belongs to a finger."""
    return np.asarray(model.weights[:, 1 + 3 * finger : 4 + 3 * finger].sum(axis=1))


def _add(surface: Surface, part: LonePart) -> Surface:
    points, faces, source = part
    return replace(
        surface,
        extra=(*surface.extra, (points, faces)),
        sources=(*surface.sources, source),
    )


def _lone_finger(hand: BentHand, finger: int, angles: FloatArray) -> LonePart:
    """A copy of one finger with other angles."""
    faces = hand.model.faces
    chosen = (finger_weight(hand.model, finger) > 0.35)[faces].all(axis=1)
    used, renumbered = np.unique(faces[chosen], return_inverse=True)
    return (
        hand.skin(angles)[used],
        renumbered.reshape(-1, 3).astype(np.int64),
        used.astype(np.int64),
    )


def _wrap(hand: BentHand, angles: FloatArray, fingers: tuple[int, ...]) -> Surface:
    """The hand with each of `fingers` and the next one wrapped up together, bone by bone."""
    points = hand.skin(angles)
    weights = hand.model.weights
    surface = Surface(points, hand.model.faces.astype(np.int64))
    for finger in fingers:
        for level in range(3):
            pair = [1 + 3 * finger + level, 4 + 3 * finger + level]
            near = np.flatnonzero(weights[:, pair].sum(axis=1) > 0.5)
            corners, faces = convex_hull(points[near])
            surface = _add(surface, (points[near[corners]], faces, near[corners]))
    return surface


def _scale_finger(hand: BentHand, finger: int, factor: float, thickness: float = 1.0) -> Surface:
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
