"""Laying patches into the picture: feathered inside the mask, nothing outside it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import area, clip, grow, intersect
from handrefiner_ext.inpaint.closeup import Closeup, Floats, look_at, tiles
from handrefiner_ext.inpaint.fill import make_grain
from handrefiner_ext.types import Box, ControlMaps, Image, Mask


@dataclass(frozen=True)
class Patch:
    """Something to lay over the picture because of hand `number`.

    colour: (h, w, 3) of `view`, 0..1, already times alpha. alpha: (h, w).
    grain: standard deviation of the noise to add, 0..1.
    """

    view: Closeup
    colour: Floats
    alpha: Floats
    grain: float
    number: int


@dataclass
class Canvas:
    """The picture being painted, what may change in it, and whose turn has already been."""

    picture: Image
    maps: ControlMaps
    feather_px: int
    generator: np.random.Generator

    def lay(self, patch: Patch, behind: tuple[int, ...] = ()) -> None:
        """Blend `patch` in, except where one of the hands `behind` is known to be in front."""
        own, mask = self.maps.hand_masks[patch.number]
        for tile in tiles(intersect(patch.view.box, own)):
            if area(tile):
                weight = self._weight(tile, own, mask, behind)
                if weight.any():
                    self._blend(patch, tile, weight)

    def _weight(self, tile: Box, own: Box, mask: Mask, behind: tuple[int, ...]) -> Floats:
        """(h, w) of the tile: 0 outside the hand's mask, rising to 1 over the feather."""
        height, width = self.maps.mask.shape
        margin = self.feather_px + 2
        window = clip(grow(tile, margin, margin), height, width)
        allowed = np.zeros((window.height, window.width), dtype=bool)
        part = intersect(window, own)
        rows, columns = _inside(part, window), _inside(part, own)
        allowed[rows] = mask[columns] & self.maps.mask[part.slices]
        weight = _rise(allowed, self.feather_px)[_inside(tile, window)]
        if behind:
            weight = weight * ~np.isin(self.maps.owner[tile.slices], behind)
        return weight

    def _blend(self, patch: Patch, tile: Box, weight: Floats) -> None:
        target = look_at(tile, 1.0)
        alpha = patch.view.sample_for(patch.alpha, target) * weight
        colour = patch.view.sample_for(patch.colour, target) * weight[..., None]
        if patch.grain > 0.0:
            noise = make_grain(alpha.shape, self.generator)
            colour += (patch.grain * noise * alpha)[..., None]
        base = self.picture[tile.slices].astype(np.float32)
        mixed = base * (1.0 - alpha[..., None]) + 255.0 * colour
        painted = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
        self.picture[tile.slices] = np.where(alpha[..., None] > 0.0, painted, base.astype(np.uint8))


def _inside(part: Box, whole: Box) -> tuple[slice, slice]:
    """Slices of `part` in an array that covers `whole`."""
    rows, columns = part.slices
    return (
        slice(rows.start - whole.y0, rows.stop - whole.y0),
        slice(columns.start - whole.x0, columns.stop - whole.x0),
    )


def _rise(allowed: Mask, feather_px: int) -> Floats:
    """0 outside, 1 deeper than the feather. The picture's own edge is no edge of the mask."""
    if feather_px == 0 or allowed.all():
        return allowed.astype(np.float32)
    distance = cv2.distanceTransform(allowed.astype(np.uint8), cv2.DIST_L2, 3)
    t = np.clip(distance / (feather_px + 1.0), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def order_from_far(numbers: list[int], maps: ControlMaps) -> list[int]:
    """`numbers` so that a hand comes after those it covers; in a ring the lowest goes first."""
    waiting, ordered = sorted(numbers), []
    while waiting:
        free = [n for n in waiting if not _covers_any(n, waiting, maps)]
        chosen = (free or waiting)[0]
        waiting.remove(chosen)
        ordered.append(chosen)
    return ordered


def _covers_any(number: int, others: list[int], maps: ControlMaps) -> bool:
    return any(o.front == number and o.back in others for o in maps.overlaps)
