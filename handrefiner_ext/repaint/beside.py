"""What a repaint changes beside the hand: a held thing, another hand, the background's structure.

Compared are the pixels of the mask that neither the new hand nor the old fingers cover. A sixth
finger that is gone changes a little there, in the hand's own colours; a ball, a sleeve or a
neighbour's hand changes much, or in other colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import clip, grow, intersect, slices_within
from handrefiner_ext.geometry.probability import hand_likelihood
from handrefiner_ext.render.masks import MaskMaker
from handrefiner_ext.types import ControlMaps, HandMesh, Image

BLUR = 0.02
"""Grain and texture finer than this are not compared, hand sizes."""
STEP = 24.0
"""Grey levels by which a place must differ: what is laid over with a feather differs by less."""
RIM = 0.04
"""Rim around the hand that may change, hand sizes."""
REACH = 0.06
"""Distance from the mesh's outline within which no colours are learnt, hand sizes."""


MOST_AREA, MOST_FOREIGN = 0.1, 0.03
"""What may change, squared hand sizes. Of 16 drafts that the judge took on real pictures, those
that left no damage changed at most 0.05 and 0.016, and those that erased a ball, a pocket, cloth or
a neighbour's fingers at least 0.107 and 0.036."""


class Change(NamedTuple):
    """Area that changed beside a hand, in squared hand sizes: all of it, and what is no skin."""

    area: float
    foreign: float


def find_damage(
    before: Image, after: Image, maps: ControlMaps, meshes: Sequence[HandMesh]
) -> dict[int, str]:
    """Return number -> reason, of the hands beside which too much would change."""
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
    size = max(mesh.size_px, 1.0)
    if not mask.any():
        return Change(0.0, 0.0)
    height, width = maps.mask.shape
    margin = round(RIM * size) + 1
    box = clip(grow(place, margin, margin), height, width)
    own = np.zeros((box.height, box.width), dtype=np.uint8)
    own_box, inside = MaskMaker("silhouette", 0, (height, width), None).make(
        mesh, maps.layers[number]
    )
    common = intersect(own_box, box)
    own[slices_within(common, box)] = inside[slices_within(common, own_box)]
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    beside = np.zeros((box.height, box.width), dtype=bool)
    beside[slices_within(place, box)] = mask
    beside &= cv2.dilate(own, reach) == 0
    apart = before[box.slices].astype(np.float32) - after[box.slices].astype(np.float32)
    seen = cv2.GaussianBlur(apart, (0, 0), max(BLUR * size, 0.5))
    changed = (np.abs(seen).max(axis=2) > STEP) & beside
    layer = maps.layers[number]
    mesh_here = np.zeros((box.height, box.width), dtype=np.uint8)
    common = intersect(layer.box, box)
    mesh_here[slices_within(common, box)] = np.isfinite(
        layer.depth[slices_within(common, layer.box)]
    )
    likely = hand_likelihood(
        np.ascontiguousarray(before[box.slices]), mesh_here, max(1, round(REACH * size))
    )
    foreign = changed if likely is None else changed & (likely < 0.5)
    return Change(float(changed.sum()) / size**2, float(foreign.sum()) / size**2)
