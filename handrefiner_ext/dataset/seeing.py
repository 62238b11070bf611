"""What the camera sees of a mesh at each sample, and how light reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.build import NORMALS, Mesh
from handrefiner_ext.dataset.scene import Lens
from handrefiner_ext.geometry.boxes import clip
from handrefiner_ext.geometry.rasterize import covered_box, rasterize, z_buffer
from handrefiner_ext.types import Box, FloatArray

Floats = NDArray[np.float32]
SHADOW_PX = 512
SHADOW_TAPS = 7
MARGIN_PX = 2


@dataclass(frozen=True)
class Seen:
    """Samples that a surface covers; `fine` samples a pixel each way.

    box: in samples. at: (p,) flat places in it. part: (p,). values: (p, 8) of `CHANNELS`.
    normals: (p, 3) unit, towards the viewer. points: (p, 3) camera space. depth: (h, w), infinity
    where nothing is. number: (h, w) part, -1 where none is.
    """

    box: Box
    at: NDArray[np.int64]
    part: NDArray[np.int32]
    values: Floats
    normals: Floats
    points: Floats
    depth: Floats
    number: NDArray[np.int32]

    @property
    def shape(self) -> tuple[int, int]:
        return self.depth.shape[0], self.depth.shape[1]

    def spread(self, values: Floats) -> Floats:
        """(p, ...) values of the samples -> (h, w, ...), 0 where nothing is."""
        whole = np.zeros((self.depth.size, *values.shape[1:]), dtype=np.float32)
        whole[self.at] = values
        return whole.reshape(*self.shape, *values.shape[1:])


def see(mesh: Mesh, lens: Lens, size: int, fine: int) -> Seen:
    """The mesh in a square picture of `size` pixels, with fine * fine samples in each."""
    projected = np.column_stack([lens.project(mesh.points), mesh.points[:, 2]])
    pixels = projected * (fine, fine, 1.0)
    box = _even(covered_box(pixels, fine * size, fine * size), fine, size)
    fragments = rasterize(pixels, mesh.faces, box)
    at = np.flatnonzero(fragments.triangle.reshape(-1) >= 0)
    triangle = fragments.triangle.reshape(-1)[at]
    weights = fragments.barycentric.reshape(-1, 3)[at]
    corners = mesh.faces[triangle]
    looks = np.zeros((len(at), mesh.looks.shape[1]), dtype=np.float32)
    for k in range(3):
        looks += weights[:, k : k + 1] * mesh.looks[corners[:, k]]
    depth = fragments.depth.reshape(-1)[at]
    row, column = np.divmod(at, max(box.width, 1))
    x = (column + box.x0 + 0.5) / fine - lens.centre[0]
    y = (row + box.y0 + 0.5) / fine - lens.centre[1]
    points = np.column_stack([x / lens.focal_px, y / lens.focal_px, np.ones(len(at))])
    points = (points * depth[:, None]).astype(np.float32)
    number = np.full(fragments.triangle.size, -1, dtype=np.int32)
    number[at] = mesh.part[triangle]
    return Seen(
        box,
        at,
        mesh.part[triangle],
        looks[:, : NORMALS.start],
        _face_viewer(looks[:, NORMALS], points),
        points,
        fragments.depth,
        number.reshape(fragments.triangle.shape),
    )


def _even(box: Box, fine: int, size: int) -> Box:
    """The box in whole pixels with a margin, in samples."""
    grown = Box(
        *(int(np.floor(v / fine)) - MARGIN_PX for v in box[:2]),
        *(int(np.ceil(v / fine)) + MARGIN_PX for v in box[2:]),
    )
    return Box(*(fine * v for v in clip(grown, size, size)))


def normalise(vectors: Floats) -> Floats:
    length = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return np.asarray(vectors / np.maximum(length, 1e-9), dtype=np.float32)


def _face_viewer(normals: Floats, points: Floats) -> Floats:
    unit = normalise(normals)
    away = (unit * points).sum(axis=1, keepdims=True) > 0.0
    return np.where(away, -unit, unit)


def cast_shadow(mesh: Mesh, seen: Seen, to_light: FloatArray, softness: float) -> Floats:
    """(p,) 0..1 share of the light from far away that arrives; softness: metres of its edge."""
    axes = _light_axes(to_light)
    usable = np.isfinite(mesh.points).all(axis=1) & (mesh.points[:, 2] > 0.0)
    near = _near_what_is_seen(mesh, seen, axes)
    lit = mesh.points @ axes.T
    low, high = near
    scale = (SHADOW_PX - 1) / float((high - low).max())
    points = np.column_stack([(lit[:, :2] - low) * scale, lit[:, 2]])
    points[~usable] = np.nan
    depth, _ = z_buffer(points, mesh.faces, Box(0, 0, SHADOW_PX, SHADOW_PX))
    axes32 = axes.astype(np.float32)
    at = seen.points @ axes32.T
    x = (at[:, 0] - np.float32(low[0])) * np.float32(scale)
    y = (at[:, 1] - np.float32(low[1])) * np.float32(scale)
    facing = np.clip(np.abs(seen.normals @ axes32[2]), 0.15, 1.0)
    bias = (1.6 / scale + 0.4 * softness) / facing
    arrives = np.zeros(len(at), dtype=np.float32)
    spin = 2.4 * (seen.at % 7)
    for tap in range(SHADOW_TAPS):
        radius = softness * scale * np.sqrt((tap + 0.5) / SHADOW_TAPS)
        angle = (tap * 2.4 + spin).astype(np.float32)
        column = np.clip(x + radius * np.cos(angle), 0, SHADOW_PX - 1).astype(np.int32)
        row = np.clip(y + radius * np.sin(angle), 0, SHADOW_PX - 1).astype(np.int32)
        arrives += at[:, 2] <= depth[row, column] + bias
    return np.asarray(arrives / np.float32(SHADOW_TAPS), dtype=np.float32)


def _light_axes(to_light: FloatArray) -> FloatArray:
    z = -to_light / np.linalg.norm(to_light)
    helper = np.array([0.0, 1.0, 0.0]) if abs(z[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _near_what_is_seen(mesh: Mesh, seen: Seen, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Corners of what is seen, in the light's axes."""
    step = max(1, len(seen.points) // 5000)
    at = seen.points[::step].astype(np.float64) @ axes[:2].T
    if not len(at):
        return np.zeros(2), np.ones(2)
    return at.min(axis=0) - 1e-3, at.max(axis=0) + 1e-3


def occlude(seen: Seen, lens: Lens, fine: int) -> Floats:
    """(p,) 0..1 share of the sky that is seen, from the depth at several radii."""
    height, width = seen.shape[0] // fine, seen.shape[1] // fine
    covered = np.isfinite(seen.depth)
    depth = np.where(covered, seen.depth, 0.0).astype(np.float32)
    small = (width, height)
    mass = cv2.resize(covered.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    total = cv2.resize(depth, small, interpolation=cv2.INTER_AREA)
    middle = float(np.median(seen.depth[covered])) if covered.any() else 1.0
    pixel = middle / lens.focal_px
    here = total / np.maximum(mass, 1e-6)
    hidden = np.zeros_like(here)
    radii = (0.003, 0.008, 0.020)
    for metres in radii:
        sigma = float(np.clip(metres / pixel, 0.6, 40.0))
        weight = np.maximum(_blur(mass, sigma), 1e-3)
        near = _blur(total, sigma) / weight
        hidden += np.clip((here - near) / (1.1 * sigma * pixel), 0.0, 1.0)
    open_sky = 1.0 - 0.8 * np.clip(hidden / 1.6, 0.0, 1.0)
    whole = cv2.resize(open_sky, (seen.shape[1], seen.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole.reshape(-1)[seen.at], dtype=np.float32)


def _blur(picture: NDArray[Any], sigma: float) -> Floats:
    """Gaussian blur, for wide ones on a smaller picture."""
    if sigma < 6.0 or min(picture.shape[:2]) < 16:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma))
    half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    blurred = _blur(half, sigma / 2.0)
    shape = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.resize(blurred, shape, interpolation=cv2.INTER_LINEAR))
