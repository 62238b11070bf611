"""The visible surface of a mesh: its pixels, their depth, normals and shading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.rasterize import interpolate, is_usable, rasterize
from handrefiner_ext.inpaint.closeup import Closeup, Floats, blur
from handrefiner_ext.types import Faces, FloatArray, HandMesh, Mask


def subdivide(values: FloatArray, faces: Faces) -> tuple[FloatArray, Faces]:
    """Subdivide a mesh once, into four times as many faces.

    Loop 1987, "Smooth subdivision surfaces based on triangles". Open edges stay where they are.

    Arguments:
        values: (n, k) of the vertices, such as their positions.
        faces: (m, 3).
    """
    corners = faces.astype(np.int64)
    sides = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), 1)
    count = len(values)
    _, first, edge_of, used = np.unique(
        sides[:, 0] * count + sides[:, 1],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    edges, edge_of = sides[first], edge_of.reshape(-1)
    opposite = np.concatenate([corners[:, 2], corners[:, 0], corners[:, 1]])
    middles = _middles(values, edges, edge_of, opposite)
    inner = used == 2
    middles[~inner] = values[edges[~inner]].mean(axis=1)
    new = count + edge_of.reshape(3, -1)
    return np.concatenate([_move_old(values, edges, inner), middles]), _split_faces(corners, new)


def _middles(
    values: FloatArray, edges: NDArray[np.int64], edge_of: NDArray[np.int64], opposite: Faces
) -> FloatArray:
    """Return (e, k): 3/8 of both ends and 1/8 of both opposite corners of each inner edge."""
    across = _sum_at(edge_of, values[opposite], len(edges))
    return np.asarray(0.375 * values[edges].sum(axis=1) + 0.125 * across)


def _move_old(values: FloatArray, edges: NDArray[np.int64], inner: NDArray[np.bool_]) -> FloatArray:
    """Return (n, k) the old vertices moved towards their neighbours; those on open edges stay."""
    ends, others = edges.reshape(-1), edges[:, ::-1].reshape(-1)
    valence = np.bincount(ends, minlength=len(values))
    around = _sum_at(ends, values[others], len(values))
    several = np.maximum(valence, 1)
    weight = (0.625 - (0.375 + 0.25 * np.cos(2.0 * np.pi / several)) ** 2) / several
    fixed = np.zeros(len(values), dtype=bool)
    fixed[edges[~inner]] = True
    weight = np.where(fixed | (valence < 3), 0.0, weight)[:, None]
    return np.asarray((1.0 - weight * valence[:, None]) * values + weight * around)


def _sum_at(place: NDArray[np.int64], values: FloatArray, count: int) -> FloatArray:
    """Return (count, k) the sums of the values at each place."""
    columns = [np.bincount(place, column, minlength=count) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((count, 0))


def _split_faces(corners: NDArray[np.int64], new: NDArray[np.int64]) -> Faces:
    """Return four faces for each one; new: (3, m) the middles of its sides."""
    a, b, c = corners.T
    ab, bc, ca = new
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([np.column_stack(part) for part in parts]).astype(np.int32)


CONTACT, HOLLOW = (0.012, 0.9), (0.06, 0.5)
"""Radius in hand sizes, and strength, of the two shadows beside steps in depth."""
STEP_LIMIT = 0.10
"""Hand sizes; larger steps in depth darken no further."""


@dataclass(frozen=True)
class VisibleSurface:
    """The part of a mesh that is visible in a close-up.

    covered: (h, w) bool. depth_px: (h, w), in pixels of the close-up, 0 where not covered.
    values: (h, w, k) the vertices' values, interpolated, 0 where not covered.
    """

    covered: Mask
    depth_px: Floats
    values: Floats


def mesh_pixels(mesh: HandMesh) -> FloatArray:
    """Return the vertices (n, 3), with x, y and z in pixels of the picture.

    What is not finite stays so.
    """
    with np.errstate(all="ignore"):
        flat = mesh.camera.project(mesh.vertices)
        return np.column_stack([flat, mesh.vertices[:, 2] * abs(mesh.camera.scale)])


def find_surface(
    faces: Faces, pixels: FloatArray, values: FloatArray, view: Closeup
) -> VisibleSurface:
    """Return the visible surface of a mesh.

    Arguments:
        faces: (m, 3).
        pixels: (n, 3) vertices in pixels of the picture.
        values: (n, k) of the vertices, interpolated over the surface.
    """
    local = view.to_local(pixels)
    with np.errstate(all="ignore"):
        local[:, 2] = pixels[:, 2] * view.density
    fragments = rasterize(local, faces, view.frame)
    covered = fragments.triangle >= 0
    return VisibleSurface(
        covered=covered,
        depth_px=np.where(covered, fragments.depth, np.float32(0.0)),
        values=interpolate(fragments, faces, values.astype(np.float32)),
    )


def viewer_normals(pixels: FloatArray, faces: Faces) -> FloatArray:
    """Return (n, 3) unit normals of the vertices, turned to the viewer (z <= 0).

    Faces count by their area. A vertex without a normal faces the viewer.
    """
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


def shade_hollows(surface: VisibleSurface, size_px: float) -> Floats:
    """Return (h, w) 0..1 the share of light that is lost beside nearer parts of the hand.

    Only the farther side of the depth buffer's unsharp mask is used (Luft, Colditz and Deussen
    2006, "Image enhancement by unsharp masking the depth buffer").
    """
    weight = surface.covered.astype(np.float32)
    lost = np.zeros_like(weight)
    for radius, strength in (CONTACT, HOLLOW):
        sigma = max(radius * size_px, 0.7)
        near = blur(surface.depth_px, sigma) / np.maximum(blur(weight, sigma), 1e-3)
        behind = (surface.depth_px - near) / max(STEP_LIMIT * size_px, 1e-6)
        lost += strength * np.clip(behind, 0.0, 1.0)
    return np.asarray(np.clip(lost, 0.0, 1.0) * weight, dtype=np.float32)
