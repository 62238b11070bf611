"""Regions of a picture that are repainted on their own, at a resolution of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import area, bounding_box, clip, intersect, slices_within
from handrefiner_ext.types import Box, FloatArray, Hand, HandMesh, Image, Mask, WeakPerspective

MULTIPLE = 8
"""Latent pixels are this many picture pixels wide and high."""
CONTEXT = 0.4
"""Picture kept around a mask on each side, as a share of the mask's longer side."""
LEAST_CONTEXT_PX = 32
SMALLEST_SIDE = 64
"""Of a region; narrower ones are no picture for a diffusion model."""


@dataclass(frozen=True)
class Crop:
    """A box of the picture and the size (width, height in pixels) at which it is worked on."""

    box: Box
    width: int
    height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Region pixels per picture pixel, along x and y."""
        return self.width / self.box.width, self.height / self.box.height

    def take(self, image: Image) -> Image:
        """(H, W, 3) picture -> (height, width, 3) region."""
        return _resize(image[self.box.slices], self.width, self.height)

    def take_mask(self, mask: Mask) -> Mask:
        """(H, W) mask of the picture -> (height, width); a pixel that is touched is inside."""
        part = mask[self.box.slices].astype(np.float32)
        resized = cv2.resize(part, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized > 0.0)

    def give_back(self, region: Image) -> Image:
        """(height, width, 3) region -> (box.height, box.width, 3) of the picture."""
        return _resize(region, self.box.width, self.box.height)

    def move_points(self, points: FloatArray) -> FloatArray:
        """(n, 2) pixels of the picture -> pixels of the region."""
        return (points - (self.box.x0, self.box.y0)) * self.scale

    def move_mesh(self, mesh: HandMesh) -> HandMesh:
        """The same hand as the region shows it; sides need not be scaled quite alike."""
        (scale_x, scale_y), camera = self.scale, mesh.camera
        stretch = np.array([scale_x / scale_y, 1.0, 1.0])
        moved = WeakPerspective(
            camera.scale * scale_y,
            (camera.shift_x - self.box.x0) * scale_x,
            (camera.shift_y - self.box.y0) * scale_y,
        )
        return replace(
            mesh,
            hand=self._move_hand(mesh.hand),
            vertices=mesh.vertices * stretch,
            joints=mesh.joints * stretch,
            camera=moved,
        )

    def _move_hand(self, hand: Hand) -> Hand:
        landmarks = self.move_points(hand.landmarks)
        corners = self.move_points(np.array([hand.box[:2], hand.box[2:]], dtype=np.float64))
        box = clip(bounding_box(corners), self.height, self.width)
        depth = hand.landmark_depth * self.scale[1]
        return replace(hand, landmarks=landmarks, landmark_depth=depth, box=box)


def group_overlapping(masks: Sequence[tuple[Box, Mask]]) -> list[tuple[int, ...]]:
    """Numbers of the masks that share pixels, directly or through others; empty masks are none's.

    Each group and the groups themselves are in ascending order.
    """
    groups: list[list[int]] = []
    for number, (_, mask) in enumerate(masks):
        if not mask.any():
            continue
        touching = [g for g in groups if any(_share_pixels(masks[number], masks[o]) for o in g)]
        joined = [number, *(other for group in touching for other in group)]
        groups = [*(g for g in groups if g not in touching), sorted(joined)]
    return sorted(tuple(group) for group in groups)


def choose_crop(box: Box, picture_size: tuple[int, int], long_side: int) -> Crop:
    """A crop around the mask's `box`, with context, as square as the picture allows.

    picture_size: (height, width). long_side: of the region, pixels.
    """
    height, width = picture_size
    longer = max(box.width, box.height)
    side = longer + 2 * max(round(CONTEXT * longer), LEAST_CONTEXT_PX)
    x0, x1 = _span(box.x0, box.x1, side, width)
    y0, y1 = _span(box.y0, box.y1, side, height)
    crop = Box(x0, y0, x1, y1)
    longest = max(crop.width, crop.height)
    sides = (
        max(MULTIPLE * round(long_side * s / longest / MULTIPLE), SMALLEST_SIDE)
        for s in (crop.width, crop.height)
    )
    return Crop(crop, *sides)


def _span(start: int, stop: int, side: int, limit: int) -> tuple[int, int]:
    """`side` pixels around start…stop, moved inside 0…limit."""
    side = min(side, limit)
    first = (start + stop - side) // 2
    first = min(max(first, 0), limit - side)
    return first, first + side


def _share_pixels(a: tuple[Box, Mask], b: tuple[Box, Mask]) -> bool:
    common = intersect(a[0], b[0])
    if not area(common):
        return False
    first, second = (mask[slices_within(common, box)] for box, mask in (a, b))
    return bool((first & second).any())


def _resize(image: Image, width: int, height: int) -> Image:
    shrinks = width * height < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


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
