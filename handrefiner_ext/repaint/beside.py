"""Measure what a repaint changes beside the hand: a held thing, another hand, the background.

Only the pixels of the mask that the new hand does not cover are compared. A sixth finger that is
gone changes little there, in the hand's own colours; an erased ball, sleeve or neighbouring hand
changes much, or in other colours. Within the old fingers and the rim around them only wide patches
of other colours count, because the soft edges of old fingers have the colours of what is behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import clip, grow, intersect, slices_within
from handrefiner_ext.geometry.probability import hand_likelihood
from handrefiner_ext.inpaint.outlines import hold_disc
from handrefiner_ext.render.masks import MaskMaker
from handrefiner_ext.types import Box, ControlMaps, HandMesh, Image, Mask

BLUR = 0.02
"""Noise and texture finer than this are ignored, hand sizes."""
STEP = 24.0
"""Grey levels by which a pixel must differ; the feather of the mask's edge changes less."""
RIM = 0.04
"""Rim around the hand that may change, hand sizes."""
LARGEST = 256.0
"""Size at which hands are compared, pixels; larger ones are shrunk to bound the work."""
REACH = 0.06
"""Colours are not learnt this near the mesh's outline, hand sizes."""
WIDE = 0.03
"""Half the width of a patch that counts within the rim, hand sizes."""
MOST_AREA, MOST_FOREIGN, MOST_IN_RIM = 0.06, 0.02, 0.0135
"""What may change, squared hand sizes. Of 36 drafts that the judge took on real pictures, those
that left no damage changed at most 0.05, 0.017 and 0.0124, and those that erased a mouth, a
clipboard, cloth or a neighbour's fingers more of at least one: 0.054, 0.021 or 0.0149."""
MOST_OF_WISHED = (0.1, 0.03, 1.0)
"""The same for a hand that somebody posed or drew: it is meant to cover what was there."""


class Change(NamedTuple):
    """Area that changed beside a hand, in squared hand sizes.

    area: all of it beyond the rim. foreign: the part of it that is not skin. rim: wide patches that
    are not skin, anywhere beside the new hand.
    """

    area: float
    foreign: float
    rim: float


def find_damage(
    before: Image, after: Image, maps: ControlMaps, meshes: Sequence[HandMesh]
) -> dict[int, str]:
    """Return number -> reason for the hands beside which too much would change."""
    damaged = {}
    for number, mesh in enumerate(meshes):
        change = measure_change(before, after, maps, number, mesh)
        limits = (MOST_AREA, MOST_FOREIGN, MOST_IN_RIM) if mesh.is_known else MOST_OF_WISHED
        if any(much > most for much, most in zip(change, limits, strict=True)):
            damaged[number] = (
                "The original was kept: the picture beside the hand would change, over "
                f"{max(change.area, change.rim):.0%} of the hand's square."
            )
    return damaged


def measure_change(
    before: Image, after: Image, maps: ControlMaps, number: int, mesh: HandMesh
) -> Change:
    """Measure what differs between two pictures beside mesh `number` of the maps."""
    place, mask = maps.hand_masks[number]
    if not mask.any():
        return Change(0.0, 0.0, 0.0)
    height, width = maps.mask.shape
    size = max(mesh.size_px, 1.0)
    margin = min(round(RIM * size) + 1, max(height, width))
    box = clip(grow(place, margin, margin), height, width)
    layer = maps.layers[number]
    maker = MaskMaker("silhouette", 0, (height, width), None)
    shrink = min(1.0, LARGEST / size)
    allowed = _place(place, mask, box, shrink)
    old, new = (_resize(picture[box.slices], shrink) for picture in (before, after))
    apart = old.astype(np.float32) - new.astype(np.float32)
    seen = cv2.GaussianBlur(apart, (0, 0), max(BLUR * size * shrink, 0.5))
    changed = (np.abs(seen).max(axis=2) > STEP) & allowed
    silhouette = _place(layer.box, np.isfinite(layer.depth), box, shrink)
    beside = changed & ~_near(_place(*maker.make(mesh, layer), box, shrink), RIM * size * shrink)
    reach = max(1, round(REACH * size * shrink))
    likely = hand_likelihood(old, silhouette.astype(np.uint8), reach)
    unlike = np.ones_like(changed) if likely is None else likely < 0.5
    wide = hold_disc(changed & unlike & ~silhouette, WIDE * size * shrink)
    scale = (size * shrink) ** 2
    areas = (float(part.sum()) / scale for part in (beside, beside & unlike, wide))
    return Change(*areas)


def _place(part: Box, inside: Mask, box: Box, shrink: float) -> Mask:
    """Return a mask over `part` as one over `box`, shrunk."""
    whole = np.zeros((box.height, box.width), dtype=np.uint8)
    common = intersect(part, box)
    whole[slices_within(common, box)] = inside[slices_within(common, part)]
    return np.asarray(_resize(whole, shrink) > 0)


def _resize(array: Image, shrink: float) -> Image:
    if shrink == 1.0:
        return np.ascontiguousarray(array)
    size = (max(1, round(array.shape[1] * shrink)), max(1, round(array.shape[0] * shrink)))
    kind = cv2.INTER_AREA if array.ndim == 3 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(array, size, interpolation=kind), dtype=np.uint8)


def _near(shape: Mask, radius: float) -> Mask:
    """Return what lies within `radius` pixels of a shape."""
    if not shape.any():
        return shape
    apart = cv2.distanceTransform(1 - shape.astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(apart <= radius)
