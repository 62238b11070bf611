"""Things that hands hold or wear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from handrefiner_ext.dataset.hands import BentHand
from handrefiner_ext.dataset.poses import within_limits
from handrefiner_ext.dataset.solids import (
    Solid,
    frame_along,
    make_ball,
    make_box,
    make_lathe,
    make_torus,
    move,
)
from handrefiner_ext.geometry.transforms import rotation_about
from handrefiner_ext.mesh.open_hand.anatomy import Anatomy
from handrefiner_ext.mesh.open_hand.model import ABDUCTION, FLEXION
from handrefiner_ext.types import FloatArray

Distance = Callable[[FloatArray], FloatArray]
"""(n, 3) points in the hand's frame -> metres outside the thing, negative inside."""

FINGER_RADIUS = 0.0085
CLOSING_STEPS = 16
PALM_DEPTH = 0.013
CLOSED_ANGLES = np.array([[32, 30, 35], *([[88, 98, 60]] * 4)], dtype=np.float64)


@dataclass(frozen=True)
class Held:
    """A thing in the hand's own frame. words: how a prompt names it."""

    name: str
    words: str
    solid: Solid
    distance: Distance


def hold_ball(rng: np.random.Generator) -> Held:
    radius = float(rng.uniform(0.022, 0.048))
    centre = np.array([0.0, -0.080 - 0.25 * radius, radius + PALM_DEPTH])
    solid = move(make_ball(radius), np.eye(3), centre)
    return Held("ball", "holding a ball", solid, lambda p: _norm(p - centre) - radius)


def hold_stick(rng: np.random.Generator) -> Held:
    radius = float(rng.uniform(0.005, 0.017))
    return _hold_rod(rng, "stick", "holding a stick", radius, rng.uniform(0.07, 0.25, 2))


def hold_cup(rng: np.random.Generator) -> Held:
    radius, height = float(rng.uniform(0.027, 0.040)), float(rng.uniform(0.08, 0.13))
    return _hold_rod(rng, "cup", "holding a cup", radius, np.array([0.5, 0.5]) * height)


def hold_phone(rng: np.random.Generator) -> Held:
    size = np.array([rng.uniform(0.066, 0.078), rng.uniform(0.135, 0.16), 0.009])
    axes = rotation_about(np.array([0.0, 0.0, 1.0]), np.array(rng.uniform(-0.45, 0.15)))
    centre = np.array([-0.006, -0.095, PALM_DEPTH + 0.012])
    solid = move(make_box(size, 0.008), axes, centre)

    def distance(points: FloatArray) -> FloatArray:
        outside = np.abs((points - centre) @ axes.T) - size / 2
        inside = np.minimum(outside.max(axis=-1), 0.0)
        return np.asarray(_norm(np.maximum(outside, 0.0)) + inside)

    return Held("phone", "holding a phone", solid, distance)


def _hold_rod(
    rng: np.random.Generator, name: str, words: str, radius: float, ends: FloatArray
) -> Held:
    """A rod across the palm; ends: metres to the thumb's side and to the other."""
    axis = np.array([-1.0, rng.normal() * 0.15 - 0.1, rng.normal() * 0.06])
    axes = frame_along(axis)
    centre = np.array([0.0, -0.086, radius + PALM_DEPTH])
    if name == "cup":
        profile = np.array(
            [[0.86, -ends[1]], [0.9, -ends[1] * 0.8], [1.0, ends[0]], [0.92, ends[0]], [0.8, 0.0]]
        )
        profile[:, 0] *= radius
    else:
        profile = np.array([[radius, -ends[1]], [radius, 0.0], [radius, ends[0]]])
    solid = move(make_lathe(profile), axes, centre)
    direction = axes[2]

    def distance(points: FloatArray) -> FloatArray:
        offset = points - centre
        along = offset @ direction
        radial = _norm(offset - along[..., None] * direction) - radius
        beyond = np.maximum(along - ends[0], -ends[1] - along)
        return np.asarray(np.maximum(radial, beyond))

    return Held(name, words, solid, distance)


def _norm(points: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(points, axis=-1))


HOLDERS: dict[str, Callable[[np.random.Generator], Held]] = {
    "ball": hold_ball,
    "stick": hold_stick,
    "cup": hold_cup,
    "phone": hold_phone,
}


def close_around(hand: BentHand, held: Held, anatomy: Anatomy) -> BentHand:
    """The hand with every finger bent until it touches the thing."""
    opened = hand.angles.copy()
    opened[:, :, FLEXION] = np.radians(np.array([[-12, -10, -5], *([[-14, -8, -5]] * 4)]))
    opened[0, 0, ABDUCTION] = np.radians(-12 if held.name != "phone" else 12)
    closed = opened.copy()
    closed[:, :, FLEXION] = np.radians(CLOSED_ANGLES)
    angles, free = opened.copy(), np.ones(5, dtype=bool)
    for share in np.linspace(0.0, 1.0, CLOSING_STEPS):
        tried = np.where(free[:, None, None], opened + share * (closed - opened), angles)
        tried = within_limits(tried, anatomy)
        joints = hand.joints(tried)[1:].reshape(5, 4, 3)
        samples = np.concatenate([joints[:, 1:], (joints[:, 1:] + joints[:, :-1]) / 2], axis=1)
        touching = (held.distance(samples) < FINGER_RADIUS).any(axis=1)
        free &= ~touching
        angles = np.where(free[:, None, None], tried, angles)
    return replace(hand, angles=angles)


def make_finger_ring(hand: BentHand, finger: int, rng: np.random.Generator) -> Solid:
    """A ring on the first part of a finger, in the hand's frame."""
    joints = hand.joints()[1 + 4 * finger : 5 + 4 * finger]
    bone = joints[1] - joints[0]
    at = joints[0] + float(rng.uniform(0.52, 0.68)) * bone
    axes = frame_along(bone)
    skin = hand.skin() - at
    near = (np.abs(skin @ axes[2]) < 0.004) & (hand.model.weights[:, 1 + 3 * finger] > 0.3)
    local = skin[near] @ axes.T
    middle = (
        (local[:, :2].max(axis=0) + local[:, :2].min(axis=0)) / 2 if near.any() else np.zeros(2)
    )
    radius = float(np.linalg.norm(local[:, :2] - middle, axis=1).max()) if near.any() else 0.009
    wide, thick = rng.uniform(0.0012, 0.0035), rng.uniform(0.0006, 0.0016)
    turn = np.linspace(0.0, 2 * np.pi, 8, endpoint=False)
    tube = np.column_stack([thick * np.cos(turn), wide * np.sin(turn)])
    return move(make_torus(radius + 0.0002, tube), axes, at + middle @ axes[:2])
