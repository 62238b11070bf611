"""The forearm behind a hand, and what is worn on it: sleeves, watches, bangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.hands import rim_of, turn_between
from handrefiner_ext.dataset.solids import Solid, make_tube
from handrefiner_ext.geometry.transforms import rotation_about
from handrefiner_ext.types import Faces, FloatArray

BEND_LENGTH = 0.045
"""Metres over which the wrist bends."""
BEND_STEPS = 24
STEP = 0.012


@dataclass(frozen=True)
class ArmSpec:
    """length: metres. bend: (2,) radians, to the palm and to the thumb. growth: of its width."""

    length: float
    bend: FloatArray
    growth: float


@dataclass(frozen=True)
class Arm:
    """A sweep in the hand's own frame.

    centre: where it begins. begin, end: unit directions there and beyond the bend. ring: (k, 3)
    offsets of the rim, flat. stub: (k,) how far each offset lay along `begin`.
    """

    spec: ArmSpec
    centre: FloatArray
    begin: FloatArray
    end: FloatArray
    ring: FloatArray
    stub: FloatArray

    def section(self, at: float, swell: float | FloatArray = 1.0) -> FloatArray:
        """(k, 3) the arm's ring `at` metres behind the rim, its width times `swell`."""
        turn = self._turn(at)
        share = np.clip(at / self.spec.length, 0.0, 1.0)
        wide = 1.0 + self.spec.growth * np.sin(0.5 * np.pi * min(1.0, share / 0.75))
        flat = self.ring * wide * np.asarray(swell).reshape(-1, 1)
        fading = max(0.0, 1.0 - at / 0.03)
        slant = fading * self.stub[:, None] * self.begin
        return np.asarray(self.axis(at) + (flat + slant) @ turn.T)

    def axis(self, at: float) -> FloatArray:
        """(3,) the arm's middle there."""
        bent = min(at, BEND_LENGTH)
        middles = (np.arange(BEND_STEPS) + 0.5) * bent / BEND_STEPS
        angles = self._angle * _ease(middles / BEND_LENGTH)
        way = np.cos(angles).sum() * self.begin + np.sin(angles).sum() * self._aside
        return np.asarray(self.centre + way * bent / BEND_STEPS + (at - bent) * self.end)

    @property
    def _angle(self) -> float:
        """Radians from `begin` to `end`."""
        return float(np.arccos(np.clip(self.begin @ self.end, -1.0, 1.0)))

    @property
    def _aside(self) -> FloatArray:
        """(3,) unit vector across `begin` to which the arm bends."""
        across = self.end - (self.end @ self.begin) * self.begin
        return np.asarray(across / max(float(np.linalg.norm(across)), 1e-12))

    def _turn(self, at: float) -> FloatArray:
        return turn_between(self.begin, self.end, float(_ease(np.array(at / BEND_LENGTH))))


