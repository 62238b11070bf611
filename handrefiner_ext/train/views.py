"""The pictures of a set as `refine` sees them: close-ups of hands."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import bounding_box
from handrefiner_ext.train.data import Example, HandSet, fit, fit_depth
from handrefiner_ext.types import Box

VIEWS = 4
"""Of each picture: the whole, and close-ups."""
NARROWEST, WIDEST = 1.3, 2.4
"""Side of a close-up, as a share of the longer side of the hand's box."""
ENLARGED = 2
"""Pictures are read at so many times the side that is learnt, so that close-ups are sharp."""
VIEW = 2


class Pictures(Protocol):
    """Examples with sides of `size` pixels."""

    size: int

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> Example: ...


class CloseUps:
    """VIEWS views of each picture of a set. seed: of where they are taken."""

    def __init__(self, folder: Path, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.whole = HandSet(folder, size * ENLARGED)

    def __len__(self) -> int:
        return VIEWS * len(self.whole)

    def __getitem__(self, number: int) -> Example:
        example = self.whole[number // VIEWS]
        rng = np.random.default_rng([self.seed, VIEW, number])
        box = Box(0, 0, self.whole.size, self.whole.size)
        if number % VIEWS and (example.control > 0).any():
            box = choose_view(example.control, rng)
        image = fit(example.image[box.slices], self.size)
        control = fit_depth(np.ascontiguousarray(example.control[box.slices]), self.size)
        return Example(image, control, example.prompt)


def choose_view(
    control: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], rng: np.random.Generator
) -> Box:
    """Return a square of the picture around one of its hands, which may lie anywhere in it."""
    side = control.shape[0]
    count, labels = cv2.connectedComponents((control > 0).astype(np.uint8))
    rows, columns = np.nonzero(labels == rng.integers(1, count))
    hand = bounding_box(np.column_stack([columns, rows]))
    longer = max(hand.width, hand.height)
    wide = int(np.clip(round(longer * rng.uniform(NARROWEST, WIDEST)), side // 4, side))
    x0, y0 = (
        _place(start, length, wide, side, rng)
        for start, length in ((hand.x0, hand.width), (hand.y0, hand.height))
    )
    return Box(x0, y0, x0 + wide, y0 + wide)


def _place(start: int, length: int, wide: int, side: int, rng: np.random.Generator) -> int:
    """Where `wide` pixels of `side` begin that hold the `length` after `start`."""
    spare = wide - length
    first = start - round(spare * rng.uniform(0.2, 0.8))
    return min(max(first, 0), side - wide)
