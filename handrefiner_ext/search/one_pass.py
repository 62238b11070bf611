"""The simplest policy: every hand is painted once; the guard may give single hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from handrefiner_ext.params import OFF, RefineParams
from handrefiner_ext.search import guard
from handrefiner_ext.types import (
    Advising,
    Agreement,
    Decision,
    Hints,
    Image,
    Inpainter,
)

Measure = Callable[[Image], tuple[Agreement, ...]]
"""Agreement of every mesh with a picture."""

NOTHING_TO_PAINT = "The mask leaves nothing of this hand to paint."
PAINTED_THE_SAME = "The backend painted the same pixels again."


@dataclass(frozen=True)
class Outcome:
    """The picture kept (the input object itself where no pixel changed), and why."""

    image: Image
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What a policy has to work on. measure: agreement of every mesh with a picture."""

    image: Image
    hints: Hints
    params: RefineParams
    inpainter: Inpainter
    measure: Measure

    def paint(self, params: RefineParams) -> Image:
        """All hands painted once; whatever a backend does, pixels outside the mask stay."""
        if not self.hints.maps.mask.any():
            return self.image
        maps = self.hints.maps
        painted = self.inpainter.paint(self.image, self.hints.meshes, maps, params)
        return np.where(maps.mask[..., None], painted, self.image)


def paint_once(task: Task) -> Outcome:
    """Paint all hands once and measure them before and after."""
    return settle(task, task.paint(task.params), {})


def settle(task: Task, painted: Image, strengths: Mapping[int, float]) -> Outcome:
    """What becomes of `painted`, hand by hand. strengths: by hand, where they were searched."""
    image, hints, params = task.image, task.hints, task.params
    before = task.measure(image)
    if np.array_equal(painted, image):
        painted = image
    after = before if painted is image else task.measure(painted)
    decisions = tuple(
        replace(
            _decide(number, image, painted, hints, (before[number], after[number])),
            strength=strengths.get(number),
        )
        for number in range(len(hints.meshes))
    )
    outcome = Outcome(painted, decisions, _notes(params, task.inpainter))
    if not params.keep_best or painted is image:
        return outcome
    return _hold_back(outcome, image, after, hints)


def _hold_back(
    outcome: Outcome, image: Image, after: tuple[Agreement, ...], hints: Hints
) -> Outcome:
    """The outcome with the original in place of every new hand that is none."""
    lost = guard.find_lost(after, hints.maps)
    decisions = tuple(
        replace(decision, refined=False, reason=guard.explain(after[decision.number]))
        if decision.refined and decision.number in lost
        else decision
        for decision in outcome.decisions
    )
    kept = guard.give_back(image, outcome.image, lost, hints.maps)
    return replace(outcome, image=kept, decisions=decisions)


def _decide(
    number: int, image: Image, painted: Image, hints: Hints, agreement: tuple[Agreement, Agreement]
) -> Decision:
    before, after = agreement
    box, mask = hints.maps.hand_masks[number]
    if not mask.any():
        return Decision(number, False, NOTHING_TO_PAINT, before, None)
    changed = (painted[box.slices] != image[box.slices]).any(axis=2) & mask
    if not changed.any():
        return Decision(number, False, PAINTED_THE_SAME, before, None)
    return Decision(number, True, "Painted once and kept.", before, after)


def _notes(params: RefineParams, inpainter: Inpainter) -> tuple[str, ...]:
    notes = []
    default = {f.name: f.default for f in fields(params)}
    if inpainter.name == "draft" and params.strength != default["strength"]:
        notes.append(f"strength: the draft backend ignores it ({params.strength:g} was given).")
    for name in ("sampling", "start"):
        if inpainter.name == "draft" and getattr(params, name) != default[name]:
            notes.append(f"{name}: the draft backend ignores it.")
    if inpainter.name == "draft" and params.adaptive_strength != OFF:
        notes.append("adaptive_strength: the draft backend has no strength to search for.")
    advice = inpainter.advise(params) if isinstance(inpainter, Advising) else ()
    return (*notes, *advice)
