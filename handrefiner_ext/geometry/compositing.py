"""Laying a repainted part into the picture: feathered inside its mask, nothing outside."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import Box, Image, Mask

RING_PX = 12
"""Width of the ring around the mask, and inside the region, in which colours are compared."""
MOST_SHIFT = 24.0
"""Grey levels; more is no difference of colour but another picture."""

Weights = NDArray[np.float32]


def feather(mask: Mask, width_px: int) -> Weights:
    """(H, W) weights: 0 outside the mask, rising smoothly to 1 over `width_px` inside it.

    The picture's own edge is no edge of the mask.
    """
    if width_px == 0 or mask.all():
        return mask.astype(np.float32)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    t = np.clip(distance / (width_px + 1.0), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def seam_shift(before: Image, after: Image, mask: Mask) -> NDArray[np.float32]:
    """(3,) what to add to `after` so that it meets `before` around the mask.

    Outside the mask both show the same, but for what the model's encoder does to colours.
    """
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * RING_PX + 1,) * 2, np.uint8))
    ring = (near > 0) & ~mask
    if not ring.any():
        return np.zeros(3, dtype=np.float32)
    difference = before[ring].astype(np.float32) - after[ring].astype(np.float32)
    shift = np.median(difference, axis=0)
    return np.asarray(np.clip(shift, -MOST_SHIFT, MOST_SHIFT), dtype=np.float32)


def lay_over(picture: Image, part: Image, box: Box, mask: Mask, feather_px: int) -> Image:
    """A copy of `picture` with `part` in `box`, where `mask` allows it.

    picture: (H, W, 3). part: (box.height, box.width, 3). mask: (H, W); outside it every pixel
    stays what it was.
    """
    inside = mask[box.slices]
    before = picture[box.slices]
    colours = part.astype(np.float32) + seam_shift(before, part, inside)
    weight = feather(mask, feather_px)[box.slices][..., None]
    mixed = before.astype(np.float32) * (1.0 - weight) + colours * weight
    painted = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    result: Image = picture.copy()
    result[box.slices] = np.where(inside[..., None], painted, before)
    return result
