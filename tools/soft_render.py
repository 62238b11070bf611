"""A small renderer for the example picture: soft light, shadow and skin, in linear colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.rasterize import interpolate, rasterize, z_buffer
from handrefiner_ext.types import Box

Floats = NDArray[np.float64]

SHADOW_PX = 900
SHADOW_TAPS = 24


def normalise(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class View:
    """What is seen at each sample: covered, unit normals, depth px, texture points, points px."""

    covered: NDArray[np.bool_]
    normals: Floats
    depth: Floats
    rest: Floats
    points: Floats


def vertex_normals(points: Floats, faces: NDArray[np.int64]) -> Floats:
    corners = points[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(points)
    for column in range(3):
        np.add.at(total, faces[:, column], flat)
    return normalise(total)


def look(points: Floats, rest: Floats, faces: NDArray[np.int64], size: int) -> View:
    """points: (n, 3) pixels of a square picture, z away from the viewer."""
    fragments = rasterize(points, faces, Box(0, 0, size, size))
    values = np.column_stack([vertex_normals(points, faces), rest, points])
    seen = interpolate(fragments, faces, values).astype(np.float64)
    normals = normalise(seen[..., :3])
    normals[normals[..., 2] > 0.0] *= -1.0
    covered = fragments.triangle >= 0
    depth = np.where(covered, fragments.depth, 0.0)
    return View(covered, normals, depth, seen[..., 3:6], seen[..., 6:])


def bump(view: View, height: Floats, strength: float) -> Floats:
    """Normals tilted by a height map given at the samples."""
    down, right = np.gradient(np.where(view.covered, height, 0.0))
    limit = 0.6
    tilt = np.stack([right, down, np.zeros_like(down)], axis=-1) * strength
    return normalise(view.normals + np.clip(tilt, -limit, limit))


def cast_shadow(
    points: Floats, faces: NDArray[np.int64], view: View, to_light: Floats, softness_px: float
) -> Floats:
    """(h, w) 0..1 share of the light that arrives, blurred by looking around in a shadow map."""
    z = -normalise(to_light)
    x = normalise(np.cross([0.0, 1.0, 0.0], z))
    axes = np.stack([x, np.cross(z, x), z])
    lit = points @ axes.T
    low, high = lit[:, :2].min(axis=0), lit[:, :2].max(axis=0)
    scale = SHADOW_PX / float((high - low).max())
    map_points = np.column_stack([(lit[:, :2] - low) * scale, lit[:, 2]])
    depth, _ = z_buffer(map_points, faces, Box(0, 0, SHADOW_PX + 1, SHADOW_PX + 1))
    at = view.points @ axes.T
    xy = (at[..., :2] - low) * scale
    angles = np.arange(SHADOW_TAPS) * 2.4
    radii = softness_px * scale * np.sqrt((np.arange(SHADOW_TAPS) + 0.5) / SHADOW_TAPS)
    bias = 2.0 + 2.0 * softness_px * 0.35
    light = np.zeros(view.covered.shape)
    for angle, radius in zip(angles, radii, strict=True):
        column = np.clip(xy[..., 0] + radius * np.cos(angle), 0, SHADOW_PX).astype(int)
        row = np.clip(xy[..., 1] + radius * np.sin(angle), 0, SHADOW_PX).astype(int)
        light += at[..., 2] <= depth[row, column] + bias
    return light / SHADOW_TAPS


def ambient_occlusion(view: View, radii_px: tuple[float, ...], reach: float) -> Floats:
    """(h, w) 0..1 share of the sky that is seen, from the depth buffer at several radii."""
    weight = view.covered.astype(np.float32)
    hidden = np.zeros(weight.shape)
    for sigma in radii_px:
        mass = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)
        near = cv2.GaussianBlur(view.depth.astype(np.float32) * weight, (0, 0), sigma) / mass
        hidden += np.clip((view.depth - near) / (reach * sigma), 0.0, 1.0)
    return 1.0 - 0.75 * np.clip(hidden / len(radii_px), 0.0, 1.0)


@dataclass(frozen=True)
class Lamp:
    """towards: direction to the light. colour: linear RGB."""

    towards: Floats
    colour: Floats


def shade(normals: Floats, albedo: Floats, wrap: Floats, lamp: Lamp, arrives: Floats) -> Floats:
    """Diffuse light that reaches a little around the edge, more so in red (light in skin)."""
    facing = (normals @ normalise(lamp.towards))[..., None]
    lit = np.clip((facing + wrap) / (1.0 + wrap), 0.0, 1.0) ** 1.25
    # Where light has passed through flesh the shadow's edge is warm.
    passed = arrives[..., None] ** np.array([0.75, 1.05, 1.2])
    return albedo * lamp.colour * lit * passed


def gloss(normals: Floats, lamp: Lamp, sharpness: float) -> Floats:
    """(h, w) highlight for a viewer far in front (Blinn 1977)."""
    half = normalise(normalise(lamp.towards) + np.array([0.0, 0.0, -1.0]))
    return np.clip(normals @ half, 0.0, 1.0) ** sharpness


def waves(points: Floats, frequency: float, seed: int, count: int = 24) -> Floats:
    """Smooth noise of about unit deviation: waves in random directions at about a frequency."""
    rng = np.random.default_rng(seed)
    total = np.zeros(points.shape[:-1])
    for _ in range(count):
        direction = normalise(rng.normal(size=3)) * frequency * rng.uniform(0.6, 1.6)
        total += np.sin(2.0 * np.pi * (points @ direction) + rng.uniform(0.0, 2.0 * np.pi))
    return total / np.sqrt(count / 2.0)


def where_covered(texture: Callable[[Floats], Floats], view: View) -> Floats:
    """`texture` of the texture points at the covered samples, 0 at the others."""
    values = texture(view.rest[view.covered])
    whole = np.zeros((*view.covered.shape, *values.shape[1:]))
    whole[view.covered] = values
    return whole