def _ease(share: FloatArray) -> FloatArray:
    """0..1, smoothly."""
    t = np.clip(share, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def lay_arm(points: FloatArray, faces: Faces, spec: ArmSpec) -> Arm:
    """points, faces: the hand, its cap last."""
    cap = len(points) - 1
    rim = rim_of(faces, cap)
    centre = points[rim].mean(axis=0)
    begin = centre / np.linalg.norm(centre)
    offsets = points[rim] - centre
    stub = offsets @ begin
    flat = offsets - stub[:, None] * begin
    to_palm, to_thumb = spec.bend
    bent = rotation_about(np.array([1.0, 0.0, 0.0]), np.array(to_palm)) @ begin
    end = rotation_about(np.array([0.0, 0.0, 1.0]), np.array(to_thumb)) @ bent
    return Arm(spec, centre, begin, np.asarray(end), flat, stub)


def grow_arm(
    points: FloatArray, faces: Faces, values: FloatArray, arm: Arm
) -> tuple[FloatArray, Faces, FloatArray]:
    """The hand with the arm in place of its cap: points, faces, values of the skin's map."""
    cap = len(points) - 1
    rim = rim_of(faces, cap)
    kept = faces[~(faces == cap).any(axis=1)]
    stations = np.linspace(0.0, arm.spec.length, max(3, int(arm.spec.length / STEP)))[1:]
    rings = np.stack([arm.section(float(at)) for at in stations])
    around, count = len(rim), len(points)
    numbers = np.concatenate([rim[None], count + np.arange(rings.size // 3).reshape(-1, around)])
    a, b = numbers[:-1], numbers[1:]
    next_a, next_b = np.roll(a, -1, axis=1), np.roll(b, -1, axis=1)
    band = [np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, next_a, b), (next_a, next_b, b))]
    last, end = numbers[-1], np.full(around, count + rings.size // 3)
    lid = np.column_stack([last, np.roll(last, -1), end])
    rest = np.repeat(values[None, rim], len(stations), axis=0)
    rest[..., 1] += stations[:, None]
    skin = np.concatenate([values, rest.reshape(-1, values.shape[1]), rest[-1].mean(0)[None]])
    whole = np.concatenate([points, rings.reshape(-1, 3), rings[-1].mean(axis=0)[None]])
    return whole, np.concatenate([kept, *band, lid]), skin


@dataclass(frozen=True)
class SleeveSpec:
    """begin: metres behind the rim. width: of the arm's. folds: depth of its waves. cuff: metres
    of a turned-up end, 0 without one."""

    begin: float
    width: float
    folds: float
    cuff: float


def make_sleeve(arm: Arm, spec: SleeveSpec, rng: np.random.Generator) -> Solid:
    """A wide tube around the arm; texture: turn 0..1, metres along, 1 on the cuff."""
    around = len(arm.ring)
    end = arm.spec.length * 1.02
    along = np.concatenate(
        [
            [spec.begin + 0.003],
            np.linspace(spec.begin, end, max(6, int((end - spec.begin) / 0.007))),
        ]
    )
    turn = np.arange(around) / around
    phases = rng.uniform(0, 2 * np.pi, (4, 2))
    sections, laid = [], []
    for number, at in enumerate(along):
        beyond = max(0.0, float(at) - spec.begin - spec.cuff)
        waves = sum(
            np.sin(
                2 * np.pi * (k + 1) * turn
                + p
                + 40.0 * (k + 1) * float(at)
                + 2 * np.sin(q + 60 * at)
            )
            for k, (p, q) in enumerate(phases)
        )
        on_cuff = float(at) < spec.begin + spec.cuff
        fold = spec.folds * waves * min(1.0, beyond / 0.02) * (0.0 if on_cuff else 1.0)
        wide = spec.width + (0.07 if on_cuff and spec.cuff > 0 else 0.0) + 1.2 * beyond * spec.folds
        sections.append(arm.section(float(at), 1.02 if number == 0 else wide + fold))
        laid.append(np.column_stack([turn, np.full(around, at), np.full(around, float(on_cuff))]))
    return make_tube(np.stack(sections), np.stack(laid), closed=False)


def make_band(arm: Arm, begin: float, width: float, thick: float) -> Solid:
    """A band around the arm, such as a watch's; thick: of the arm's width."""
    around = len(arm.ring)
    profile = ((0.0, 1.0), (0.04, 1.0 + thick), (0.96, 1.0 + thick), (1.0, 1.0))
    sections = np.stack([arm.section(begin + width * t, swell) for t, swell in profile])
    turn = np.arange(around) / around
    laid = np.stack(
        [np.column_stack([turn, np.full(around, t), np.zeros(around)]) for t, _ in profile]
    )
    return make_tube(sections, laid, closed=False)


def back_of(arm: Arm, at: float) -> tuple[FloatArray, FloatArray]:
    """Point on the arm's back and the direction out of it, for a watch's face."""
    section = arm.section(at)
    middle = section.mean(axis=0)
    outwards: NDArray[np.float64] = section[int(np.argmin(section[:, 2]))] - middle
    reach = float(np.linalg.norm(outwards))
    return middle + outwards, outwards / reach
