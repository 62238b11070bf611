"""The visible surface of a mesh: where it is, its normals, depth and creases."""

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

    covered: (h, w). normals: (h, w, 3) unit, camera space, towards the viewer.
    depth_px: (h, w), in the close-up's pixels, 0 where not covered.
    points: (h, w, 3) metres, the mesh's own points.
    """

    covered: Mask
    normals: Floats
    depth_px: Floats
    points: Floats


def mesh_pixels(mesh: HandMesh) -> FloatArray:
    """(n, 3) vertices, x, y and z all in the picture's pixels; non-finite where unusable."""
    with np.errstate(all="ignore"):
        flat = mesh.camera.project(mesh.vertices)
        return np.column_stack([flat, mesh.vertices[:, 2] * abs(mesh.camera.scale)])


def see_surface(mesh: HandMesh, pixels: FloatArray, view: Closeup) -> Surface:
    """`pixels`: (n, 3) where the vertices lie in the picture, see `mesh_pixels`."""
    local = view.to_local(pixels)
    local[:, 2] = pixels[:, 2] * np.sqrt(view.scale[0] * view.scale[1])
    fragments = rasterize(local, mesh.faces, view.frame)
    normals = vertex_normals(pixels, mesh.faces)
    sound = np.nan_to_num(mesh.vertices, nan=0.0, posinf=0.0, neginf=0.0)
    seen = interpolate(fragments, mesh.faces, np.column_stack([normals, sound]).astype(np.float32))
    covered = fragments.triangle >= 0
    return Surface(
        covered=covered,
        normals=_towards_viewer(seen[..., :3]),
        depth_px=np.where(covered, fragments.depth, 0.0).astype(np.float32),
        points=seen[..., 3:],
    )


def vertex_normals(points: FloatArray, faces: NDArray[np.int32]) -> FloatArray:
    """(n, 3) area-weighted mean of the faces' normals, not of unit length; 0 where undefined."""
    sound = np.where(is_usable(points)[:, None], points, 0.0)
    corners = sound[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(sound)
    for axis in range(3):
        weights = np.repeat(face_normals[:, axis], 3)
        normals[:, axis] = np.bincount(faces.reshape(-1), weights, minlength=len(sound))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.where(length > 0.0, length, 1.0))


def _towards_viewer(normals: Floats) -> Floats:
    """Unit normals with z <= 0; what has none faces the viewer."""
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    unit = normals / np.where(length > 1e-6, length, 1.0)
    unit[..., 2] = np.where(length[..., 0] > 1e-6, -np.abs(unit[..., 2]), -1.0)
    return np.asarray(unit, dtype=np.float32)


def shade_hollows(surface: Surface, size_px: float) -> Floats:
    """(h, w) 0..1: how much of the light is lost where something nearer is close by.

    The depth buffer's unsharp mask (Luft, Colditz and Deussen 2006, "Image enhancement by
    unsharp masking the depth buffer"), of which only the farther side is used.
    """
    weight = surface.covered.astype(np.float32)
    lost = np.zeros_like(weight)
    for radius, strength in (CONTACT, HOLLOW):
        sigma = max(radius * size_px, 0.7)
        near = blur(surface.depth_px * weight, sigma) / np.maximum(blur(weight, sigma), 1e-3)
        behind = (surface.depth_px - near) / max(STEP_LIMIT * size_px, 1e-6)
        lost += strength * np.clip(behind, 0.0, 1.0)
    return np.asarray(np.clip(lost, 0.0, 1.0) * weight, dtype=np.float32)
