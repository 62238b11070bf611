"""What each point of the open hand's skin is: which side it faces, which finger, how far along.

All values belong to the vertices of the model at rest, so that textures, nails and lines stay on
the skin however the hand is posed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from handrefiner_ext.mesh.open_hand.model import FLEXION, OpenHand, load_open_hand
from handrefiner_ext.types import Faces, FloatArray

CHANNELS = ("rest_x", "rest_y", "rest_z", "palmar", "along", "nail_along", "nail_across", "finger")
"""Columns of `SkinMap.values`."""
NO_NAIL = -9.0


@dataclass(frozen=True)
class SkinMap:
    """values: (n, 8) of `CHANNELS` at the vertices.

    rest: metres in the rest frame. palmar: -1 on the back, 1 on the palm's side. along: 0 at the
    knuckle, 1 and 2 at the next joints, 3 at the tip; below 0 in the palm. nail_*: metres from the
    nail's middle. finger: 0..1, whether it is a finger (not the palm).
    axis_points: (n, 3) nearest point on the vertex's own bone, or the vertex itself in the palm.
    """

    values: FloatArray
    axis_points: FloatArray


def vertex_normals(vertices: FloatArray, faces: Faces) -> FloatArray:
    """(n, 3) unit, area-weighted, pointing outwards."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    place, count = faces.T.reshape(-1), len(vertices)
    columns = [np.bincount(place, np.tile(column, 3), minlength=count) for column in normal.T]
    total = np.stack(columns, axis=1)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


@cache
def open_hand_skin() -> SkinMap:
    """The map of the hand that ships with the package."""
    return map_skin(load_open_hand())


def map_skin(model: OpenHand) -> SkinMap:
    """The map of any hand in the open hand's frame and order of bones."""
    normals = vertex_normals(model.vertices, model.faces)
    weights = model.weights[:, 1:].reshape(-1, 5, 3)
    share = weights.sum(axis=2)
    finger = share.argmax(axis=1)
    palmar = model.weights[:, 0] * normals[:, 2]
    along = np.full(len(model.vertices), -1.0)
    nail = np.full((len(model.vertices), 2), NO_NAIL)
    axis_points = model.vertices.copy()
    for number in range(5):
        joints = model.joints[1 + 4 * number : 5 + 4 * number]
        facing = _palm_directions(model, number, joints)
        palmar += (weights[:, number] * (normals @ facing.T)).sum(axis=1)
        own = (finger == number) & (share[:, number] > 0.02)
        along[own], axis_points[own] = _along(joints, model.vertices[own])
        nail[own] = _nail_place(model, number, model.vertices[own])
    values = np.column_stack([model.vertices, palmar, along, nail, share.sum(axis=1)])
    return SkinMap(values, axis_points)


def _palm_directions(model: OpenHand, finger: int, joints: FloatArray) -> FloatArray:
    """(3, 3) unit directions to which each bone of a finger turns its palm's side."""
    bones = np.diff(joints, axis=0)
    facing = np.cross(model.axes[finger, FLEXION], bones)
    return np.asarray(facing / np.linalg.norm(facing, axis=1, keepdims=True))


def _along(joints: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) place along the finger in joints, and (n, 3) that place; the nearest bone decides."""
    best, place = np.full(len(points), np.inf), np.zeros(len(points))
    foot = points.copy()
    for level in range(3):
        bone = joints[level + 1] - joints[level]
        t = (points - joints[level]) @ bone / (bone @ bone)
        low, high = (-1.0 if level == 0 else 0.0), (1.3 if level == 2 else 1.0)
        clipped = np.clip(t, low, high)
        at = joints[level] + clipped[:, None] * bone
        away = np.linalg.norm(points - at, axis=1)
        nearer = away < best
        foot[nearer] = at[nearer]
        best = np.where(nearer, away, best)
        place = np.where(nearer, level + clipped, place)
    return np.asarray(place), np.asarray(foot)


def _nail_place(model: OpenHand, finger: int, points: FloatArray) -> FloatArray:
    """(n, 2) metres along and across the last bone, from the middle of the nail."""
    joint, tip = model.joints[3 + 4 * finger], model.joints[4 + 4 * finger]
    length = float(np.linalg.norm(tip - joint))
    bone = (tip - joint) / length
    side = model.axes[finger, FLEXION] - bone * (model.axes[finger, FLEXION] @ bone)
    side /= np.linalg.norm(side)
    offset = points - joint
    return np.column_stack([offset @ bone - 0.72 * length, offset @ side])
