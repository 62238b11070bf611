"""Overlapping square parts of a picture, for hands too small for the palm network.

The network sees hands down to about an eighth of the side it is shown. Each level of tiles is
finer than the last by less than the range it covers, and tiles overlap by more than the largest
hand that only their own level can find, so that every hand lies whole in some tile.
"""

from __future__ import annotations

import math

import numpy as np

from handrefiner_ext.types import Box

AUTO_FROM = 768
"""Long side, in pixels, above which `auto` uses tiles."""
LEVEL_RATIO = 1.7
OVERLAP = 0.4
"""Common part of neighbouring tiles, in tile sides."""
AUTO_FINEST, ON_FINEST = (320, 0.2), (256, 0.0)
"""Side of the finest tiles: at least so many pixels and at least this part of the long side."""
SMALLEST_TILE = 192
"""Nothing is gained by enlarging the picture for a 192-pixel network."""
MOST_TILES = {"auto": 128, "on": 400}


def plan_tiles(height: int, width: int, mode: str) -> list[Box]:
    """Tiles for a picture, coarse to fine, without the picture itself; mode: off, auto, on."""
    long_side = max(height, width)
    if mode == "off" or (mode == "auto" and long_side <= AUTO_FROM):
        return []
    pixels, share = ON_FINEST if mode == "on" else AUTO_FINEST
    finest = max(min(float(pixels), long_side / 4), share * long_side, SMALLEST_TILE)
    while True:
        tiles = [t for side in _level_sides(long_side, finest) for t in _grid(height, width, side)]
        if len(tiles) <= MOST_TILES[mode] or finest >= long_side:
            return tiles
        finest *= 1.1


def _level_sides(long_side: int, finest: float) -> list[int]:
    """Tile sides from coarse to `finest`, in equal ratios of at most LEVEL_RATIO."""
    if finest >= long_side:
        return []
    levels = math.ceil(math.log(long_side / finest) / math.log(LEVEL_RATIO))
    return [
        round(long_side * (finest / long_side) ** (level / levels))
        for level in range(1, levels + 1)
    ]


def _grid(height: int, width: int, side: int) -> list[Box]:
    return [
        Box(x, y, min(x + side, width), min(y + side, height))
        for y in _origins(height, side)
        for x in _origins(width, side)
    ]


def _origins(length: int, side: int) -> list[int]:
    """Evenly spread starts of tiles of `side` that cover `length` with the overlap."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / ((1 - OVERLAP) * side)) + 1
    return [round(v) for v in np.linspace(0, length - side, count)]
