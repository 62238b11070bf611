"""What a policy has to work on, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from handrefiner_ext.params import SEEDS, RefineParams
from handrefiner_ext.protocols import CandidatePainter, Inpainter
from handrefiner_ext.types import (
    Agreement,
    ControlMaps,
    Decision,
    HandMesh,
    Hints,
    Image,
    Painting,
    Quality,
)

Measure = Callable[[Image], tuple[Agreement, ...]]
"""Agreement of every mesh with a picture."""
Rate = Callable[[Image], tuple[Quality, ...]]
"""Quality of what is seen in every mesh's place."""

WITHOUT_CHANCE = ("draft",)
"""Backends that paint the same at every seed and every strength."""


@dataclass(frozen=True)
class Outcome:
    """The picture kept (the input object itself where no pixel changed), and why."""

    image: Image
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]
    candidates: tuple[Image, ...] = ()
    control_model: str | None = None


@dataclass(frozen=True)
class Task:
    """What a policy has to work on.

    left_alone: hands that are not to be painted, number -> why. evaluates: whether qualities are to
    be measured, also where nothing hangs on them.
    """

    image: Image
    hints: Hints
    params: RefineParams
    inpainter: Inpainter
    measure: Measure
    rate: Rate
    left_alone: Mapping[int, str] = field(default_factory=dict)
    evaluates: bool = False

    def paint(self, params: RefineParams, count: int = 1) -> Painting:
        """Paint all hands `count` times, each time with the next seed; at least one picture.

        Pixels outside the mask stay, whatever the backend does.
        """
        maps = self.hints.maps
        if not maps.mask.any():
            return Painting((self.image,))
        painting = paint_candidates(
            self.inpainter, self.image, self.hints.meshes, maps, params, count
        )
        inside = maps.mask[..., None]
        kept = tuple(np.where(inside, picture, self.image) for picture in painting.pictures)
        return replace(painting, pictures=kept)

    def without(self, reasons: Mapping[int, str]) -> Task:
        """The task with these hands left alone: their masks are empty."""
        maps = self.hints.maps
        kept = tuple(
            (box, np.zeros_like(mask) if number in reasons else mask)
            for number, (box, mask) in enumerate(maps.hand_masks)
        )
        whole = np.zeros_like(maps.mask)
        for box, mask in kept:
            whole[box.slices] |= mask
        hints = replace(self.hints, maps=replace(maps, hand_masks=kept, mask=whole & maps.mask))
        return replace(self, hints=hints, left_alone={**self.left_alone, **reasons})


def paint_candidates(
    inpainter: Inpainter,
    image: Image,
    meshes: tuple[HandMesh, ...],
    maps: ControlMaps,
    params: RefineParams,
    count: int,
) -> Painting:
    """Pictures of the seeds seed, seed + 1, …, together where the inpainter can."""
    if isinstance(inpainter, CandidatePainter):
        return inpainter.paint_candidates(image, meshes, maps, params, count)
    seeds = [(params.seed + shift) % SEEDS for shift in range(count)]
    return Painting(
        tuple(inpainter.paint(image, meshes, maps, replace(params, seed=s)) for s in seeds)
    )
