"""Filling the place of the old hand, and blending patches into the picture inside the mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import (
    area,
    clip,
    feather,
    grow,
    intersect,
    slices_within,
    tiles,
)
from handrefiner_ext.inpaint.closeup import Closeup, Floats, blur, make_closeup
from handrefiner_ext.types import Box, ControlMaps, Image, Mask

TELEA_RADIUS_PX = 4
TONES_PX = 176
TEXTURE_SIGMA_PX = 3.0
GRAIN_SIGMA_PX = 1.0
GRAIN_LIMIT = 0.012


def fill_hole(image: Floats, hole: Mask, usable: Mask) -> Floats:
    """Continue the surroundings into a hole.

    Broad tones come from Telea 2004, "An image inpainting technique based on the fast marching
    method", softened towards the middle of a large hole; texture and grain are mirrored at the
    rim.

    Arguments:
        image: (h, w, 3), 0..1.
        hole: (h, w), the pixels to fill.
        usable: (h, w), the pixels that may be copied.

    Returns:
        (h, w, 3), unchanged outside the hole.
    """
    unknown = hole | ~usable
    if unknown.all() or not hole.any():
        return image
    flags = unknown.astype(np.uint8)
    filled = _continue_tones(image, flags)
    depth, nearest = cv2.distanceTransformWithLabels(
        flags, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    broad = blur(filled, TEXTURE_SIGMA_PX)
    soft = blur(filled, max(1.0, 0.15 * float(depth.max())))
    share = np.clip(depth / max(6.0, float(depth.max())), 0.0, 1.0)[..., None]
    toned = broad + share * (soft - broad)
    textured = toned + _mirrored(image - broad, hole, usable, np.asarray(nearest))
    return np.where(hole[..., None], np.clip(textured, 0.0, 1.0), image).astype(np.float32)


def _continue_tones(image: Floats, unknown: NDArray[np.uint8]) -> Floats:
    """Return (h, w, 3) with the broad tones of the known pixels continued into the unknown ones."""
    # A small copy is enough: only broad tones are wanted, texture and grain are added later.
    height, width = unknown.shape
    scale = min(1.0, TONES_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    known = (1.0 - unknown).astype(np.float32)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    tones = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
    tones = tones / np.maximum(weight, 1e-3)[..., None]
    whole = np.clip(np.rint(tones * 255.0), 0, 255).astype(np.uint8)
    flags = (weight < 0.5).astype(np.uint8)
    if flags.all():
        flags = (weight <= weight.max() - 1e-3).astype(np.uint8)
    filled = cv2.inpaint(whole, flags, TELEA_RADIUS_PX, cv2.INPAINT_TELEA)
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(unknown[..., None] > 0, large.astype(np.float32) / 255.0, image)


def _mirrored(
    texture: Floats, hole: Mask, usable: Mask, nearest: NDArray[np.integer[Any]]
) -> Floats:
    """Return (h, w, 3) the texture mirrored into the hole at its nearest known pixel.

    Where the mirrored place is not usable, the nearest known pixel itself counts.
    """
    height, width = hole.shape
    known = np.flatnonzero(usable & ~hole)
    place = np.zeros(int(nearest.max()) + 1, dtype=np.int64)
    place[nearest.reshape(-1)[known]] = known
    rows, columns = np.nonzero(hole)
    rim_rows, rim_columns = np.divmod(place[nearest[rows, columns]], width)
    far_rows = np.clip(2 * rim_rows - rows, 0, height - 1)
    far_columns = np.clip(2 * rim_columns - columns, 0, width - 1)
    sound = usable[far_rows, far_columns] & ~hole[far_rows, far_columns]
    far_rows = np.where(sound, far_rows, rim_rows)
    far_columns = np.where(sound, far_columns, rim_columns)
    mirrored = np.zeros_like(texture)
    mirrored[rows, columns] = texture[far_rows, far_columns]
    return mirrored


def measure_grain(image: Floats) -> float:
    """Return the standard deviation of the grain in (h, w, 3), 0..1."""
    grey = image.mean(axis=2)
    fine = np.abs(grey - blur(grey, GRAIN_SIGMA_PX))
    # A low percentile ignores lines and folds. A quarter of a normal distribution lies within
    # 0.32 deviations, and subtracting the blur leaves 0.77 of the deviation.
    return float(min(np.percentile(fine, 25.0) / 0.32 / 0.77, GRAIN_LIMIT))


def make_grain(shape: tuple[int, int], generator: np.random.Generator) -> Floats:
    """Return (h, w) noise of deviation 1, a little coarser than a pixel, as in resized pictures."""
    white = generator.standard_normal(shape, dtype=np.float32)
    return np.asarray(blur(white, 0.6) * 1.75)


@dataclass(frozen=True)
class Patch:
    """Something to blend into the picture because of one hand.

    view: where the patch lies. colour: (h, w, 3) of `view`, 0..1, premultiplied by alpha.
    alpha: (h, w), 0..1. grain: standard deviation of the noise to add, 0..1. number: of the mesh.
    """

    view: Closeup
    colour: Floats
    alpha: Floats
    grain: float
    number: int


@dataclass
class Canvas:
    """The picture being painted, and what may change in it.

    picture: (H, W, 3), changed in place. feather_px: width over which a patch fades in.
    """

    picture: Image
    maps: ControlMaps
    feather_px: int
    generator: np.random.Generator

    def lay(self, patch: Patch, in_front: tuple[int, ...] = ()) -> None:
        """Blend `patch` in, except where one of the hands `in_front` is visible."""
        own, mask = self.maps.hand_masks[patch.number]
        for tile in tiles(intersect(patch.view.box, own)):
            if area(tile):
                weight = self._weight(tile, own, mask, in_front)
                if weight.any():
                    self._blend(patch, tile, weight)

    def _weight(self, tile: Box, own: Box, mask: Mask, in_front: tuple[int, ...]) -> Floats:
        """Return (h, w) of the tile: 0 outside the hand's mask, rising to 1 over the feather."""
        height, width = self.maps.mask.shape
        margin = self.feather_px + 2
        window = clip(grow(tile, margin, margin), height, width)
        allowed = np.zeros((window.height, window.width), dtype=bool)
        part = intersect(window, own)
        inside = mask[slices_within(part, own)] & self.maps.mask[part.slices]
        allowed[slices_within(part, window)] = inside
        weight = feather(allowed, self.feather_px, cv2.DIST_MASK_3)[slices_within(tile, window)]
        if in_front:
            weight = weight * ~np.isin(self.maps.owner[tile.slices], in_front)
        return weight

    def _blend(self, patch: Patch, tile: Box, weight: Floats) -> None:
        target = make_closeup(tile, 1.0)
        alpha = patch.view.sample_for(patch.alpha, target) * weight
        colour = patch.view.sample_for(patch.colour, target) * weight[..., None]
        if patch.grain > 0.0:
            noise = make_grain(alpha.shape, self.generator)
            colour += (patch.grain * noise * alpha)[..., None]
        base = self.picture[tile.slices].astype(np.float32)
        mixed = base * (1.0 - alpha[..., None]) + 255.0 * colour
        painted = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
        self.picture[tile.slices] = np.where(alpha[..., None] > 0.0, painted, base.astype(np.uint8))


def order_from_far(numbers: list[int], maps: ControlMaps) -> list[int]:
    """Sort hands so that each comes after those it covers; a cycle starts at the lowest number."""
    waiting, ordered = sorted(numbers), []
    while waiting:
        free = [n for n in waiting if not _covers_any(n, waiting, maps)]
        chosen = (free or waiting)[0]
        waiting.remove(chosen)
        ordered.append(chosen)
    return ordered


def _covers_any(number: int, others: list[int], maps: ControlMaps) -> bool:
    return any(o.front == number and o.back in others for o in maps.overlaps)
