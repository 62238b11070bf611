"""Fit of the open hand to 21 landmarks: Levenberg-Marquardt with analytic derivatives.

Unknowns: rotation, scale, shift in the picture, an offset in depth, the free joint angles and
shapes of `anatomy`. Residuals, each divided by its deviation: reprojection of the joints, depth
of the joints up to the offset, priors and soft limits. Limits and priors are what keeps the mesh
a hand where the drawing is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from handrefiner_ext.geometry.alignment import align
from handrefiner_ext.geometry.rotation import rotation_from_vector
from handrefiner_ext.mesh.open_hand.anatomy import DIP_PER_PIP, Anatomy, load_anatomy
from handrefiner_ext.mesh.open_hand.model import OpenHand, PosedSkeleton, split_joints
from handrefiner_ext.topology import JOINT_COUNT
from handrefiner_ext.types import FloatArray

ROTATION, SCALE, SHIFT, OFFSET, CAMERA_COUNT = slice(0, 3), 3, slice(4, 6), 6, 7
PALM = [0, 1, 5, 9, 13, 17]

LIMIT_DEVIATION = np.radians(1.5)
COUPLING_DEVIATION = np.radians(18.0)


@dataclass(frozen=True)
class Target:
    """What to fit, in units of the hand size, for a right hand.

    points: (21, 2) picture, centred. depth: (21,) smaller is nearer, up to an offset.
    point_deviation, depth_deviation: (21,) expected errors.
    """

    points: FloatArray
    depth: FloatArray
    point_deviation: FloatArray
    depth_deviation: FloatArray


@dataclass(frozen=True)
class Pose:
    """State of the fit: picture = scale * (rotation @ joint)[:2] + shift, in hand sizes."""

    rotation: FloatArray
    scale: float
    shift: FloatArray
    offset: float
    free_angles: FloatArray
    free_shapes: FloatArray

    def moved(self, step: FloatArray) -> Pose:
        """The pose after a step of the unknowns."""
        angle_end = CAMERA_COUNT + len(self.free_angles)
        return Pose(
            rotation=rotation_from_vector(step[ROTATION]) @ self.rotation,
            scale=self.scale * float(np.exp(np.clip(step[SCALE], -0.5, 0.5))),
            shift=self.shift + step[SHIFT],
            offset=self.offset + float(step[OFFSET]),
            free_angles=self.free_angles + step[CAMERA_COUNT:angle_end],
            free_shapes=self.free_shapes + step[angle_end:],
        )


@dataclass(frozen=True)
class Fit:
    """A fitted pose, its cost (half the sum of squared residuals) and error in hand sizes."""

    pose: Pose
    cost: float
    reprojection_error: float
    iterations: int


class HandFitter:
    """Fits one model; holds no state between fits."""

    def __init__(self, model: OpenHand, max_iterations: int = 25) -> None:
        self.model = model
        self.anatomy: Anatomy = load_anatomy(model.shape_names)
        self.max_iterations = max_iterations
        bases, bones = split_joints(model.shape_joints[self.anatomy.shapes])
        self._shape_bases, self._shape_bones = bases, bones

    def shape(self, pose: Pose) -> FloatArray:
        """(k,) all shape numbers of the model."""
        full = np.zeros(self.model.shape_count)
        full[self.anatomy.shapes] = pose.free_shapes
        return full

    def pose_skeleton(self, pose: Pose) -> PosedSkeleton:
        skeleton = self.model.skeleton(self.shape(pose))
        return self.model.pose_skeleton(skeleton, self.anatomy.angles(pose.free_angles))

    def start(self, target: Target, free_angles: FloatArray | None = None) -> Pose:
        """The mean hand, turned and scaled so that its palm lies on the target's."""
        angles = self.anatomy.mean if free_angles is None else free_angles
        pose = Pose(np.eye(3), 1.0, np.zeros(2), 0.0, angles, np.zeros(len(self.anatomy.shapes)))
        joints = self.pose_skeleton(pose).landmarks
        aimed = np.column_stack([target.points, target.depth])
        found = align(joints[PALM], aimed[PALM])
        return replace(
            pose,
            rotation=found.rotation,
            scale=max(found.scale, 1e-6),
            shift=found.shift[:2],
            offset=float(found.shift[2]),
        )

    def fit(self, target: Target, start: Pose | None = None) -> Fit:
        """Least squares from `start` (default: the mean hand on the target's palm)."""
        pose = start if start is not None else self.start(target)
        residual, jacobian = self._linearise(target, pose)
        cost, damping, iteration = 0.5 * float(residual @ residual), 1e-2, 0
        while iteration < self.max_iterations:
            iteration += 1
            normal = jacobian.T @ jacobian
            step = np.linalg.solve(
                normal + damping * np.diag(np.diag(normal)) + 1e-9 * np.eye(len(normal)),
                -jacobian.T @ residual,
            )
            moved = pose.moved(step)
            new_residual, new_jacobian = self._linearise(target, moved)
            new_cost = 0.5 * float(new_residual @ new_residual)
            if not new_cost < cost:
                damping *= 8.0
                if damping > 1e6:
                    break
                continue
            gain, pose = cost - new_cost, moved
            residual, jacobian, cost = new_residual, new_jacobian, new_cost
            damping = max(damping / 5.0, 1e-6)
            if gain < 1e-4 * cost + 1e-9:
                break
        return self._finish(target, pose, cost, iteration)

    def _finish(self, target: Target, pose: Pose, cost: float, iterations: int) -> Fit:
        bounded = np.clip(pose.free_angles, self.anatomy.low, self.anatomy.high)
        pose = replace(pose, free_angles=bounded)
        placed = pose.scale * self.pose_skeleton(pose).landmarks @ pose.rotation.T
        error = np.linalg.norm(placed[:, :2] + pose.shift - target.points, axis=1)
        return Fit(pose, cost, float(error.mean()), iterations)

    def _linearise(self, target: Target, pose: Pose) -> tuple[FloatArray, FloatArray]:
        """Residuals (r,) and their Jacobian (r, unknowns) at `pose`."""
        posed = self.pose_skeleton(pose)
        turned = pose.scale * posed.landmarks @ pose.rotation.T
        moves = self._joint_moves(pose, posed, turned)
        point_error = turned[:, :2] + pose.shift - target.points
        weight = _huber(np.linalg.norm(point_error, axis=1) / target.point_deviation)
        by_point = (weight / target.point_deviation)[:, None]
        depth_error = turned[:, 2] + pose.offset - target.depth
        by_depth = _huber(np.abs(depth_error) / target.depth_deviation) / target.depth_deviation
        moves[:, :2] *= by_point[..., None]
        moves[:, 2] *= by_depth[:, None]
        prior, prior_jacobian = self._prior(pose)
        residual = np.concatenate([(point_error * by_point).ravel(), depth_error * by_depth, prior])
        unknowns = moves.shape[2]
        jacobian = np.concatenate([moves[:, :2].reshape(-1, unknowns), moves[:, 2], prior_jacobian])
        return residual, jacobian

    def _joint_moves(self, pose: Pose, posed: PosedSkeleton, turned: FloatArray) -> FloatArray:
        """(21, 3, unknowns) derivative of the joints in the picture (x, y, depth)."""
        angle_count = self.anatomy.angle_count
        moves = np.zeros((JOINT_COUNT, 3, CAMERA_COUNT + angle_count + len(self.anatomy.shapes)))
        x, y, z = turned.T
        moves[:, 1, 0], moves[:, 2, 0] = -z, y
        moves[:, 0, 1], moves[:, 2, 1] = z, -x
        moves[:, 0, 2], moves[:, 1, 2] = -y, x
        moves[:, :, SCALE] = turned
        moves[:, 0, 4] = moves[:, 1, 5] = moves[:, 2, OFFSET] = 1.0
        to_picture = pose.scale * pose.rotation
        finger, level, axis = self.anatomy.where
        hinges = posed.hinges[finger, level, axis] @ to_picture.T / pose.scale
        chains = turned[1:].reshape(5, 4, 3)
        pivots = (posed.joints[1:] @ to_picture.T).reshape(5, 4, 3)
        levers = chains[finger] - pivots[finger, level][:, None]
        swing = np.cross(hinges[:, None], levers)
        swing *= (np.arange(4)[None] > level[:, None])[..., None]
        columns = CAMERA_COUNT + np.arange(angle_count)
        rows = 1 + 4 * finger[:, None] + np.arange(4)
        moves[rows, :, columns[:, None]] = swing
        growth = np.concatenate(
            [
                self._shape_bases[:, :, None],
                np.matmul(posed.rotations, self._shape_bones[..., None])[..., 0],
            ],
            axis=2,
        ).cumsum(axis=2)
        moves[1:, :, CAMERA_COUNT + angle_count :] = np.moveaxis(
            growth.reshape(len(growth), JOINT_COUNT - 1, 3) @ to_picture.T, 0, -1
        )
        return moves

    def _prior(self, pose: Pose) -> tuple[FloatArray, FloatArray]:
        """Residuals and Jacobian of pose prior, shape prior, coupling and soft limits."""
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
        jacobian = np.zeros((len(residual), CAMERA_COUNT + m + len(a.shapes)))
        block = jacobian[:, CAMERA_COUNT:]
        n = m + len(a.shapes)
        block[np.arange(n), np.arange(n)] = np.concatenate(
            [1.0 / a.deviation, 1.0 / a.shape_deviation]
        )
        pairs = n + np.arange(len(pip))
        block[pairs, dip] = 1.0 / COUPLING_DEVIATION
        block[pairs, pip] = -DIP_PER_PIP / COUPLING_DEVIATION
        outside = np.flatnonzero(beyond)
        block[n + len(pip) + outside, outside] = 1.0 / LIMIT_DEVIATION
        return residual, jacobian


def _huber(error: FloatArray, bend: float = 2.0) -> FloatArray:
    """Square roots of the iteratively reweighted least-squares weights of Huber's loss."""
    return np.asarray(np.sqrt(bend / np.maximum(error, bend)))
