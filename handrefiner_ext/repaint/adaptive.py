"""Adaptive strength: each region gets the least strength that is enough for it.

Pictures are painted whole, at one strength each, and every region takes its part from the picture
of its own strength; so two regions share the pictures that both need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from handrefiner_ext.geometry.regions import group_overlapping
from handrefiner_ext.repaint.once import Chosen, settle
from handrefiner_ext.repaint.task import Outcome, Task
from handrefiner_ext.types import Agreement, Image, Painting, RegionReport

REFERENCE = 1.0
STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TOLERANCE = 1.15

ErrorAt = Callable[[float], float]
"""Strength -> error of the hand painted with it; infinite where no such hand is seen."""
Search = Callable[[ErrorAt], float]
"""The strength that is enough."""


def try_in_order(error_at: ErrorAt) -> float:
    """As in the paper: upwards until one is good enough; 2 to 7 pictures."""
    limit = TOLERANCE * error_at(REFERENCE)
    return next((s for s in STRENGTHS if error_at(s) < limit), REFERENCE)


def bisect(error_at: ErrorAt) -> float:
    """The same strength wherever a greater one never makes the error cross the limit upwards.

    The error falls once, at the phase transition that the paper describes, so halving what is left
    finds it with 3 or 4 pictures.
    """
    limit = TOLERANCE * error_at(REFERENCE)
    low, high = 0, len(STRENGTHS)
    while low < high:
        middle = (low + high) // 2
        if error_at(STRENGTHS[middle]) < limit:
            high = middle
        else:
            low = middle + 1
    return STRENGTHS[low] if low < len(STRENGTHS) else REFERENCE


SEARCHES: dict[str, Search] = {"paper": try_in_order, "fast": bisect}


def paint_adaptively(task: Task) -> Outcome:
    """Search the strength of every region; exactly the pixels that were judged are returned."""
    search = SEARCHES[task.params.adaptive_strength]
    trials = _Trials(task)
    chosen = task.image.copy()
    strengths: dict[int, float] = {}
    regions: list[RegionReport] = []
    control_model: str | None = None
    for numbers in group_overlapping(list(task.hints.maps.hand_masks)):
        strength = search(partial(trials.error_at, numbers))
        trial = trials.at(strength)
        control_model = trial.painting.control_model
        problems = trial.painting.problems
        for number in numbers:
            regions.append(RegionReport((number,), problems.get(number)))
            strengths[number] = strength
            box, mask = task.hints.maps.hand_masks[number]
            chosen[box.slices][mask] = trial.picture[box.slices][mask]
    painting = Painting((chosen,), tuple(regions), control_model)
    return settle(task, Chosen(painting, strengths))


@dataclass(frozen=True)
class _Trial:
    """The picture painted at one strength, and how it agrees with the meshes."""

    painting: Painting
    agreements: tuple[Agreement, ...]

    @property
    def picture(self) -> Image:
        return self.painting.pictures[0]


@dataclass
class _Trials:
    """Every strength is painted at most once."""

    task: Task
    made: dict[float, _Trial] = field(default_factory=dict)

    def at(self, strength: float) -> _Trial:
        if strength not in self.made:
            painting = self.task.paint(replace(self.task.params, strength=strength))
            agreements = self.task.measure(painting.pictures[0])
            self.made[strength] = _Trial(painting, agreements)
        return self.made[strength]

    def error_at(self, numbers: tuple[int, ...], strength: float) -> float:
        """The worst error of a region's hands, hand sizes.

        Infinite where a hand is not seen, and where nothing was painted: the old hand lies near
        its mesh because the mesh was fitted to it.
        """
        trial = self.at(strength)
        errors = [trial.agreements[number].mpjpe for number in numbers]
        if not any(self._is_painted(number, trial.picture) for number in numbers):
            return float("inf")
        return max(float("inf") if error is None else error for error in errors)

    def _is_painted(self, number: int, picture: Image) -> bool:
        box, mask = self.task.hints.maps.hand_masks[number]
        differs = picture[box.slices] != self.task.image[box.slices]
        return bool(np.any(differs.any(axis=2) & mask))
