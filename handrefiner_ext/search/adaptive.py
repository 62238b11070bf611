"""Adaptive strength: each region gets the least strength that is enough for it.

Pictures are painted whole, at one strength each, and every region takes its part from the picture
of its own strength; so two regions share the pictures that both need.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from handrefiner_ext.geometry.regions import group_overlapping
from handrefiner_ext.search.one_pass import Chosen, settle
from handrefiner_ext.search.strengths import SEARCHES
from handrefiner_ext.search.task import Outcome, Task
from handrefiner_ext.types import Agreement, Image


def paint_adaptively(task: Task) -> Outcome:
    """Search the strength of every region; exactly the pixels that were judged are returned."""
    search = SEARCHES[task.params.adaptive_strength]
    trials = _Trials(task)
    chosen = task.image.copy()
    strengths: dict[int, float] = {}
    for numbers in group_overlapping(list(task.hints.maps.hand_masks)):
        strength = search(partial(trials.error_at, numbers))
        picture = trials.at(strength).picture
        for number in numbers:
            strengths[number] = strength
            box, mask = task.hints.maps.hand_masks[number]
            chosen[box.slices][mask] = picture[box.slices][mask]
    return settle(task, Chosen(chosen, strengths))


@dataclass(frozen=True)
class _Trial:
    """The picture painted at one strength, and how it agrees with the meshes."""

    picture: Image
    agreements: tuple[Agreement, ...]


@dataclass
class _Trials:
    """Every strength is painted at most once."""

    task: Task
    made: dict[float, _Trial] = field(default_factory=dict)

    def at(self, strength: float) -> _Trial:
        if strength not in self.made:
            picture = self.task.paint(replace(self.task.params, strength=strength))
            self.made[strength] = _Trial(picture, self.task.measure(picture))
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
