"""The records that every policy of repainting takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import CandidatePainter, Inpainter, PaintRequest
from handrefiner_ext.types import (
    Agreement,
    Decision,
    Hints,
    Image,
    Painting,
    Quality,
    Trial,
)

Measure = Callable[[Image], tuple[Agreement, ...]]
"""Takes a picture, returns the agreement of every mesh with it."""
Rate = Callable[[Image], tuple[Quality, ...]]
"""Takes a picture, returns the quality of what is seen in the place of every mesh."""

RateAfresh = Callable[[Image, int], Quality | None]
"""Takes a picture and the number of a mesh, returns the quality of the hand that the detector finds
by itself where that mesh was painted; None if it finds none."""

DETERMINISTIC = ("draft",)
"""Backends that paint the same whatever the seed and the strength."""


@dataclass(frozen=True)
class Outcome:
    """The picture kept, and why.

    image: the input object itself if no pixel changed. candidates: all pictures that were painted
    to choose from. tried: those, or the one that was painted, as judged.
    """

    image: Image
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]
    candidates: tuple[Image, ...] = ()
    control_model: str | None = None
    tried: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Task:
    """A picture whose hands are to be repainted, and the backends for it.

    left_alone: number of a hand that is not painted -> why. evaluates: measure the qualities even
    if nothing is decided by them.
    """

    image: Image
    hints: Hints
    params: RefineParams
    inpainter: Inpainter
    measure: Measure
    rate: Rate
    rate_afresh: RateAfresh
    left_alone: Mapping[int, str] = field(default_factory=dict)
    evaluates: bool = False

    def paint(self, params: RefineParams, count: int = 1) -> Painting:
        """Paint all hands `count` times, each time with the next seed.

        Returns at least one picture. Pixels outside the mask stay, whatever the backend does.
        """
        maps = self.hints.maps
        if not maps.mask.any():
            return Painting((self.image,))
        request = PaintRequest(self.image, self.hints.meshes, maps, params)
        painting = paint_several(self.inpainter, request, count)
        inside = maps.mask[..., None]
        kept = tuple(np.where(inside, picture, self.image) for picture in painting.pictures)
        return replace(painting, pictures=kept)

    def is_painted(self, number: int, picture: Image) -> bool:
        """Return whether a picture differs from the original within the mask of a hand."""
        box, mask = self.hints.maps.hand_masks[number]
        differs = (picture[box.slices] != self.image[box.slices]).any(axis=2)
        return bool((differs & mask).any())

    def without(self, reasons: Mapping[int, str]) -> Task:
        """Return the task with these hands left alone, by emptying their masks."""
        maps = self.hints.maps
        kept = tuple(
            (box, np.zeros_like(mask) if number in reasons else mask)
            for number, (box, mask) in enumerate(maps.hand_masks)
        )
        hints = replace(self.hints, maps=maps.narrow(kept))
        return replace(self, hints=hints, left_alone={**self.left_alone, **reasons})


def paint_several(inpainter: Inpainter, request: PaintRequest, count: int) -> Painting:
    """Paint with the seeds seed, seed + 1, …; all at once if the inpainter can."""
    if isinstance(inpainter, CandidatePainter):
        return inpainter.paint_candidates(request, count)
    requests = map(request.with_seed_after, range(count))
    return Painting(tuple(map(inpainter.paint, requests)))
