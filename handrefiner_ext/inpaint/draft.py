"""Backend `draft`: the fitted mesh itself, lit like the old hand and blended into the picture.

In a drawing it is drawn: in two flat tones, with lines of the old hand's colour and width.

It needs no weights and generates nothing. It serves as a preview, as the fallback without a
diffusion model, and as the start image for one.
"""

from __future__ import annotations

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import area, bounding_box, clip, grow, intersect
from handrefiner_ext.geometry.rasterize import covered_box
from handrefiner_ext.inpaint.blend import (
    Canvas,
    Patch,
    fill_hole,
    measure_grain,
    order_from_far,
)
from handrefiner_ext.inpaint.closeup import Closeup, Floats, blur, fit_closeup, make_closeup
from handrefiner_ext.inpaint.ink import Pen, colour_flat, draw_lines, find_pen, is_drawn
from handrefiner_ext.inpaint.study import SURELY_SKIN, Study, study_hand
from handrefiner_ext.inpaint.surface import (
    VisibleSurface,
    find_surface,
    shade_hollows,
    subdivide,
    viewer_normals,
)
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.types import ControlMaps, Image, Mask

FILL_PX = 384
FRINGE = 0.015
"""Hand sizes by which the hole is larger than the old hand, so that its soft edge goes too."""


def remove_hand(image: Image, study: Study, studies: list[Study]) -> Patch:
    """Return a patch that continues the surroundings over the old hand of `study`.

    Its arm stays. studies: of all hands, whose skin is not used as surroundings.
    """
    view = fit_closeup(study.view.box, FILL_PX)
    close = view.take(image)
    fringe = 1.5 + FRINGE * study.size_px * view.scale[0]
    kept_share = study.view.sample_for(study.kept, view)
    kept = kept_share > 0.5
    old = study.view.sample_for(study.skin, view) > 0.4
    hole = _widen(old & ~kept, fringe)
    hole &= kept_share < 0.9
    skin = hole | _widen(kept, fringe)
    for other in studies:
        if other is not study:
            skin |= _widen(other.view.sample_for(other.skin, view, outside=True) > 0.4, fringe)
    filled = fill_hole(close, hole, ~skin)
    alpha = np.clip(blur(hole.astype(np.float32), 0.8), 0.0, 1.0) * (1.0 - kept_share)
    return Patch(view, filled * alpha[..., None], alpha, 0.0, study.number)


def _widen(mask: Mask, radius_px: float) -> Mask:
    size = 2 * max(1, round(radius_px)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel).astype(bool))


SUPERSAMPLING = 2.0
MOST_SAMPLES = 1_200_000
"""Larger hands are rendered with less supersampling, to bound memory and time."""
MAX_SIDE = 16384
"""OpenCV cannot resample arrays longer than 32767."""
GRAIN_WINDOW_PX = 40


def draw_new_hand(image: Image, study: Study, maps: ControlMaps) -> Patch | None:
    """Return a patch with the lit mesh; None if no part of it lies inside its mask."""
    height, width = image.shape[:2]
    own, _ = maps.hand_masks[study.number]
    box = intersect(covered_box(study.pixels, height, width), own)
    if not area(box):
        return None
    enough = float(np.sqrt(MOST_SAMPLES / area(box)))
    view = make_closeup(box, min(SUPERSAMPLING, enough, MAX_SIDE / max(box.width, box.height)))
    pixels, faces = subdivide(study.pixels, study.mesh.faces)
    skin = study.light.colour(viewer_normals(pixels, faces)).astype(np.float64)
    surface = find_surface(faces, pixels, skin, view)
    presence = study.view.sample_for(study.presence, view)
    alpha = (surface.covered * presence).astype(np.float32)
    pen = find_pen_of(image, study)
    if pen is not None:
        return _draw_inked(surface, presence, pen, view, study)
    colour = surface.values + study.view.sample_for(study.tones, view)
    lost = shade_hollows(surface, study.size_px * view.density)
    colour = colour * (1.0 - lost[..., None] * (1.0 - study.light.shade))
    return Patch(
        view,
        (np.clip(colour, 0.0, 1.0) * alpha[..., None]).astype(np.float32),
        alpha,
        _skin_grain(image, study),
        study.number,
    )


def is_drawing(image: Image, study: Study) -> bool:
    """Return whether the old hand is drawn, with outlines or without."""
    return is_drawn(*_take_skin(image, study))


def find_pen_of(image: Image, study: Study) -> Pen | None:
    """Return how the old hand is drawn; None where it is not a drawing."""
    return find_pen(*_take_skin(image, study))


def _take_skin(image: Image, study: Study) -> tuple[Floats, Mask, float]:
    """Return (h, w, 3) a close-up, 0..1, (h, w) the old hand in it, and the hand's size."""
    view = fit_closeup(study.view.box, FILL_PX)
    skin = study.view.sample_for(study.skin, view) > 0.5
    return view.take(image), skin, study.size_px * view.density


def _draw_inked(
    surface: VisibleSurface, presence: Floats, pen: Pen, view: Closeup, study: Study
) -> Patch:
    """Return a patch with the mesh in the drawing's flat tones and lines."""
    size_px = study.size_px * view.density
    tones = colour_flat(surface.values, surface.covered, pen, size_px)
    ink = draw_lines(surface, pen, size_px)[..., None]
    alpha = (np.maximum(surface.covered, ink[..., 0]) * presence).astype(np.float32)
    colour = np.where(surface.covered[..., None], tones, pen.colour)
    colour = colour + ink * (pen.colour - colour)
    return Patch(view, (colour * alpha[..., None]).astype(np.float32), alpha, 0.0, study.number)


def _skin_grain(image: Image, study: Study) -> float:
    """Return the grain of the old skin where it is widest, at the picture's own scale."""
    sure = (study.skin > SURELY_SKIN).astype(np.uint8)
    depth = cv2.distanceTransform(sure, cv2.DIST_L2, 3)
    _, reach, _, (column, row) = cv2.minMaxLoc(depth)
    centre = np.array([[column + 0.5, row + 0.5]]) / study.view.scale
    side = int(np.clip(reach / study.view.density, 4, GRAIN_WINDOW_PX))
    box = bounding_box(centre + np.array(study.view.box[:2]))
    window = clip(grow(box, side, side), *image.shape[:2])
    return measure_grain(make_closeup(window, 1.0).take(image))


class DraftInpainter:
    """Removes each old hand, renders the new one with its skin and light, and blends it in.

    `strength` has no effect here.
    """

    name = "draft"

    def paint(self, request: PaintRequest) -> Image:
        """Return the image with new hands inside `maps.mask`; the same object if that is empty."""
        image, maps, params = request.image, request.maps, request.params
        if not maps.mask.any():
            return image
        found = (
            study_hand(image, mesh, maps, number) for number, mesh in enumerate(request.meshes)
        )
        studies = {study.number: study for study in found if study is not None}
        canvas = Canvas(image.copy(), maps, params.mask_blur, np.random.default_rng(params.seed))
        for study in studies.values():
            canvas.lay(remove_hand(image, study, list(studies.values())))
        drawn: tuple[int, ...] = ()
        for number in order_from_far(list(studies), maps):
            patch = draw_new_hand(image, studies[number], maps)
            if patch is not None:
                canvas.lay(patch, in_front=drawn)
            drawn = (*drawn, number)
        return canvas.picture
