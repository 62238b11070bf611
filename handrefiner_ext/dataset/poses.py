"""Gestures: joint angles that hands are seen with, each with a spread of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handrefiner_ext.mesh.open_hand.anatomy import FREE_ANGLES, Anatomy
from handrefiner_ext.mesh.open_hand.model import ABDUCTION, ANGLES_SHAPE, FLEXION
from handrefiner_ext.types import FloatArray

Bends = tuple[float, float, float]
"""Flexion of a finger's three joints, degrees beyond the rest pose."""

STRAIGHT: Bends = (-8, -8, -5)
HOOKED: Bends = (5, 80, 45)
CLOSED: Bends = (72, 88, 50)
THUMB_OUT: Bends = (-18, -12, -10)
THUMB_RELAXED: Bends = (5, 8, 8)
THUMB_ACROSS: Bends = (28, 38, 40)
THUMB_MEETS: Bends = (25, 18, 22)


@dataclass(frozen=True)
class Gesture:
    """thumb, then the long fingers from index to little; spread: degrees between neighbours.

    thumb_abduction: degrees towards (positive) or away from the index finger's side.
    words: how a prompt says it, after "a hand".
    """

    thumb: Bends
    fingers: tuple[Bends, Bends, Bends, Bends]
    spread: float
    words: str
    thumb_abduction: float = 0.0
    weight: float = 1.0


def _all(bends: Bends) -> tuple[Bends, Bends, Bends, Bends]:
    return (bends, bends, bends, bends)


GESTURES: dict[str, Gesture] = {
    "open": Gesture(THUMB_OUT, _all(STRAIGHT), 5, "with open fingers", 5, 2.0),
    "spread": Gesture(THUMB_OUT, _all((-12, -8, -5)), 11, "with spread fingers", 14, 1.6),
    "together": Gesture((2, 0, 0), _all((-4, -8, -5)), -4, "with fingers together", -6, 1.6),
    "relaxed": Gesture(
        THUMB_RELAXED,
        ((8, 14, 8), (12, 18, 11), (15, 22, 14), (18, 26, 16)),
        0,
        "at rest",
        0,
        2.6,
    ),
    "cupped": Gesture((12, 12, 10), _all((28, 32, 20)), -2, "cupped", -5, 1.2),
    "fist": Gesture(THUMB_ACROSS, _all(CLOSED), -2, "making a fist", -22, 1.8),
    "pointing": Gesture(THUMB_ACROSS, (STRAIGHT, CLOSED, CLOSED, CLOSED), 0, "pointing", -18, 1.6),
    "thumb_up": Gesture(THUMB_OUT, _all(CLOSED), -2, "with its thumb up", 20, 1.0),
    "victory": Gesture(
        THUMB_ACROSS, (STRAIGHT, STRAIGHT, CLOSED, CLOSED), 12, "making a victory sign", -20, 1.2
    ),
    "ok": Gesture(
        (20, 16, 30),
        ((46, 52, 26), (12, 12, 8), (4, 6, 4), (-4, 2, 2)),
        6,
        "making an OK sign",
        -14,
        1.0,
    ),
    "pinch": Gesture(
        THUMB_MEETS, ((40, 40, 20), (30, 40, 24), (26, 38, 24), (22, 34, 22)), 0, "pinching", -10
    ),
    "claw": Gesture((5, 20, 35), _all((-10, 62, 40)), 5, "like a claw", 6, 0.8),
    "horns": Gesture(
        THUMB_ACROSS,
        (STRAIGHT, CLOSED, CLOSED, STRAIGHT),
        4,
        "making the sign of the horns",
        -18,
        0.6,
    ),
    "call": Gesture(THUMB_OUT, (CLOSED, CLOSED, CLOSED, STRAIGHT), 6, "as if calling", 20, 0.6),
    "three": Gesture(
        THUMB_ACROSS, (STRAIGHT, STRAIGHT, STRAIGHT, CLOSED), 8, "showing three", -20, 0.8
    ),
    "four": Gesture(THUMB_ACROSS, _all(STRAIGHT), 7, "showing four", -22, 0.8),
    "gun": Gesture(THUMB_OUT, (STRAIGHT, STRAIGHT, CLOSED, CLOSED), -3, "like a pistol", 18, 0.6),
    "pen": Gesture(
        (22, 14, 16),
        ((38, 36, 14), (44, 48, 24), (50, 60, 32), (54, 66, 36)),
        -1,
        "as if writing",
        -8,
        0.8,
    ),
    "hooked": Gesture(THUMB_RELAXED, _all(HOOKED), -2, "with hooked fingers", -4, 0.7),
}
"""Name -> gesture."""

ANY = "any"
"""Name of a pose that follows no gesture."""


def bend_hand(gesture: Gesture) -> FloatArray:
    """(5, 3, 3) radians."""
    angles = np.zeros(ANGLES_SHAPE)
    angles[0, :, FLEXION] = gesture.thumb
    angles[0, 0, ABDUCTION] = gesture.thumb_abduction
    angles[1:, :, FLEXION] = gesture.fingers
    angles[1:, 0, ABDUCTION] = gesture.spread * np.array([1.5, 0.5, -0.5, -1.6])
    return np.asarray(np.radians(angles))


def sample_gesture(rng: np.random.Generator) -> str:
    """A name; some hands follow none."""
    names = [*GESTURES, ANY]
    weights = np.array([*(g.weight for g in GESTURES.values()), 3.0])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def sample_angles(rng: np.random.Generator, name: str, anatomy: Anatomy) -> FloatArray:
    """(5, 3, 3) angles inside the limits of the joints, around the gesture `name`."""
    if name == ANY:
        return random_angles(rng, anatomy)
    angles = bend_hand(GESTURES[name])
    noise = 0.16 * anatomy.angles(anatomy.deviation * rng.normal(size=anatomy.angle_count))
    common = np.zeros(ANGLES_SHAPE)
    common[1:, :, FLEXION] = rng.normal() * np.radians(5.0)
    return within_limits(angles + noise + common, anatomy)


def within_limits(angles: FloatArray, anatomy: Anatomy) -> FloatArray:
    """(5, 3, 3) the nearest angles that a hand can have."""
    return anatomy.angles(np.clip(angles[anatomy.where], anatomy.low, anatomy.high))


def random_angles(rng: np.random.Generator, anatomy: Anatomy) -> FloatArray:
    """(5, 3, 3) angles inside the limits: fingers bend together, each with a will of its own."""
    free = anatomy.mean + 0.5 * anatomy.deviation * rng.normal(size=anatomy.angle_count)
    common = rng.normal() * 0.5
    bends = np.array([a.axis == FLEXION and a.finger > 0 for a in FREE_ANGLES])
    free = np.where(bends, free + common * anatomy.deviation, free)
    pip, dip = anatomy.coupled
    free[dip] = 0.5 * free[dip] + 0.5 * (free[pip] * 2 / 3)
    return anatomy.angles(np.clip(free, anatomy.low, anatomy.high))
