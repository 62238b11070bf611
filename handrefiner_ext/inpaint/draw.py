"""The patch that shows the new hand."""

from __future__ import annotations

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import area, bounding_box, clip, grow, intersect
from handrefiner_ext.geometry.rasterize import covered_box
from handrefiner_ext.inpaint.blend import Patch
from handrefiner_ext.inpaint.closeup import look_at
from handrefiner_ext.inpaint.fill import grain_of
from handrefiner_ext.inpaint.study import SURELY_SKIN, Study
from handrefiner_ext.inpaint.subdivision import subdivide
from handrefiner_ext.inpaint.surface import see_surface, shade_hollows, viewer_normals
from handrefiner_ext.types import ControlMaps, Image

SUPERSAMPLING = 2.0
MAX_SAMPLES = 1_200_000
"""Larger hands are rendered with fewer samples than pixels need, to bound memory and time."""
MAX_SIDE = 16384
"""OpenCV cannot resample arrays longer than 32767."""
GRAIN_WINDOW_PX = 40


def draw_hand(image: Image, study: Study, maps: ControlMaps) -> Patch | None:
    """The lit mesh; None where none of it lies inside its mask."""
    height, width = image.shape[:2]
    own, _ = maps.hand_masks[study.number]
    box = intersect(covered_box(study.pixels, height, width), own)
    if not area(box):
        return None
    enough = float(np.sqrt(MAX_SAMPLES / area(box)))
    view = look_at(box, min(SUPERSAMPLING, enough, MAX_SIDE / max(box.width, box.height)))
    pixels, faces = subdivide(study.pixels, study.mesh.faces)
    skin = study.light.colour(viewer_normals(pixels, faces)).astype(np.float64)
    surface = see_surface(faces, pixels, skin, view)
    presence = study.view.sample_for(study.presence, view)
    alpha = (surface.covered * presence).astype(np.float32)
    colour = surface.values + study.view.sample_for(study.tones, view)
    lost = shade_hollows(surface, study.size_px * view.density)
    colour = colour * (1.0 - lost[..., None] * (1.0 - study.light.shade))
    return Patch(
        view,
        (np.clip(colour, 0.0, 1.0) * alpha[..., None]).astype(np.float32),
        alpha,
        _grain(image, study),
        study.number,
    )


def _grain(image: Image, study: Study) -> float:
    """Grain of the old skin where it is widest, at the picture's own scale."""
    sure = (study.skin > SURELY_SKIN).astype(np.uint8)
    depth = cv2.distanceTransform(sure, cv2.DIST_L2, 3)
    _, reach, _, (column, row) = cv2.minMaxLoc(depth)
    centre = np.array([[column + 0.5, row + 0.5]]) / study.view.scale
    side = int(np.clip(reach / study.view.density, 4, GRAIN_WINDOW_PX))
    box = bounding_box(centre + np.array(study.view.box[:2]))
    window = clip(grow(box, side, side), *image.shape[:2])
    return grain_of(look_at(window, 1.0).shrink(image))
