"""Geometry of the example picture: an arm in a knitted sleeve, and hands good and bad.

Everything grows from the CC0 open hand that ships with the package. Millimetre-scale lengths are
in metres, in the open hand's frame (fingers up, -y; the palm faces +z).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from trimesh.remesh import subdivide_loop

from handrefiner_ext.mesh.open_hand.model import load_open_hand

Floats = NDArray[np.float64]

THUMB, INDEX, MIDDLE, RING, LITTLE = range(5)
FLEXION, ABDUCTION, TWIST = range(3)
ARM_LENGTH, ARM_RINGS = 0.060, 10
ARM_GROWTH = 0.22
"""How much wider the forearm is at its end than at the wrist."""


@dataclass(frozen=True)
class Part:
    """A mesh with two sets of points: posed, and at rest (texture is laid on the latter)."""

    points: Floats
    rest: Floats
    faces: NDArray[np.int64]


def join(*parts: Part) -> Part:
    offsets = np.cumsum([0] + [len(p.points) for p in parts])
    return Part(
        np.concatenate([p.points for p in parts]),
        np.concatenate([p.rest for p in parts]),
        np.concatenate([p.faces + o for p, o in zip(parts, offsets, strict=False)]),
    )


def smooth(part: Part, rounds: int) -> Part:
    """Loop subdivision of both sets of points."""
    points, faces = subdivide_loop(part.points, part.faces, rounds)
    rest, _ = subdivide_loop(part.rest, part.faces, rounds)
    return Part(points, rest, faces)


def relaxed_pose() -> Floats:
    """(5, 3, 3) radians: an open hand that waves."""
    angles = np.zeros((5, 3, 3))
    angles[:, :, FLEXION] = np.radians(
        [[-4, 2, 6], [-12, 2, 2], [-14, 4, 3], [-12, 5, 4], [-10, 3, 2]]
    )
    angles[:, 0, ABDUCTION] = np.radians([6, 4, 1, -3, -7])
    return angles


def good_hand() -> Part:
    return _hand_with_arm(relaxed_pose())


def bad_hand() -> Part:
    """Six fingers, of which one is broken sideways, twice."""
    angles = relaxed_pose()
    angles[RING, 1, ABDUCTION] = np.radians(-38)
    angles[RING, 2, ABDUCTION] = np.radians(62)
    body = _stretch_finger(_hand_with_arm(angles), angles, RING, 1.12)
    sixth = relaxed_pose()
    sixth[LITTLE, 0, ABDUCTION] = np.radians(-34)
    sixth[LITTLE, 1, FLEXION] = np.radians(14)
    return join(body, _lone_finger(sixth, LITTLE))


def _pose(angles: Floats) -> tuple[Floats, Floats]:
    """(n, 3) vertices and (21, 3) joints of the mean hand."""
    hand = load_open_hand()
    shape = np.zeros(hand.shape_count)
    posed = hand.pose_skeleton(hand.skeleton(shape), angles)
    return hand.skin(shape, posed), posed.joints


def _finger_weight(finger: int) -> Floats:
    """(n,) how much each vertex of the open hand belongs to a finger."""
    return np.asarray(load_open_hand().weights[:, 1 + 3 * finger : 4 + 3 * finger].sum(axis=1))


def _lone_finger(angles: Floats, finger: int) -> Part:
    hand = load_open_hand()
    points, _ = _pose(angles)
    chosen = (_finger_weight(finger) > 0.35)[hand.faces].all(axis=1)
    used, faces = np.unique(hand.faces[chosen], return_inverse=True)
    return Part(points[used], hand.vertices[used], faces.reshape(-1, 3).astype(np.int64))


def _stretch_finger(part: Part, angles: Floats, finger: int, factor: float) -> Part:
    """Lengthen a finger along itself from its knuckle on; the arm's vertices come last."""
    hand = load_open_hand()
    _, joints = _pose(angles)
    base, tip = joints[1 + 4 * finger], joints[4 + 4 * finger]
    axis = (tip - base) / np.linalg.norm(tip - base)
    weight = np.zeros(len(part.points))
    weight[: len(hand.vertices) - 1] = _finger_weight(finger)[:-1]
    along = np.maximum((part.points - base) @ axis, 0.0)
    points = part.points + (weight * along * (factor - 1.0))[:, None] * axis
    return Part(points, part.rest, part.faces)


