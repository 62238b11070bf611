"""Decide how often a picture's hands are painted: once, several times, or at several strengths.

Pictures are always painted whole. Hands whose masks overlap are one region, and each region takes
its pixels from the picture that suits it best, so that regions share the pictures they need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from handrefiner_ext.geometry.boxes import group_overlapping
from handrefiner_ext.params import OFF, RefineParams
from handrefiner_ext.repaint.deciding import Chosen, assess, decide
from handrefiner_ext.repaint.keep_best import is_lost
from handrefiner_ext.repaint.task import DETERMINISTIC, Outcome, Task
from handrefiner_ext.types import Agreement, Assessment, Image, Painting, RegionReport

Policy = Callable[[Task], Outcome]

LOST = -1.0
"""Worth of a candidate in which the hand of the mesh is not seen; less than any quality."""
DISTANCE_WEIGHT = 0.5
"""Quality that a candidate loses per hand size of distance from its mesh, so that of two equally
well drawn hands the nearer one is taken."""

REFERENCE = 1.0
STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TOLERANCE = 1.15
"""The rule of the paper's code (Lu et al. 2023, arXiv 2311.17957): take the lowest of STRENGTHS
whose error is below TOLERANCE times the error at REFERENCE."""

ErrorAt = Callable[[float], float]
"""Takes a strength, returns the error of the hand painted with it; infinite if none is seen."""
Search = Callable[[ErrorAt], float]
"""Returns the lowest strength that is enough."""


def carry_out(task: Task) -> Outcome:
    """Leave good hands alone, paint the others as often as asked, and keep what is better."""
    return choose_policy(task.params, task.inpainter.name)(leave_good_hands(task))


def choose_policy(params: RefineParams, backend: str) -> Policy:
    """Return how often to paint with the inpainting backend of that name."""
    if backend in DETERMINISTIC:
        return paint_once
    if params.adaptive_strength != OFF:
        return paint_adaptively
    return paint_candidates if params.candidates > 1 else paint_once


def leave_good_hands(task: Task) -> Task:
    """Return the task without the hands whose quality is at least `skip_good`; 0 skips none."""
    least = task.params.skip_good
    if not least:
        return task
    qualities = task.rate(task.image)
    reasons = {
        number: f"It looks well formed: its quality {quality.score:.2f} is at least skip_good "
        f"{least:g}."
        for number, quality in enumerate(qualities)
        if quality.score >= least
    }
    return task.without(reasons) if reasons else task


def paint_once(task: Task) -> Outcome:
    """Paint all hands once."""
    return decide(task, Chosen(task.paint(task.params)))


def paint_candidates(task: Task) -> Outcome:
    """Paint `candidates` pictures; each region takes the one in which its worst hand is best."""
    painting = task.paint(task.params, task.params.candidates)
    pictures = painting.pictures
    assessed = [assess(task, picture) for picture in pictures]
    chosen, numbers = task.image.copy(), {}
    for group in group_overlapping(list(task.hints.maps.hand_masks)):
        worth = [min(rank(hands[number]) for number in group) for hands in assessed]
        best = worth.index(max(worth))
        for number in group:
            numbers[number] = best
            box, mask = task.hints.maps.hand_masks[number]
            chosen[box.slices][mask] = pictures[best][box.slices][mask]
    return decide(
        task,
        Chosen(
            replace(painting, pictures=(chosen,)),
            candidates=numbers,
            tried=tuple(zip(pictures, assessed, strict=True)),
        ),
    )


def rank(hand: Assessment) -> float:
    """Return how much a candidate's hand is worth; LOST if the hand of the mesh is not seen."""
    if is_lost(hand.agreement) or hand.agreement.mpjpe is None:
        return LOST
    quality = 0.0 if hand.quality is None else hand.quality.score
    return quality - DISTANCE_WEIGHT * hand.agreement.mpjpe


def paint_adaptively(task: Task) -> Outcome:
    """Paint each region with the lowest strength that is enough for it.

    The picture returned is made of the very pixels that were judged, not of a later painting.
    """
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
    return decide(task, Chosen(painting, strengths))


def try_in_order(error_at: ErrorAt) -> float:
    """Search upwards until one strength is good enough, as the paper does: 2 to 7 pictures."""
    limit = TOLERANCE * error_at(REFERENCE)
    return next((s for s in STRENGTHS if error_at(s) < limit), REFERENCE)


def bisect(error_at: ErrorAt) -> float:
    """Halve the range until one strength is left: 3 or 4 pictures.

    The error falls once, at the phase transition that the paper describes. The answer is that of
    `try_in_order` unless a greater strength makes the error cross the limit upwards again.
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
    """Paints the picture at the strengths asked for, at each of them once."""

    task: Task
    made: dict[float, _Trial] = field(default_factory=dict)

    def at(self, strength: float) -> _Trial:
        if strength not in self.made:
            painting = self.task.paint(replace(self.task.params, strength=strength))
            agreements = self.task.measure(painting.pictures[0])
            self.made[strength] = _Trial(painting, agreements)
        return self.made[strength]

    def error_at(self, numbers: tuple[int, ...], strength: float) -> float:
        """Return the worst error of a region's hands, in hand sizes; infinite if one is not seen.

        It is infinite, too, if nothing was painted: the old hand is near its mesh only because the
        mesh was fitted to it.
        """
        trial = self.at(strength)
        errors = [trial.agreements[number].mpjpe for number in numbers]
        if not any(self.task.is_painted(number, trial.picture) for number in numbers):
            return float("inf")
        return max(float("inf") if error is None else error for error in errors)
