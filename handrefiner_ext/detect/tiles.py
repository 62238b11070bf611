"""Tiles of a picture to search."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from handrefiner_ext.types import Box

AUTO_FROM = 768
"""Long side, in pixels, above which `auto` uses tiles.

The palm network sees hands down to about 12 % of the long side; in 64 photographs with 90 visible
hands it found 50 at once, 62 with 2 x 2 tiles and 69 with 3 x 3 as well."""
SMALLEST_TILE = 192
"""Side of the palm network's input: enlarging a smaller tile gains nothing."""


@dataclass(frozen=True)
class TilePlan:
    """How thoroughly to search.

    finest_px, finest_share: smallest side of the finest tiles, in pixels and as a share of the
    picture's mean side; the larger one counts. level_ratio: largest ratio between the tile sides of
    two levels. overlap: what neighbours share, in tile sides. most_tiles: bound on the work.
    """

    finest_px: float
    finest_share: float
    level_ratio: float
    overlap: float
    most_tiles: int


PLANS = {
    "auto": TilePlan(320, 0.2, 3.3, 0.3, 96),
    "on": TilePlan(256, 0.15, 2.0, 0.4, 110),
}


def plan_tiles(height: int, width: int, mode: str) -> list[Box]:
    """Return the tiles of a picture, coarse to fine, without the picture itself.

    mode: off, auto or on.
    """
    long_side = max(height, width)
    if mode == "off" or (mode == "auto" and long_side <= AUTO_FROM):
        return []
    plan = PLANS[mode]
    share = plan.finest_share * math.sqrt(height * width)
    finest = max(min(plan.finest_px, long_side / 3), share, SMALLEST_TILE)
    while True:
        sides = _level_sides(long_side, finest, plan.level_ratio)
        tiles = [tile for side in sides for tile in _grid(height, width, side, plan.overlap)]
        if len(tiles) <= plan.most_tiles:
            return tiles
        finest *= 1.1


def _level_sides(long_side: int, finest: float, level_ratio: float) -> list[int]:
    """Return tile sides from coarse to `finest`, in equal ratios."""
    if finest >= long_side:
        return []
    levels = math.ceil(math.log(long_side / finest) / math.log(level_ratio))
    steps = (level / levels for level in range(1, levels + 1))
    return [round(long_side * (finest / long_side) ** step) for step in steps]


def _grid(height: int, width: int, side: int, overlap: float) -> list[Box]:
    return [
        Box(x, y, min(x + side, width), min(y + side, height))
        for y in _origins(height, side, overlap)
        for x in _origins(width, side, overlap)
    ]


def _origins(length: int, side: int, overlap: float) -> list[int]:
    """Return evenly spread starts of tiles of `side` that cover `length`."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / ((1 - overlap) * side)) + 1
    return [round(v) for v in np.linspace(0, length - side, count)]
