"""Depth and mask of one region at the resolution at which it is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handrefiner_ext.geometry.regions import Crop
from handrefiner_ext.params import RefineParams
from handrefiner_ext.render.maps import build_maps
from handrefiner_ext.types import ControlMaps, HandMesh, Image, Mask, Renderer

MOST_PADDING = 512
"""Pixels of the region."""


def render_region(
    crop: Crop,
    image: Image,
    meshes: Sequence[HandMesh],
    mask: Mask,
    renderer: Renderer,
    params: RefineParams,
) -> ControlMaps:
    """Maps of the region's hands, (crop.height, crop.width).

    image, mask: the whole picture (H, W, 3) and what may change in it (H, W). meshes: the region's
    own, placed in the picture. `padding_bbox` counts the picture's pixels.
    """
    padding = min(round(params.padding_bbox * max(crop.scale)), MOST_PADDING)
    return build_maps(
        [crop.move_mesh(mesh) for mesh in meshes],
        (crop.height, crop.width),
        renderer,
        replace(params, padding_bbox=padding),
        drawn_mask=crop.take_mask(mask),
        image=crop.take(image),
    )
