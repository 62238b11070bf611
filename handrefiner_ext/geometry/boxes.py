"""Boxes in the picture, and the regions that are cut out, repainted and laid back.

Arithmetic of boxes comes first; then the crop of a region, which has a resolution of its own; then
the blending of what was painted into the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import (
    Box,
    FloatArray,
    Hand,
    HandMesh,
    Image,
    Mask,
    Relief,
    WeakPerspective,
)


def bounding_box(points: FloatArray) -> Box:
    """Return the smallest whole-pixel box around (n, 2) points in pixels, at least one pixel."""
    x0, y0 = (math.floor(v) for v in points.min(axis=0))
    x1, y1 = (math.ceil(v) for v in points.max(axis=0))
    return Box(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))


def grow(box: Box, margin_x: int, margin_y: int) -> Box:
    """Return `box` with a margin on every side, in pixels; it may leave the picture."""
    return Box(box.x0 - margin_x, box.y0 - margin_y, box.x1 + margin_x, box.y1 + margin_y)


def clip(box: Box, height: int, width: int) -> Box:
    """Return the part of `box` inside a picture; zero-sized, never negative, if there is none."""
    x0, x1 = (min(max(v, 0), width) for v in (box.x0, box.x1))
    y0, y1 = (min(max(v, 0), height) for v in (box.y0, box.y1))
    return Box(x0, y0, max(x0, x1), max(y0, y1))


def area(box: Box) -> int:
    """Return the number of pixels in `box`."""
    return max(box.width, 0) * max(box.height, 0)


def intersect(a: Box, b: Box) -> Box:
    """Return the common part of two boxes; zero-sized if there is none."""
    x0, y0 = max(a.x0, b.x0), max(a.y0, b.y0)
    return Box(x0, y0, max(x0, min(a.x1, b.x1)), max(y0, min(a.y1, b.y1)))


def intersection_over_union(a: Box, b: Box) -> float:
    """Return the shared area of two boxes as a share of their joint area, 0..1."""
    common = area(intersect(a, b))
    union = area(a) + area(b) - common
    return common / union if union else 0.0


def slices_within(part: Box, box: Box) -> tuple[slice, slice]:
    """Return (rows, columns) of `part` in an array that spans `box`; `part` lies inside `box`."""
    return (
        slice(part.y0 - box.y0, part.y1 - box.y0),
        slice(part.x0 - box.x0, part.x1 - box.x0),
    )


TILE_PX = 1024


def tiles(box: Box) -> Iterator[Box]:
    """Yield parts of `box` of at most TILE_PX a side, so that memory stays bounded."""
    for y in range(box.y0, box.y1, TILE_PX):
        for x in range(box.x0, box.x1, TILE_PX):
            yield Box(x, y, min(x + TILE_PX, box.x1), min(y + TILE_PX, box.y1))


LATENT_PX = 8
"""Picture pixels per latent pixel, along each side."""
REGION_CONTEXT = 0.4
"""Picture kept around a mask on each side, as a share of the mask's longer side."""
LEAST_CONTEXT_PX = 32
SMALLEST_SIDE = 64
"""Least side of a region, in pixels; a diffusion model makes nothing of a narrower picture."""


