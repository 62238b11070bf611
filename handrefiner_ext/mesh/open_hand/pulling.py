"""Inverse kinematics: pull joints of the open hand to places in the picture, within its limits.

A joint of a finger bends that finger alone; one of the palm moves the hand as a whole. The pulled
joints are pinned, and everything else stays near the pose that the pull begins with: Levenberg and
Marquardt's method, in which an angle at its limit is left out while the cost drives it further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.transforms import vector_from_rotation
from handrefiner_ext.mesh.open_hand.anatomy import DIP_PER_PIP
from handrefiner_ext.mesh.open_hand.fit import COUPLING_DEVIATION
from handrefiner_ext.mesh.open_hand.kinematics import (
    CAMERA_COUNT,
    ROTATION,
    SCALE,
    Kinematics,
    Pose,
    load_kinematics,
)
from handrefiner_ext.mesh.open_hand.model import ABDUCTION, FLEXION
from handrefiner_ext.topology import FINGERTIPS, PALM, WRIST
from handrefiner_ext.types import FloatArray

PIN_DEVIATION = 0.001
"""Hand sizes. So small that nothing else moves a pinned joint by a visible amount."""
HELD_WRIST, HELD_TIPS = 0.05, 0.15
"""Deviation, in hand sizes, of what stays where it was while the palm is pulled."""
TURN_DEVIATION = np.radians([20.0, 20.0, 90.0])
"""About the picture's axes: turning in the picture's plane is expected, tilting is not."""
SCALE_DEVIATION = 0.3
MOST_ITERATIONS = 12
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-9, 1e6
LEAST_GAIN = 1e-2
"""Of the cost; less is no visible step."""
ARRIVED = 0.002
"""Hand sizes; a pull that ends farther off is begun again from another bend of the finger."""
MOST_TURN = 0.35
"""Radians of one step; beyond, a turn is no straight line any more."""
MOST_PX = 1e7


def pull_joints(pose: Pose, pins: Mapping[int, FloatArray], size_px: float) -> tuple[Pose, float]:
    """Return the pose with these joints pulled to (2,) points, and how far off the worst ends.

    Arguments:
        pose: of a right hand; its scale and shift are those of the picture, in pixels.
        size_px: hand size.
    """
    pull = _Pull.of(load_kinematics(), pose, pins, size_px)
    best = pull.solve(pose)
    bend = pull.suggest_bend() if best.miss > ARRIVED * size_px else None
    if bend is not None:
        other = pull.solve(bend)
        best = min(best, other, key=lambda end: end.cost)
    return best.pose, best.miss


@dataclass(frozen=True)
class _End:
    """Where a search ended. miss: pixels between the worst pinned joint and its place."""

    pose: Pose
    cost: float
    miss: float


@dataclass(frozen=True)
class _State:
    """One pose on the way, with its residuals (r,) and their Jacobian (r, free columns)."""

    pose: Pose
    residual: FloatArray
    jacobian: FloatArray

    @property
    def cost(self) -> float:
        return 0.5 * float(self.residual @ self.residual)


@dataclass(frozen=True)
class _Pull:
    """What is asked for. columns: the unknowns that may change. fingers: that may
    bend. pinned: how many of the joints, which come first. moves: whether the hand does.
    """

    kinematics: Kinematics
    start: Pose
    joints: NDArray[np.intp]
    aims: FloatArray
    weights: FloatArray
    columns: NDArray[np.intp]
    fingers: tuple[int, ...]
    pinned: int
    moves: bool

    @classmethod
    def of(
        cls, kinematics: Kinematics, start: Pose, pins: Mapping[int, FloatArray], size_px: float
    ) -> _Pull:
        palm = [joint for joint in pins if joint in PALM]
        fingers = tuple(sorted({(joint - 1) // 4 for joint in pins if joint not in PALM}))
        bends = np.flatnonzero(np.isin(kinematics.anatomy.where[0], fingers))
        moves = [0, 1, 2, 4, 5] if palm else []
        if len(palm) > 1:  # two places of a rigid palm say how large it is
            moves.append(SCALE)
        held = [j for j in (WRIST, *FINGERTIPS) if palm and j not in pins]
        softness = [HELD_WRIST if joint == WRIST else HELD_TIPS for joint in held]
        now = kinematics.place_landmarks(start)[:, :2]
        deviations = np.array([*([PIN_DEVIATION] * len(pins)), *softness]) * size_px
        return cls(
            kinematics,
            start,
            joints=np.array([*pins, *held]),
            aims=np.array([*pins.values(), *now[held]]),
            weights=1.0 / deviations,
            columns=np.array([*moves, *(CAMERA_COUNT + bends)], dtype=np.intp),
            fingers=fingers,
            pinned=len(pins),
            moves=bool(palm),
        )

    def solve(self, begin: Pose) -> _End:
        """Minimise the cost from a pose within the limits."""
        state, damping = self._linearise(self._shift(begin)), FIRST_DAMPING
        for _ in range(MOST_ITERATIONS):
            moved = state.pose.moved(self._step(state, damping))
            tried = self._linearise(_within_picture(moved))
            if not tried.cost < state.cost:
                damping *= 10.0
                if damping > MOST_DAMPING:
                    break
                continue
            gain, state = state.cost - tried.cost, tried
            damping = max(damping / 10.0, LEAST_DAMPING)
            if gain < LEAST_GAIN * (state.cost + LEAST_GAIN):
                break
        pose = self._shift(state.pose)
        return _End(pose, state.cost, float(np.linalg.norm(self._misses(pose), axis=1).max()))

    def _misses(self, pose: Pose) -> FloatArray:
        """Return (pins, 2) pixels from the pinned joints to their places."""
        placed = self.kinematics.place_landmarks(pose)[self.joints[: self.pinned], :2]
        return np.asarray(self.aims[: self.pinned] - placed)

    def _shift(self, pose: Pose) -> Pose:
        """Return the pose moved by the mean of what its pinned joints miss, if it may move."""
        if not self.moves:
            return pose
        return _within_picture(replace(pose, shift=pose.shift + self._misses(pose).mean(axis=0)))

    def suggest_bend(self) -> Pose | None:
        """Return the start with the pulled fingers in the bend that comes nearest to their aims."""
        if not self.fingers:
            return None
        angles, landmarks = _bends()
        start = self.start
        placed = start.scale * landmarks @ start.rotation.T + start.translation
        free = start.free_angles.copy()
        for finger in self.fingers:
            own = np.flatnonzero((self.joints[: self.pinned] - 1) // 4 == finger)
            apart = placed[:, self.joints[own], :2] - self.aims[own]
            best = int((apart**2).sum(axis=(1, 2)).argmin())
            bent = self.kinematics.anatomy.where[0] == finger
            free[bent] = angles[best][bent]
        return replace(start, free_angles=free)

    def _step(self, state: _State, damping: float) -> FloatArray:
        """Return Marquardt's step (unknowns,), which leaves no angle beyond its limit."""
        anatomy = self.kinematics.anatomy
        gradient = state.jacobian.T @ state.residual
        normal = state.jacobian.T @ state.jacobian
        room_down, room_up = self._room(state.pose)
        free = ~((room_down >= 0.0) & (gradient > 0.0) | (room_up <= 0.0) & (gradient < 0.0))
        step = np.zeros(self.kinematics.unknown_count)
        if free.any():
            kept = normal[np.ix_(free, free)]
            kept = kept + np.diag(damping * np.diag(kept) + 1e-12)
            step[self.columns[free]] = np.linalg.solve(kept, -gradient[free])
        turned = float(np.linalg.norm(step[ROTATION]))
        step *= min(1.0, MOST_TURN / max(turned, MOST_TURN))
        angles = state.pose.free_angles
        turns = step[CAMERA_COUNT : CAMERA_COUNT + anatomy.angle_count]
        turns[:] = np.clip(angles + turns, anatomy.low, anatomy.high) - angles
        return step

    def _room(self, pose: Pose) -> tuple[FloatArray, FloatArray]:
        """Return how far each free column may go down and up; only angles have limits."""
        anatomy = self.kinematics.anatomy
        low = np.full(self.kinematics.unknown_count, -np.inf)
        high = -low
        angles = slice(CAMERA_COUNT, CAMERA_COUNT + anatomy.angle_count)
        low[angles] = anatomy.low - pose.free_angles + 1e-9
        high[angles] = anatomy.high - pose.free_angles - 1e-9
        return low[self.columns], high[self.columns]

    def _linearise(self, pose: Pose) -> _State:
        posed = self.kinematics.pose_skeleton(pose)
        moving = self.kinematics.landmarks(pose, posed)
        error = (moving.points[self.joints, :2] - self.aims) * self.weights[:, None]
        slopes = moving.derivatives[self.joints, :2] * self.weights[:, None, None]
        prior, growth = self._prior(pose)
        residual = np.concatenate([error.ravel(), prior])
        jacobian = np.concatenate([slopes.reshape(2 * len(self.joints), -1), growth])
        return _State(pose, residual, jacobian[:, self.columns])

    def _prior(self, pose: Pose) -> tuple[FloatArray, FloatArray]:
        """Return the rows that keep a pose near the start: turn, scale, angles, coupled joints."""
        anatomy = self.kinematics.anatomy
        m, (pip, dip) = anatomy.angle_count, anatomy.coupled
        turned = np.array(vector_from_rotation(pose.rotation @ self.start.rotation.T))
        grown = np.log(pose.scale / self.start.scale)
        bent = pose.free_angles - self.start.free_angles
        residual = np.concatenate(
            [
                turned / TURN_DEVIATION,
                [grown / SCALE_DEVIATION],
                bent / anatomy.deviation,
                (bent[dip] - DIP_PER_PIP * bent[pip]) / COUPLING_DEVIATION,
            ]
        )
        jacobian = np.zeros((len(residual), self.kinematics.unknown_count))
        jacobian[np.arange(3), np.arange(3)[ROTATION]] = 1.0 / TURN_DEVIATION
        jacobian[3, SCALE] = 1.0 / SCALE_DEVIATION
        jacobian[4 + np.arange(m), CAMERA_COUNT + np.arange(m)] = 1.0 / anatomy.deviation
        pairs = 4 + m + np.arange(len(pip))
        jacobian[pairs, CAMERA_COUNT + dip] = 1.0 / COUPLING_DEVIATION
        jacobian[pairs, CAMERA_COUNT + pip] = -DIP_PER_PIP / COUPLING_DEVIATION
        return residual, jacobian


