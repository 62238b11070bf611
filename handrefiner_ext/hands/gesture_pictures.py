"""Pictures of gestures: the open hand in that pose, shaded by its depth."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from handrefiner_ext.geometry.transforms import rotation_from_vector, vector_from_rotation
from handrefiner_ext.hands.gestures import Gesture, load_shipped
from handrefiner_ext.mesh.open_hand.posing import build_mesh
from handrefiner_ext.protocols import Renderer
from handrefiner_ext.types import Box, FloatArray, HandMesh, HandPose, Image

SKIN = np.array([226.0, 178.0, 150.0])
LIGHT = np.array([-0.4, -0.6, 0.7]) / math.sqrt(0.4**2 + 0.6**2 + 0.7**2)
"""Direction to the light; x to the right, y down, z to the viewer."""
AMBIENT, FADING = 0.25, 0.25
"""Share of the light that comes from everywhere, and of what the farthest point loses."""
BACKGROUND = 246
FILLED = 0.86
"""Share of the picture's side that the hand's longer side takes."""
SHIPPED_PX = 128
"""Side of the pictures that ship; `tools/draw_gestures.py` writes them."""
PALM_DEGREES = 180.0
"""Turn about the arm that shows the palm; the record's own turn, 0, shows the back."""
LEVEL_DEGREES = 70.0
"""Turn in the picture that lays the arm down, for a thumb that points up or down."""


def draw_gesture(gesture: Gesture, renderer: Renderer, side_px: int = 160) -> Image:
    """Return the right hand in a gesture, seen from the palm, (side, side, 3)."""
    turn = _turn(PALM_DEGREES, 0.0 if gesture.thumb is None else LEVEL_DEGREES)
    pose = HandPose("right", (0.0, 0.0), 1e3, turn, {}, {})
    return shade(_fit_in(gesture.give_to(pose), side_px), renderer, side_px)


def draw_cut_out(gesture: Gesture, renderer: Renderer, side_px: int) -> Image:
    """Return the picture of a gesture without its background, (side, side, 4)."""
    drawn = draw_gesture(gesture, renderer, side_px)
    seen = (drawn != BACKGROUND).any(axis=2)
    return np.dstack([drawn, seen.astype(np.uint8) * 255])


def shipped_picture(gesture: Gesture) -> Path | None:
    """Return the file with the cut-out of a gesture that ships, SHIPPED_PX wide; None for others.

    To draw all of them takes a third of a second, which no start of a WebUI should cost.
    """
    if load_shipped().get(gesture.name) != gesture:
        return None
    place = Path(str(files("handrefiner_ext") / "assets" / "gestures"))
    return place / f"{gesture.name.replace(' ', '_')}.png"


def _turn(view: float, level: float) -> tuple[float, float, float]:
    """Return the rotation vector of a turn about the arm, then one in the picture; degrees."""
    turns = [(0.0, view, 0.0), (0.0, 0.0, level)]
    about, within = (rotation_from_vector(np.radians(turn)) for turn in turns)
    return vector_from_rotation(within @ about)


def _fit_in(pose: HandPose, side_px: int) -> HandMesh:
    """Return the mesh of a pose, moved and scaled into the middle of a square."""
    points = build_mesh(pose, (side_px, side_px))
    flat = points.camera.project(points.vertices)
    low, high = flat.min(axis=0), flat.max(axis=0)
    factor = FILLED * side_px / float((high - low).max())
    wrist = side_px / 2 - (low + high) / 2 * factor
    placed = replace(pose, wrist=(float(wrist[0]), float(wrist[1])), scale=pose.scale * factor)
    return build_mesh(placed, (side_px, side_px))


def shade(mesh: HandMesh, renderer: Renderer, side_px: int) -> Image:
    """Return a mesh as if of skin, lit from the upper left, (side, side, 3)."""
    layer = renderer.render(mesh, side_px, side_px)
    depth = _spread(layer.depth.astype(np.float64) * mesh.camera.scale, layer.box, side_px)
    seen = np.isfinite(depth)
    near, far = float(depth[seen].min()), float(depth[seen].max())
    filled = cv2.GaussianBlur(np.where(seen, depth, far).astype(np.float32), (0, 0), 1.0)
    down, right = np.gradient(filled.astype(np.float64))
    normals = np.dstack([right, down, np.ones_like(right)])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    lit = AMBIENT + (1.0 - AMBIENT) * np.clip(normals @ LIGHT, 0.0, 1.0)
    lit *= 1.0 - FADING * (filled - near) / max(far - near, 1e-6)
    picture = np.where(seen[..., None], lit[..., None] * SKIN, BACKGROUND)
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


def _spread(depth: FloatArray, box: Box, side_px: int) -> FloatArray:
    whole = np.full((side_px, side_px), np.inf)
    whole[box.slices] = depth
    return whole
