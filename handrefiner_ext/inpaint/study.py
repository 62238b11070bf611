"""All that painting a hand needs to know about it, measured at a bounded working scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import area, clip, grow, intersect
from handrefiner_ext.inpaint.closeup import Closeup, Floats, blur, fit_closeup
from handrefiner_ext.inpaint.light import SkinLight, estimate_light, local_tones
from handrefiner_ext.inpaint.old_hand import (
    expect_hand,
    find_other_skin,
    find_palm,
    find_skin,
    old_fingers,
)
from handrefiner_ext.inpaint.sleeve import Foreign, find_foreign
from handrefiner_ext.inpaint.surface import (
    VisibleSurface,
    find_surface,
    mesh_pixels,
    viewer_normals,
)
from handrefiner_ext.inpaint.wrist import (
    WristLine,
    bend_to_arm,
    fade_at_wrist,
    find_arm,
    find_wrist,
    keep_arm,
    turn_to_arm,
)
from handrefiner_ext.types import Box, ControlMaps, FloatArray, HandMesh, Image, Mask

STUDY_PX = 208
"""Longest side of the close-up in which a hand is studied."""
SURROUNDINGS = 0.15
"""Margin around the mask that is studied too, as a share of the mask's longer side."""
SMALLEST_HAND_PX = 4.0
SURELY_SKIN = 0.6
SLEEVE_EDGE_PX = 0.7
"""Softness of the new hand's edge at a sleeve, pixels of the close-up."""


@dataclass(frozen=True)
class Study:
    """One hand, old and new. Maps are (h, w) of the close-up `view`.

    number: of the mesh. pixels: (n, 3) its vertices in the picture, bent to join the drawn arm.
    size_px: hand size in the picture. image: (h, w, 3), 0..1. skin: 0..1, the old hand and its
    arm. kept: the part of it that stays. presence: 0..1, opacity of the new hand, which falls at
    the wrist. tones: (h, w, 3) RGB to add to the light. behind: on the arm's side of the wrist.
    """

    number: int
    mesh: HandMesh
    pixels: FloatArray
    size_px: float
    view: Closeup
    image: Floats
    skin: Floats
    kept: Floats
    presence: Floats
    light: SkinLight
    tones: Floats
    behind: Mask


def study_hand(image: Image, mesh: HandMesh, maps: ControlMaps, number: int) -> Study | None:
    """Study the hand of mesh `number`; None if its mask is empty."""
    box, mask = maps.hand_masks[number]
    if not area(box) or not mask.any():
        return None
    margin = round(SURROUNDINGS * max(box.width, box.height)) + 4
    region = clip(grow(box, margin, margin), *image.shape[:2])
    view = fit_closeup(region, STUDY_PX)
    close = view.take(image)
    size_px = _hand_size(mesh, image)
    local_size = size_px * view.density
    skin, foreign, straight = _find_old_skin(close, mesh, view, local_size)
    sleeve = foreign.sleeve
    allowed = _mask_in(view, box, mask)
    wrist = turn_to_arm(straight, skin, allowed)
    arm = find_arm(wrist, skin > 0.5)
    pixels = bend_to_arm(mesh_pixels(mesh), wrist, arm, view)
    surface = find_surface(mesh.faces, pixels, viewer_normals(pixels, mesh.faces), view)
    others = _under_others(view, maps, number)
    own = skin * ~others
    light, tones = _light(close, surface, own, local_size)
    landmarks = view.to_local(mesh.hand.landmarks)
    fingers = old_fingers(landmarks, skin.shape, local_size)
    behind = wrist.behind(*skin.shape)
    spared = _boxes_in(view, maps.spared) & ~allowed
    other = find_other_skin(landmarks, (skin > SURELY_SKIN) & ~behind, spared, others, local_size)
    kept = keep_arm(wrist, skin, arm, surface.covered)
    bare = np.maximum(skin, kept) * ~(foreign.strange | sleeve)
    presence = fade_at_wrist(wrist, bare, kept * ~surface.covered)
    presence *= 1.0 - blur(sleeve.astype(np.float32), SLEEVE_EDGE_PX)
    joints = view.to_local(np.nan_to_num(mesh.joints_2d))
    palm = find_palm(joints, own > SURELY_SKIN, surface.covered, local_size)
    return Study(
        number=number,
        mesh=mesh,
        pixels=pixels,
        size_px=size_px,
        view=view,
        image=close,
        skin=skin,
        kept=np.maximum(kept, other | (palm > 0.0) | (behind & ~fingers) | sleeve),
        presence=presence * (1.0 - palm),
        light=light,
        tones=tones,
        behind=behind,
    )