def _hand_with_arm(angles: Floats) -> Part:
    """The posed hand with its cap taken off and a forearm drawn out of the rim."""
    hand = load_open_hand()
    cap = len(hand.vertices) - 1
    points, rest = _pose(angles)[0][:cap], hand.vertices[:cap]
    fan = (hand.faces == cap).any(axis=1)
    rim = _in_order(hand.faces[fan], cap)
    faces = [hand.faces[~fan].astype(np.int64)]
    before, all_points, all_rest = rim, [points], [rest]
    count = cap
    for t in np.linspace(0.0, 1.0, ARM_RINGS + 1)[1:]:
        ring = rest[rim]
        middle = ring.mean(axis=0)
        level = np.array([0.0, ARM_LENGTH * t, 0.0])
        # The rim is slanted in places; it evens out along the arm.
        flat = np.where([False, True, False], middle + (ring - middle) * (1.0 - t), ring)
        grown = (flat - middle) * (1.0 + ARM_GROWTH * t) + middle + level
        now = np.arange(count, count + len(rim))
        after, now_after = np.roll(before, -1), np.roll(now, -1)
        faces += [np.column_stack([before, now, after]), np.column_stack([after, now, now_after])]
        all_points.append(grown)
        all_rest.append(grown)
        before, count = now, count + len(rim)
    return Part(np.concatenate(all_points), np.concatenate(all_rest), np.concatenate(faces))


def _in_order(fan: NDArray[np.int32], cap: int) -> NDArray[np.int64]:
    """The rim's vertices one after the other, from the triangles of the fan on the cap."""
    following = {}
    for triangle in fan:
        at = int(np.flatnonzero(triangle == cap)[0])
        following[int(triangle[(at + 2) % 3])] = int(triangle[(at + 1) % 3])
    rim = [next(iter(following))]
    while following[rim[-1]] != rim[0]:
        rim.append(following[rim[-1]])
    return np.array(rim)


def sleeve(begin: float, end: float) -> Part:
    """A wide tube around the forearm with a folded cuff; rest holds (turn 0..1, length, cuff)."""
    turns, steps = 180, 120
    theta = np.linspace(0.0, 2.0 * np.pi, turns, endpoint=False)
    along = np.linspace(begin, end, steps)
    cuff_end = begin + 0.030
    cuff = along < cuff_end
    lip = np.clip((along - begin) / 0.004, 0.0, 1.0)
    fold = np.clip((cuff_end - along) / 0.003, 0.0, 1.0)
    swell = 0.0015 * np.sqrt(lip) + 0.0025 * fold + 0.10 * np.maximum(along - cuff_end, 0.0)
    rx, rz = 0.0325 + swell, 0.0285 + swell
    x = rx[:, None] * np.cos(theta) - 0.0024
    z = rz[:, None] * np.sin(theta)
    y = np.broadcast_to(along[:, None], x.shape)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    rest = np.stack(
        np.broadcast_arrays(theta / (2.0 * np.pi), along[:, None], cuff[:, None] * 1.0), axis=-1
    )
    return Part(points, rest.reshape(-1, 3), _grid_faces(steps, turns))


def _grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    a = np.arange(rows - 1)[:, None] * columns + np.arange(columns)
    b = np.arange(rows - 1)[:, None] * columns + np.roll(np.arange(columns), -1)
    quads = np.stack([a, b, a + columns, b + columns], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 2, 1]], quads[:, [1, 2, 3]]])