@dataclass(frozen=True)
class RegionCrop:
    """A box of the picture and the size (width, height in pixels) at which it is repainted."""

    box: Box
    width: int
    height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Region pixels per picture pixel, along x and y."""
        return self.width / self.box.width, self.height / self.box.height

    def take(self, image: Image) -> Image:
        """Cut the region (height, width, 3) out of a picture (H, W, 3)."""
        return _resize(image[self.box.slices], self.width, self.height)

    def take_mask(self, mask: Mask) -> Mask:
        """Cut (height, width) out of a mask (H, W); a pixel that the mask touches is inside."""
        part = mask[self.box.slices].astype(np.float32)
        resized = cv2.resize(part, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized > 0.0)

    def give_back(self, region: Image) -> Image:
        """Scale a region (height, width, 3) back to (box.height, box.width, 3) of the picture."""
        return _resize(region, self.box.width, self.box.height)

    def move_points(self, points: FloatArray) -> FloatArray:
        """Convert (n, 2) pixels of the picture to pixels of the region."""
        return (points - (self.box.x0, self.box.y0)) * self.scale

    def move_mesh(self, mesh: HandMesh) -> HandMesh:
        """Return the same hand as the region shows it."""
        # Whole-pixel sizes make the two scales differ slightly. The camera has only one, so the
        # vertices take up the difference.
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
            relief=None if mesh.relief is None else self._move_relief(mesh.relief),
        )

    def _move_relief(self, relief: Relief) -> Relief:
        """Return what the region shows of a depth that was given."""
        part = intersect(relief.box, self.box)
        seen = np.zeros((self.box.height, self.box.width), dtype=np.uint8)
        seen[slices_within(part, self.box)] = relief.grey[slices_within(part, relief.box)]
        grey = resize_grey(seen, self.width, self.height)
        x, y, width, height = cv2.boundingRect(grey)
        box = Box(x, y, x + width, y + height)
        return replace(relief, box=box, grey=grey[box.slices])

    def _move_hand(self, hand: Hand) -> Hand:
        landmarks = self.move_points(hand.landmarks)
        corners = self.move_points(np.array([hand.box[:2], hand.box[2:]], dtype=np.float64))
        box = clip(bounding_box(corners), self.height, self.width)
        depth = hand.landmark_depth * self.scale[1]
        return replace(hand, landmarks=landmarks, landmark_depth=depth, box=box)


def group_overlapping(masks: Sequence[tuple[Box, Mask]]) -> list[tuple[int, ...]]:
    """Group the masks that share pixels, directly or through others.

    Returns the numbers of the masks in each group. Empty masks are in no group; each group and the
    groups themselves are in ascending order.
    """
    groups: list[list[int]] = []
    for number, (_, mask) in enumerate(masks):
        if not mask.any():
            continue
        touching = [g for g in groups if any(_share_pixels(masks[number], masks[o]) for o in g)]
        joined = [number, *(other for group in touching for other in group)]
        groups = [*(g for g in groups if g not in touching), sorted(joined)]
    return sorted(tuple(group) for group in groups)


def choose_region_crop(box: Box, picture_size: tuple[int, int], long_side: int) -> RegionCrop:
    """Return a crop around a mask, with context, as square as the picture allows.

    Arguments:
        box: of the mask.
        picture_size: (height, width).
        long_side: of the region, pixels.
    """
    height, width = picture_size
    longer = max(box.width, box.height)
    side = longer + 2 * max(round(REGION_CONTEXT * longer), LEAST_CONTEXT_PX)
    x0, x1 = _span(box.x0, box.x1, side, width)
    y0, y1 = _span(box.y0, box.y1, side, height)
    outer = Box(x0, y0, x1, y1)
    longest = max(outer.width, outer.height)
    sides = (
        max(LATENT_PX * round(long_side * s / longest / LATENT_PX), SMALLEST_SIDE)
        for s in (outer.width, outer.height)
    )
    return RegionCrop(outer, *sides)


def _span(start: int, stop: int, side: int, limit: int) -> tuple[int, int]:
    """Return `side` pixels around start…stop, moved inside 0…limit."""
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


def resize_grey(grey: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale depth, (H, W) with 0 where empty; what is empty takes no part in the interpolation.

    Depth is interpolated linearly (by area where it shrinks), and the edge stays as sharp as a
    pixel allows: no grey between hand and background appears, which would be another depth.
    """
    if grey.shape == (height, width):
        return grey
    method = cv2.INTER_AREA if width * height < grey.size else cv2.INTER_LINEAR
    share, total = (
        cv2.resize(part.astype(np.float32), (width, height), interpolation=method)
        for part in (grey > 0, grey)
    )
    mean = np.clip(np.rint(total / np.maximum(share, 1e-6)), 1, 255)
    return np.where(share >= 0.5, mean, 0).astype(np.uint8)


RING_PX = 12
"""Width of the ring outside the mask in which colours are compared."""
MOST_SHIFT = 24.0
"""Grey levels; a larger difference is another picture, not another tone."""


def feather(
    mask: Mask, width_px: int, accuracy: int = cv2.DIST_MASK_PRECISE
) -> NDArray[np.float32]:
    """Return (H, W) weights: 0 outside the mask, rising smoothly to 1 over `width_px` inside it.

    Where the mask reaches the picture's own border, the weight does not fall off.

    Arguments:
        mask: (H, W) bool.
        width_px: 0 = the weights are the mask itself.
        accuracy: mask size of OpenCV's distance transform.
    """
    if width_px == 0 or mask.all():
        return mask.astype(np.float32)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, accuracy)
    t = np.clip(distance / (width_px + 1.0), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def seam_shift(before: Image, after: Image, mask: Mask) -> NDArray[np.float32]:
    """Return (3,) what to add to `after` so that it meets `before` around the mask."""
    # Around the mask both pictures show the same, but the model's autoencoder shifts colours a
    # little, which would leave a visible seam.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * RING_PX + 1,) * 2, np.uint8))
    ring = (near > 0) & ~mask
    if not ring.any():
        return np.zeros(3, dtype=np.float32)
    difference = before[ring].astype(np.float32) - after[ring].astype(np.float32)
    shift = np.median(difference, axis=0)
    return np.asarray(np.clip(shift, -MOST_SHIFT, MOST_SHIFT), dtype=np.float32)


def lay_over(picture: Image, part: Image, box: Box, mask: Mask, feather_px: int) -> Image:
    """Return a copy of `picture` with `part` blended into `box`, inside `mask` only.

    Arguments:
        picture: (H, W, 3).
        part: (box.height, box.width, 3).
        mask: (H, W); every pixel outside it stays bit-identical.
        feather_px: width over which `part` fades in, inside the mask.
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
