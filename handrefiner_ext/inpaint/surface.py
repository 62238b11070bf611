"""The visible surface of a mesh: where it is, how deep, and what its vertices carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.rasterize import interpolate, rasterize
from handrefiner_ext.geometry.spans import is_usable
from handrefiner_ext.inpaint.closeup import Closeup, Floats, blur
from handrefiner_ext.types import FloatArray, HandMesh, Mask

CONTACT, HOLLOW = (0.012, 0.9), (0.06, 0.5)
"""(radius in hand sizes, strength) of the two darkenings around depth steps."""
STEP_LIMIT = 0.10
"""Depth differences beyond this fraction of the hand size darken no further."""


@dataclass(frozen=True)
class Surface:
    """What of a mesh is seen in a close-up.

    covered: (h, w). depth_px: (h, w), in the close-up's pixels, 0 where not covered.
    values: (h, w, k) the vertices' values, interpolated; 0 where not covered.
    """

    covered: Mask
    depth_px: Floats
    values: Floats


def mesh_pixels(mesh: HandMesh) -> FloatArray:
    """(n, 3) vertices, x, y and z all in the picture's pixels; non-finite where unusable."""
    with np.errstate(all="ignore"):
        flat = mesh.camera.project(mesh.vertices)
        return np.column_stack([flat, mesh.vertices[:, 2] * abs(mesh.camera.scale)])


def see_surface(
    faces: NDArray[np.int32], pixels: FloatArray, values: FloatArray, view: Closeup
) -> Surface:
    """pixels: (n, 3) where the vertices lie in the picture. values: (n, k) what they carry."""
    local = view.to_local(pixels)
    with np.errstate(all="ignore"):
        local[:, 2] = pixels[:, 2] * view.density
    fragments = rasterize(local, faces, view.frame)
    covered = fragments.triangle >= 0
    return Surface(
        covered=covered,
        depth_px=np.where(covered, fragments.depth, np.float32(0.0)),
        values=interpolate(fragments, faces, values.astype(np.float32)),
    )


def viewer_normals(pixels: FloatArray, faces: NDArray[np.int32]) -> FloatArray:
    """(n, 3) unit normals of the vertices, area-weighted over their faces, turned to the viewer
    (z <= 0). What has none faces the viewer."""
    sound = np.where(is_usable(pixels)[:, None], pixels, 0.0)
    corners = sound[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(sound)
    for axis in range(3):
        weights = np.repeat(face_normals[:, axis], 3)
        normals[:, axis] = np.bincount(faces.reshape(-1), weights, minlength=len(sound))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    defined = length > 1e-9
    unit = np.where(defined, normals / np.where(defined, length, 1.0), (0.0, 0.0, -1.0))
    unit[:, 2] = -np.abs(unit[:, 2])
    return np.asarray(unit)


def shade_hollows(surface: Surface, size_px: float) -> Floats:
    """(h, w) 0..1: how much of the light is lost where something nearer is close by.

    The depth buffer's unsharp mask (Luft, Colditz and Deussen 2006, "Image enhancement by
    unsharp masking the depth buffer"), of which only the farther side is used.
    """
    weight = surface.covered.astype(np.float32)
    lost = np.zeros_like(weight)
    for radius, strength in (CONTACT, HOLLOW):
        sigma = max(radius * size_px, 0.7)
        near = blur(surface.depth_px, sigma) / np.maximum(blur(weight, sigma), 1e-3)
        behind = (surface.depth_px - near) / max(STEP_LIMIT * size_px, 1e-6)
        lost += strength * np.clip(behind, 0.0, 1.0)
    return np.asarray(np.clip(lost, 0.0, 1.0) * weight, dtype=np.float32)