def _within_picture(pose: Pose) -> Pose:
    """Return the pose with numbers that stay finite whatever is asked for."""
    shift = np.clip(pose.shift, -MOST_PX, MOST_PX)
    return replace(pose, scale=float(np.clip(pose.scale, 1e-3, MOST_PX)), shift=shift)


@cache
def _bends() -> tuple[FloatArray, FloatArray]:
    """Return (n, angles) bends of all fingers at once, and their (n, 21, 3) landmarks, metres."""
    kinematics = load_kinematics()
    anatomy = kinematics.anatomy
    _, level, axis = anatomy.where
    shapes = np.zeros(len(anatomy.shapes))
    angles, landmarks = [], []
    for knuckle, middle, spread in product((-0.6, 0.0, 0.4, 0.8), (0.0, 0.4, 0.8), (-0.6, 0, 0.6)):
        share = np.where(level == 0, knuckle, middle) * (axis == FLEXION)
        share = share + spread * (axis == ABDUCTION)
        free = np.where(share < 0, -share * anatomy.low, share * anatomy.high)
        pose = Pose(np.eye(3), 1.0, np.zeros(2), 0.0, free, shapes)
        angles.append(free)
        landmarks.append(kinematics.pose_skeleton(pose).landmarks)
    return np.array(angles), np.array(landmarks)
