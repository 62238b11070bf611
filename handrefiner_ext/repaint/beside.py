"""Measure what a repaint changes beside the hand: a held thing, another hand, the background.

Only the pixels of the mask that the new hand does not cover are compared. A sixth finger that is
gone changes little there, in the hand's own colours; an erased ball, sleeve or neighbouring hand
changes much, or in other colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import clip, grow, intersect, slices_within
from handrefiner_ext.geometry.probability import hand_likelihood
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
MOST_AREA, MOST_FOREIGN = 0.1, 0.03
"""What may change, squared hand sizes. Of 16 drafts that the judge took on real pictures, those
that left no damage changed at most 0.05 and 0.016, and those that erased a ball, a pocket, cloth or
a neighbour's fingers at least 0.107 and 0.036."""


class Change(NamedTuple):
    """Area that changed beside a hand, in squared hand sizes: all of it, and the part not skin."""

    area: float
    foreign: float


def find_damage(
    before: Image, after: Image, maps: ControlMaps, meshes: Sequence[HandMesh]
) -> dict[int, str]:
    """Return number -> reason for the hands beside which too much would change."""
    damaged = {}
    for number, mesh in enumerate(meshes):
        change = measure_change(before, after, maps, number, mesh)
        if change.area > MOST_AREA or change.foreign > MOST_FOREIGN:
            damaged[number] = (
                "The original was kept: the picture beside the hand would change, over "
                f"{change.area:.0%} of the hand's square."
            )
    return damaged


def measure_change(
    before: Image, after: Image, maps: ControlMaps, number: int, mesh: HandMesh
) -> Change:
    """Measure what differs between two pictures beside mesh `number` of the maps."""
    place, mask = maps.hand_masks[number]
    if not mask.any():
        return Change(0.0, 0.0)
    height, width = maps.mask.shape
    size = max(mesh.size_px, 1.0)
    margin = min(round(RIM * size) + 1, max(height, width))
    box = clip(grow(place, margin, margin), height, width)
    layer = maps.layers[number]
    maker = MaskMaker("silhouette", 0, (height, width), None)
    shrink = min(1.0, LARGEST / size)
    beside = _place(place, mask, box, shrink) & ~_near(
        _place(*maker.make(mesh, layer), box, shrink), RIM * size * shrink
    )
    old, new = (_resize(picture[box.slices], shrink) for picture in (before, after))
    apart = old.astype(np.float32) - new.astype(np.float32)
    seen = cv2.GaussianBlur(apart, (0, 0), max(BLUR * size * shrink, 0.5))
    changed = (np.abs(seen).max(axis=2) > STEP) & beside
    silhouette = _place(layer.box, np.isfinite(layer.depth), box, shrink).astype(np.uint8)
    likely = hand_likelihood(old, silhouette, max(1, round(REACH * size * shrink)))
    foreign = changed if likely is None else changed & (likely < 0.5)
    scale = (size * shrink) ** 2
    return Change(float(changed.sum()) / scale, float(foreign.sum()) / scale)


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