def _hand_size(mesh: HandMesh, image: Image) -> float:
    """Return the hand size in pixels, within bounds that the work on close-ups can handle."""
    size = mesh.hand.size_px
    size = size if np.isfinite(size) else SMALLEST_HAND_PX
    return float(np.clip(size, SMALLEST_HAND_PX, 2.0 * max(image.shape)))


def _find_old_skin(
    close: Floats, mesh: HandMesh, view: Closeup, local_size: float
) -> tuple[Floats, Foreign, WristLine]:
    """Return (h, w) 0..1 the old hand with its arm, what covers it, and the wrist of the mesh."""
    pixels = mesh_pixels(mesh)
    silhouette = find_surface(mesh.faces, pixels, pixels[:, :0], view).covered
    landmarks = view.to_local(mesh.hand.landmarks)
    wrist = find_wrist(mesh, pixels, view, local_size)
    arm_zone = wrist.zone(view.height, view.width)
    expected = expect_hand(landmarks, silhouette, arm_zone, local_size)
    foreign = find_foreign(close, expected, wrist)
    skin = find_skin(close, expected.without(foreign.other, foreign.strange)) * ~foreign.strange
    return skin, foreign, wrist


def _mask_in(view: Closeup, box: Box, mask: Mask) -> Mask:
    """Return the hand's mask (h, w) in the close-up."""
    return _carry_over(box, mask, view) > 0.5


def _boxes_in(view: Closeup, boxes: Sequence[Box]) -> Mask:
    """Return (h, w) what of the close-up lies in one of these boxes of the picture."""
    inside = np.zeros((view.height, view.width), dtype=bool)
    for box in boxes:
        corners = view.to_local(np.array([[box.x0, box.y0], [box.x1, box.y1]], dtype=float))
        (x0, y0), (x1, y1) = np.maximum(np.rint(corners).astype(int), 0).tolist()
        inside[y0:y1, x0:x1] = True
    return inside


def _carry_over(box: Box, mask: Mask, view: Closeup) -> Floats:
    """Return (h, w) 0..1, a mask over `box` in the close-up `view`; 0 outside the box."""
    own = fit_closeup(box, STUDY_PX)
    return own.sample_for(own.resample(mask.astype(np.uint8)), view, outside=True)


def _under_others(view: Closeup, maps: ControlMaps, number: int) -> Mask:
    """Return (h, w) where another new hand is too, since the picture may show that hand there."""
    others = np.zeros((view.height, view.width), dtype=bool)
    for other, layer in enumerate(maps.layers):
        if other != number and area(intersect(layer.box, view.box)):
            others |= _carry_over(layer.box, np.isfinite(layer.depth), view) > 0.0
    return others


def _light(
    close: Floats, surface: VisibleSurface, skin: Floats, local_size: float
) -> tuple[SkinLight, Floats]:
    """Return light and local tones, from pixels well inside the old hand."""
    kernel = np.ones((3, 3), np.uint8)
    sure = cv2.erode((skin > SURELY_SKIN).astype(np.uint8), kernel).astype(bool)
    normals = _unit(surface.values)
    near = cv2.dilate(surface.covered.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    light = estimate_light(close, normals, sure & near, surface.covered)
    lit = light.colour(normals)
    return light, local_tones(close, lit, sure & surface.covered, local_size)


def _unit(normals: Floats) -> Floats:
    """Scale interpolated normals to unit length; 0 stays 0."""
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    return np.asarray(normals / np.maximum(length, 1e-6), dtype=np.float32)
