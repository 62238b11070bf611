"""Depth that the user gave for a hand: as a layer of the maps, and as a surface that can be lit."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray, HandLayer, Relief, WeakPerspective

MIDDLE_GREY = 128
"""Grey of the hand's own origin."""
CELLS = 48
"""Points of the surface along the longer side."""


def find_layer(relief: Relief) -> HandLayer:
    """Return the depth of the hand alone, metres."""
    depth = (MIDDLE_GREY - relief.grey.astype(np.float32)) * np.float32(relief.depth_m / 255)
    empty = np.float32(np.inf)
    return HandLayer(relief.box, np.where(relief.grey > 0, depth, empty).astype(np.float32))


def build_surface(relief: Relief, camera: WeakPerspective) -> tuple[FloatArray, NDArray[np.int32]]:
    """Return vertices (n, 3) in camera space, metres, and faces (m, 3) of what the depth shows.

    Points lie on a grid and along the outline; Delaunay's triangles between them are kept where
    they lie on the hand.
    """
    inside = np.pad((relief.grey > 0).astype(np.uint8), 1)
    step = max(1, round(max(relief.grey.shape) / CELLS))
    places = _choose_points(inside, step)
    faces = _connect(places, inside)
    depth = _smooth(np.pad(relief.grey, 1), inside, step)[places[:, 1], places[:, 0]]
    flat = places - 1 + 0.5 + np.array(relief.box[:2])
    vertices = np.column_stack(
        [
            (flat - (camera.shift_x, camera.shift_y)) / camera.scale,
            (MIDDLE_GREY - depth) * (relief.depth_m / 255),
        ]
    )
    return vertices, faces


def _choose_points(inside: NDArray[np.uint8], step: int) -> NDArray[np.int64]:
    """Return (n, 2) columns and rows, each once."""
    outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    edge = [line[::step, 0] for line in outlines]
    deep = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > 0.7 * step
    rows, columns = np.nonzero(deep[::step, ::step])
    grid = np.column_stack([columns, rows]) * step
    return np.unique(np.concatenate([*edge, grid]).astype(np.int64), axis=0)


def _connect(places: NDArray[np.int64], inside: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the triangles between the points, (m, 3), whose middle is inside."""
    height, width = inside.shape
    net = cv2.Subdiv2D((0, 0, width, height))
    net.insert([(float(x), float(y)) for x, y in places])
    corners = np.rint(net.getTriangleList()).astype(np.int64).reshape(-1, 3, 2)
    shown = ((corners >= 0) & (corners < (width, height))).all(axis=(1, 2))
    corners = corners[shown]
    middle = corners.mean(axis=1).astype(np.int64)
    corners = corners[inside[middle[:, 1], middle[:, 0]] > 0]
    number = {(x, y): n for n, (x, y) in enumerate(places.tolist())}
    faces = [[number[x, y] for x, y in triangle] for triangle in corners.tolist()]
    return np.array(faces, dtype=np.int32).reshape(-1, 3)


def _smooth(grey: NDArray[np.uint8], inside: NDArray[np.uint8], step: int) -> FloatArray:
    """Return the depth without its steps of one grey, which would be seen in the light."""
    blurred, share = (
        cv2.GaussianBlur(part.astype(np.float64), (0, 0), max(0.5 * step, 0.5))
        for part in (grey, inside)
    )
    return np.asarray(blurred / np.maximum(share, 1e-6))
