"""Simple closed surfaces: tubes, rings, balls, boxes. Faces are counter-clockwise from outside."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import Faces, FloatArray


@dataclass(frozen=True)
class Solid:
    """points: (n, 3) metres. faces: (m, 3). texture: (n, 3) coordinates to lay patterns on."""

    points: FloatArray
    faces: Faces
    texture: FloatArray


def make_tube(sections: FloatArray, texture: FloatArray, closed: bool = True) -> Solid:
    """A surface through (k, m, 3) rings, one after the other; `closed` adds both ends."""
    count, around = sections.shape[:2]
    points, laid = sections.reshape(-1, 3), texture.reshape(-1, 3)
    faces = [_band(a * around, b * around, around) for a, b in pairwise(range(count))]
    if closed:
        ends = np.stack([sections[0].mean(axis=0), sections[-1].mean(axis=0)])
        ends_laid = np.stack([texture[0].mean(axis=0), texture[-1].mean(axis=0)])
        ring, last = np.arange(around), (count - 1) * around + np.arange(around)
        first_end, last_end = np.full(around, len(points)), np.full(around, len(points) + 1)
        faces += [
            np.column_stack([first_end, np.roll(ring, -1), ring]),
            np.column_stack([last, np.roll(last, -1), last_end]),
        ]
        points, laid = np.concatenate([points, ends]), np.concatenate([laid, ends_laid])
    return Solid(points, np.concatenate(faces).astype(np.int32), laid)


def _band(first: int, second: int, around: int) -> NDArray[np.int64]:
    a, b = first + np.arange(around), second + np.arange(around)
    next_a, next_b = np.roll(a, -1), np.roll(b, -1)
    return np.concatenate([np.column_stack([a, next_a, b]), np.column_stack([next_a, next_b, b])])


def frame_along(direction: FloatArray) -> FloatArray:
    """(3, 3) rows: two unit vectors across, and the direction itself."""
    z = direction / np.linalg.norm(direction)
    helper = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def make_lathe(profile: FloatArray, around: int = 40) -> Solid:
    """The (k, 2) profile of radius and height, turned about the z axis."""
    turn = np.linspace(0.0, 2.0 * np.pi, around, endpoint=False)
    radius, height = profile[:, :1], profile[:, 1:]
    ones = np.ones_like(turn)
    sections = np.stack([radius * np.cos(turn), radius * np.sin(turn), height * ones], axis=-1)
    laid = np.stack(
        np.broadcast_arrays(turn / (2.0 * np.pi), height, np.zeros_like(height)), axis=-1
    )
    return make_tube(sections, np.asarray(laid, dtype=np.float64))


def make_ball(radius: float) -> Solid:
    angle = np.linspace(0.02, np.pi - 0.02, 28)
    return make_lathe(radius * np.column_stack([np.sin(angle), -np.cos(angle)]))


def make_box(size: FloatArray, rounding: float) -> Solid:
    """A slab of the given (width, height, thickness) with round corners seen from the front."""
    half = size / 2.0
    quarter = np.linspace(0.0, np.pi / 2.0, 7)
    outline = np.concatenate(
        [
            np.column_stack(
                [
                    sx * (half[0] - rounding) + rounding * np.cos(start + quarter),
                    sy * (half[1] - rounding) + rounding * np.sin(start + quarter),
                ]
            )
            for sx, sy, start in (
                (1, 1, 0.0),
                (-1, 1, np.pi / 2),
                (-1, -1, np.pi),
                (1, -1, 1.5 * np.pi),
            )
        ]
    )
    bevel = 0.25 * half[2]
    levels = ((-half[2], bevel), (bevel - half[2], 0.0), (half[2] - bevel, 0.0), (half[2], bevel))
    shrunk = [outline * (1.0 - inset / half[:2]) for _, inset in levels]
    sections = np.stack(
        [
            np.column_stack([ring, np.full(len(ring), z)])
            for ring, (z, _) in zip(shrunk, levels, strict=True)
        ]
    )
    return make_tube(sections, sections / size)


def make_torus(radius: float, tube: FloatArray, around: int = 28) -> Solid:
    """A ring about the z axis; tube: (k, 2) its profile, radially and along z."""
    turn = np.linspace(0.0, 2.0 * np.pi, around, endpoint=False)
    directions = np.column_stack([np.cos(turn), np.sin(turn)])
    reach = radius + tube[:, 0]
    points = np.stack(
        [
            np.column_stack([r * directions, np.full(around, z)])
            for r, z in zip(reach, tube[:, 1], strict=True)
        ]
    )
    rings = np.concatenate([points, points[:1]])
    laid = np.zeros_like(rings)
    laid[..., 0] = turn / (2.0 * np.pi)
    return make_tube(rings, laid, closed=False)


def move(solid: Solid, axes: FloatArray, to: FloatArray) -> Solid:
    """The solid with its own x, y, z along the rows of `axes`, at `to`."""
    return Solid(solid.points @ axes + to, solid.faces, solid.texture)
