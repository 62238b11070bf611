"""Rotations, the alignment of point sets, mirror images, and hands seen through a camera."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.types import OTHER_SIDE, FloatArray, Hand, Handedness, WeakPerspective

MIRROR = np.array([-1.0, 1.0, 1.0])
"""Makes a left hand's points those of a right one, and back."""


def cross_matrix(vectors: FloatArray) -> FloatArray:
    """Return (..., 3, 3) matrices K with K @ w = v x w for (..., 3) vectors v."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    zero = np.zeros_like(x)
    rows = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    return np.moveaxis(rows, (0, 1), (-2, -1))


def rotation_about(axes: FloatArray, angles: FloatArray) -> FloatArray:
    """Return (..., 3, 3) rotations about (..., 3) unit axes by (...) angles in radians.

    Rodrigues' formula.
    """
    K = cross_matrix(axes)
    sine, cosine = np.sin(angles)[..., None, None], np.cos(angles)[..., None, None]
    return np.eye(3) + sine * K + (1.0 - cosine) * (K @ K)


def rotation_from_vector(vector: FloatArray) -> FloatArray:
    """Return the (3, 3) rotation for a (3,) axis times its angle in radians."""
    # In plain numbers: for one vector, arrays take ten times as long, and the fit asks often.
    x, y, z = map(float, vector)
    angle = math.sqrt(x * x + y * y + z * z)
    if angle == 0.0:
        return np.eye(3)
    x, y, z = x / angle, y / angle, z / angle
    s, c = math.sin(angle), math.cos(angle)
    r = 1.0 - c
    return np.array(
        [
            [c + r * x * x, r * x * y - s * z, r * x * z + s * y],
            [r * x * y + s * z, c + r * y * y, r * y * z - s * x],
            [r * x * z - s * y, r * y * z + s * x, c + r * z * z],
        ]
    )


def vector_from_rotation(rotation: FloatArray) -> tuple[float, float, float]:
    """Return the axis times the angle in radians of a (3, 3) rotation."""
    x, y, z = cv2.Rodrigues(rotation)[0][:, 0]
    return float(x), float(y), float(z)


@dataclass(frozen=True)
class Similarity:
    """A similarity transform: target = scale * rotation @ source + shift."""

    scale: float
    rotation: FloatArray
    shift: FloatArray

    def apply(self, points: FloatArray) -> FloatArray:
        """Transform (n, 3) points."""
        return np.asarray(self.scale * points @ self.rotation.T + self.shift)


def align(source: FloatArray, target: FloatArray) -> Similarity:
    """Return the similarity without reflection that best maps `source` onto `target`, both (n, 3).

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point
    patterns", equations 40 to 43. Points that all coincide give scale 1 and no rotation.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred, aimed = source - source_mean, target - target_mean
    u, spread, vt = np.linalg.svd(aimed.T @ centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * signs) @ vt
    power = float((centred**2).sum())
    scale = float((spread * signs).sum()) / power if power > 0.0 else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def mirror_hand(hand: Hand, height: int, width: int) -> Hand:
    """Return the hand as it lies in the mirror image of a picture of that size in pixels."""
    landmarks = hand.landmarks * (-1.0, 1.0) + (float(width), 0.0)
    return replace(
        hand,
        handedness=OTHER_SIDE[hand.handedness],
        landmarks=landmarks,
        box=clip(bounding_box(landmarks), height, width),
        world_landmarks=hand.world_landmarks * (-1.0, 1.0, 1.0),
    )


def see_joints(joints: FloatArray, camera: WeakPerspective, handedness: Handedness) -> Hand:
    """Return the hand that joints show, as if it had been seen with certainty.

    joints: (21, 3) metres, in camera space. The box may reach out of the picture.
    """
    landmarks = camera.project(joints)
    return Hand(
        handedness=handedness,
        handedness_score=1.0,
        score=1.0,
        box=bounding_box(landmarks),
        landmarks=landmarks,
        landmark_depth=camera.scale * (joints[:, 2] - joints[0, 2]),
        world_landmarks=joints - joints.mean(axis=0),
    )
