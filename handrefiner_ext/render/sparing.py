"""What lies beside a hand and must stay: faces, and hands that are not repainted.

The padding of a mask gives way to them. What the new hand covers and where the old fingers are,
with a small rim, stays paintable, also in front of a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from handrefiner_ext.geometry.boxes import area, intersect, slices_within
from handrefiner_ext.render.masks import MaskMaker
from handrefiner_ext.types import Box, ControlMaps, HandMesh


def spare(
    maps: ControlMaps, meshes: Sequence[HandMesh], places: Sequence[Box]
) -> tuple[ControlMaps, tuple[int, ...]]:
    """Take `places` out of the masks; return the maps and the numbers of the meshes concerned.

    The masks stay as they are if no place lies in one. meshes: those of the maps, in their order.
    """
    height, width = maps.mask.shape
    maker = MaskMaker("silhouette", 0, (height, width), None)
    masks, changed = [], []
    for number, (mesh, layer) in enumerate(zip(meshes, maps.layers, strict=True)):
        box, mask = maps.hand_masks[number]
        hits = [place for place in places if area(intersect(place, box))]
        if hits and mask.any():
            spared = mask.copy()
            for place in hits:
                spared[slices_within(intersect(place, box), box)] = False
            own_box, own = maker.make(mesh, layer)
            common = intersect(own_box, box)
            part = slices_within(common, box)
            spared[part] |= own[slices_within(common, own_box)] & mask[part]
            if (spared != mask).any():
                changed.append(number)
                mask = spared
        masks.append((box, mask))
    if not changed:
        return maps, ()
    whole = np.zeros_like(maps.mask)
    for box, mask in masks:
        whole[box.slices] |= mask
    return replace(maps, hand_masks=tuple(masks), mask=whole), tuple(changed)
