"""Fit of the open hand: Levenberg-Marquardt with analytic derivatives.

The residuals, each divided by its deviation, are the landmarks in the picture, their depth up to an
offset, the hand's outline where the picture shows it, and the priors and soft limits of `anatomy`.
Limits and priors keep the mesh a hand even where the drawing is malformed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.transforms import align
from handrefiner_ext.mesh.open_hand.anatomy import DIP_PER_PIP
from handrefiner_ext.mesh.open_hand.kinematics import CAMERA_COUNT, Kinematics, Pose
from handrefiner_ext.mesh.open_hand.model import PosedSkeleton
from handrefiner_ext.topology import PALM
from handrefiner_ext.types import FloatArray

POINT_DEVIATION = 0.025
"""Expected error of landmarks in the picture, hand sizes, measured on rendered hands."""
LIMIT_DEVIATION = np.radians(1.5)
COUPLING_DEVIATION = np.radians(18.0)

MAX_ITERATIONS = 25
MAX_OUTLINE_ITERATIONS = 4
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-6, 1e6
LEAST_COST_GAIN = 1e-4

Rows = tuple[FloatArray, FloatArray]
"""Residuals (r,) and their Jacobian (r, unknowns)."""


@dataclass(frozen=True)
class OutlineTarget:
    """Vertices and the lines of the picture on which they should lie, in hand sizes.

    A line is normal . point = aim. vertices: (n,) numbers. normals: (n, 2) unit vectors.
    aim: (n,). deviation: expected error.
    """

    vertices: NDArray[np.intp]
    normals: FloatArray
    aim: FloatArray
    deviation: float


@dataclass(frozen=True)
class Target:
    """What to fit a right hand to, in hand sizes.

    points: (21, 2) landmarks in the picture, centred. depth: (21,), smaller is nearer, up to an
    offset. point_deviation, depth_deviation: (21,) expected errors.
    """

    points: FloatArray
    depth: FloatArray
    point_deviation: FloatArray
    depth_deviation: FloatArray
    outline: OutlineTarget | None = None


@dataclass(frozen=True)
class Fit:
    """A fitted pose within the limits.

    cost: half the sum of squared residuals. reprojection_error: mean distance of the landmarks in
    the picture, hand sizes.
    """

    pose: Pose
    cost: float
    reprojection_error: float
    iterations: int


class HandFitter:
    """Fits one model; it keeps no state between fits, so that it may be shared."""

    def __init__(self, kinematics: Kinematics) -> None:
        self.kinematics = kinematics
        self.anatomy = kinematics.anatomy

    def start(self, target: Target) -> Pose:
        """Return the mean hand with its palm aligned to the target's."""
        shapes = np.zeros(len(self.anatomy.shapes))
        pose = Pose(np.eye(3), 1.0, np.zeros(2), 0.0, self.anatomy.mean, shapes)
        landmarks = self.kinematics.place_landmarks(pose)
        aimed = np.column_stack([target.points, target.depth])
        found = align(landmarks[list(PALM)], aimed[list(PALM)])
        return replace(
            pose,
            rotation=found.rotation,
            scale=max(found.scale, 1e-6),
            shift=found.shift[:2],
            offset=float(found.shift[2]),
        )

    def fit(self, target: Target, start: Pose | None = None) -> Fit:
        """Minimise the residuals, beginning at `start` (default: `self.start(target)`)."""
        pose = start if start is not None else self.start(target)
        residual, jacobian = self._linearise(target, pose)
        cost, damping, iteration = 0.5 * float(residual @ residual), FIRST_DAMPING, 0
        limit = MAX_ITERATIONS if target.outline is None else MAX_OUTLINE_ITERATIONS
        while iteration < limit and damping < MOST_DAMPING:
            iteration += 1
            moved = pose.moved(_solve(residual, jacobian, damping))
            tried_residual, tried_jacobian = self._linearise(target, moved)
            tried_cost = 0.5 * float(tried_residual @ tried_residual)
            if not tried_cost < cost:
                damping *= 8.0
                continue
            gain, pose, cost = cost - tried_cost, moved, tried_cost
            residual, jacobian = tried_residual, tried_jacobian
            damping = max(damping / 5.0, LEAST_DAMPING)
            if gain < LEAST_COST_GAIN * (cost + LEAST_COST_GAIN):
                break
        return self._finish(target, pose, cost, iteration)

    def _finish(self, target: Target, pose: Pose, cost: float, iterations: int) -> Fit:
        """Clip the angles to their limits and measure the error."""
        bounded = np.clip(pose.free_angles, self.anatomy.low, self.anatomy.high)
        pose = replace(pose, free_angles=bounded)
        placed = self.kinematics.place_landmarks(pose)
        error = np.linalg.norm(placed[:, :2] - target.points, axis=1)
        return Fit(pose, cost, float(error.mean()), iterations)

    def _linearise(self, target: Target, pose: Pose) -> Rows:
        """Return all residuals and their Jacobian at `pose`."""
        posed = self.kinematics.pose_skeleton(pose)
        blocks = [self._landmark_rows(target, pose, posed), self._prior_rows(pose)]
        if target.outline is not None:
            blocks.append(self._outline_rows(target.outline, pose, posed))
        residuals, jacobians = zip(*blocks, strict=True)
        return np.concatenate(residuals), np.concatenate(jacobians)

    def _landmark_rows(self, target: Target, pose: Pose, posed: PosedSkeleton) -> Rows:
        """Return the rows of the landmarks in the picture and their depth, under Huber's loss."""
        moving = self.kinematics.landmarks(pose, posed)
        error = moving.points - np.column_stack([target.points, target.depth])
        distance = np.linalg.norm(error[:, :2], axis=1) / target.point_deviation
        by_point = (_huber(distance) / target.point_deviation)[:, None]
        by_depth = _huber(np.abs(error[:, 2]) / target.depth_deviation) / target.depth_deviation
        residual = np.concatenate([(error[:, :2] * by_point).ravel(), error[:, 2] * by_depth])
        flat = (moving.derivatives[:, :2] * by_point[..., None]).reshape(2 * len(error), -1)
        return residual, np.concatenate([flat, moving.derivatives[:, 2] * by_depth[:, None]])

    def _outline_rows(self, outline: OutlineTarget, pose: Pose, posed: PosedSkeleton) -> Rows:
        """Return the rows of the vertices' distances from their lines, under Huber's loss."""
        moving = self.kinematics.vertices(pose, posed, outline.vertices)
        error = (moving.points[:, :2] * outline.normals).sum(axis=1) - outline.aim
        weight = _huber(np.abs(error) / outline.deviation, 1.0) / outline.deviation
        along = (moving.derivatives[:, :2] * outline.normals[..., None]).sum(axis=1)
        return error * weight, along * weight[:, None]

    def _prior_rows(self, pose: Pose) -> Rows:
        """Return the rows of pose prior, shape prior, coupled last two joints, and soft limits."""
        a, m = self.anatomy, self.anatomy.angle_count
        angles = pose.free_angles
        pip, dip = a.coupled
        beyond = np.minimum(angles - a.low, 0.0) + np.maximum(angles - a.high, 0.0)
        residual = np.concatenate(
            [
                (angles - a.mean) / a.deviation,
                pose.free_shapes / a.shape_deviation,
                (angles[dip] - DIP_PER_PIP * angles[pip]) / COUPLING_DEVIATION,
                beyond / LIMIT_DEVIATION,
            ]
        )
        jacobian = np.zeros((len(residual), self.kinematics.unknown_count))
        block = jacobian[:, CAMERA_COUNT:]
        n = m + len(a.shapes)
        inverse = 1.0 / np.concatenate([a.deviation, a.shape_deviation])
        block[np.arange(n), np.arange(n)] = inverse
        pairs = n + np.arange(len(pip))
        block[pairs, dip] = 1.0 / COUPLING_DEVIATION
        block[pairs, pip] = -DIP_PER_PIP / COUPLING_DEVIATION
        outside = np.flatnonzero(beyond)
        block[n + len(pip) + outside, outside] = 1.0 / LIMIT_DEVIATION
        return residual, jacobian


def _solve(residual: FloatArray, jacobian: FloatArray, damping: float) -> FloatArray:
    """Return Marquardt's step (unknowns,)."""
    normal = jacobian.T @ jacobian
    diagonal = np.diag(normal)
    damped = normal + np.diag(damping * diagonal + 1e-9)
    return np.linalg.solve(damped, -jacobian.T @ residual)


def _huber(error: FloatArray, bend: float = 2.0) -> FloatArray:
    """Return the square roots of the reweighted least-squares weights of Huber's loss."""
    return np.asarray(np.sqrt(bend / np.maximum(error, bend)))
