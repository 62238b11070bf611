"""One hand: its shape, its pose, its skin as a surface, and a forearm to hang it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.anatomy_maps import open_hand_skin
from handrefiner_ext.geometry.transforms import MIRROR, rotation_about
from handrefiner_ext.mesh.open_hand.model import OpenHand, PosedSkeleton, load_open_hand
from handrefiner_ext.types import Faces, FloatArray, Handedness

Parts = tuple[tuple[FloatArray, Faces], ...]

BUILDS: dict[str, dict[str, float]] = {
    "average": {},
    "slender": {"finger_length": 1.3, "finger_thickness": -1.6, "palm_width": -1.0},
    "stout": {"finger_length": -0.7, "finger_thickness": 2.0, "palm_width": 1.2},
    "child": {"finger_length": -1.8, "finger_thickness": 1.2, "thumb_length": -1.2},
    "large": {"finger_length": 0.6, "finger_thickness": 1.0, "palm_width": 1.6},
    "drawn": {"finger_length": 0.8, "finger_thickness": -1.2, "wrist_thickness": -2.0},
}
"""Name -> shape numbers that it adds; 1 is 10 % of the measure."""
SHAPE_SPREAD = {
    "finger_length": 1.0,
    "thumb_length": 1.0,
    "finger_thickness": 1.1,
    "finger_spread": 0.8,
    "hand_size": 0.8,
    "wrist_thickness": 1.5,
    "palm_width": 0.9,
}


@dataclass(frozen=True)
class BentHand:
    """A right hand in a pose, in its own frame. angles: (5, 3, 3) radians."""

    model: OpenHand
    shape: FloatArray
    angles: FloatArray

    def skin(self, angles: FloatArray | None = None) -> FloatArray:
        """(n, 3) vertices in this pose, or with other angles."""
        return self.model.skin(self.shape, self.posed(angles))

    def joints(self, angles: FloatArray | None = None) -> FloatArray:
        """(21, 3) joints."""
        return np.asarray(self.posed(angles).joints)

    def posed(self, angles: FloatArray | None = None) -> PosedSkeleton:
        chosen = self.angles if angles is None else angles
        return self.model.pose_skeleton(self.model.skeleton(self.shape), chosen)


@dataclass(frozen=True)
class Surface:
    """body: (n, 3) vertices of the hand, in the model's order. extra: parts added to it.

    sources: for each extra part, the numbers of the model's vertices that it was made from.
    """

    body: FloatArray
    body_faces: Faces
    extra: Parts = ()
    sources: tuple[NDArray[np.int64], ...] = ()


@dataclass(frozen=True)
class Place:
    """How a hand stands in camera space: point = rotation @ (mirrored point) + shift, metres."""

    side: Handedness
    rotation: FloatArray
    shift: FloatArray

    def put(self, points: FloatArray) -> FloatArray:
        """(n, 3) points of the hand's own frame, in camera space."""
        mirrored = points * MIRROR if self.side == "left" else points
        return np.asarray(mirrored @ self.rotation.T + self.shift)

    def turn_faces(self, faces: Faces) -> NDArray[np.int32]:
        chosen = faces[:, ::-1] if self.side == "left" else faces
        return np.asarray(chosen, dtype=np.int32)


@dataclass(frozen=True)
class Build:
    """shape: (k,) numbers of the model. taper, knuckles: how fingers thin out, and swell."""

    name: str
    shape: FloatArray
    taper: float = 0.0
    knuckles: float = 0.0


def sample_build(rng: np.random.Generator, names: Sequence[str]) -> Build:
    """A hand's shape, far beyond the mean adult's."""
    name = str(rng.choice(list(BUILDS)))
    shift = BUILDS[name]
    shape = [shift.get(n, 0.0) + SHAPE_SPREAD.get(n, 0.0) * rng.normal() for n in names]
    limits = np.array([3.0 if "thickness" not in n else 2.5 for n in names])
    bounded = np.clip(shape, -limits, limits)
    taper = float(rng.normal() * 0.06 + (-0.12 if name == "drawn" else 0.0))
    return Build(name, bounded, taper, float(max(0.0, rng.normal() * 0.05)))


def shape_model(build: Build) -> OpenHand:
    """The open hand with fingers that taper and knuckles that swell as the build says."""
    model, skin = load_open_hand(), open_hand_skin()
    along, finger = skin.values[:, 4], skin.values[:, 7]
    swelling = sum(np.exp(-(((along - joint) / 0.22) ** 2)) for joint in (1.0, 2.0))
    factor = build.taper * (along - 1.0) / 2.0 + build.knuckles * (swelling - 0.5)
    radial = model.vertices - skin.axis_points
    moved = model.vertices + (finger * np.where(along > 0.0, factor, 0.0))[:, None] * radial
    return replace(model, vertices=moved)


def rim_of(faces: Faces, cap: int) -> NDArray[np.int64]:
    """Numbers of the vertices around the cap's vertex, in order."""
    fan = faces[(faces == cap).any(axis=1)]
    following = {}
    for triangle in fan:
        at = int(np.flatnonzero(triangle == cap)[0])
        following[int(triangle[(at + 1) % 3])] = int(triangle[(at + 2) % 3])
    rim = [next(iter(following))]
    while following[rim[-1]] != rim[0]:
        rim.append(following[rim[-1]])
    return np.array(rim)


def turn_between(start: FloatArray, end: FloatArray, share: float) -> FloatArray:
    """(3, 3) part of the rotation that takes one unit vector to another."""
    axis = np.cross(start, end)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        return np.eye(3)
    angle = float(np.arctan2(sine, start @ end))
    return np.asarray(rotation_about(axis / sine, np.array(share * angle)))
