"""Decide hand by hand what of a painted picture is kept, and say why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from handrefiner_ext.judge.agreement import is_changed
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Advising, Inpainter
from handrefiner_ext.repaint import keep_best
from handrefiner_ext.repaint.drafts import find_unfit
from handrefiner_ext.repaint.task import DETERMINISTIC, Outcome, Task
from handrefiner_ext.types import (
    Assessment,
    Decision,
    Image,
    Painting,
    Quality,
    Trial,
)

REPAINTED = "Repainted and kept."
NOTHING_TO_PAINT = "The mask leaves nothing of this hand to paint."
PAINTED_THE_SAME = "The backend painted the same pixels again."


@dataclass(frozen=True)
class Chosen:
    """One painted picture, and how it was put together.

    strengths, candidates: number of a hand -> the strength or candidate it was taken from. tried:
    all pictures that were painted to choose from, as judged.
    """

    painting: Painting
    strengths: Mapping[int, float] = field(default_factory=dict)
    candidates: Mapping[int, int] = field(default_factory=dict)
    tried: tuple[Trial, ...] = ()


def decide(task: Task, chosen: Chosen) -> Outcome:
    """Return the picture to keep and a decision for every hand."""
    image, hints = task.image, task.hints
    [painted] = chosen.painting.pictures
    if np.array_equal(painted, image):
        painted = image
    problems = chosen.painting.problems
    before = assess(task, image)
    after = before if painted is image else _assess_new(task, painted, [b.quality for b in before])
    decisions = tuple(
        _credit(
            _decide_hand(
                number, task, painted, (before[number], after[number]), problems.get(number)
            ),
            chosen,
        )
        for number in range(len(hints.meshes))
    )
    notes = _notes(task.params, task.inpainter)
    outcome = Outcome(
        painted,
        decisions,
        notes,
        tuple(picture for picture, _ in chosen.tried),
        chosen.painting.control_model,
        chosen.tried or (() if painted is image else ((painted, after),)),
    )
    if not task.params.keep_best or painted is image:
        return outcome
    return _hold_back(task, outcome)


def _credit(decision: Decision, chosen: Chosen) -> Decision:
    """Return the decision with the strength and the candidate that the new hand came from."""
    strength = chosen.strengths.get(decision.number)
    candidate = chosen.candidates.get(decision.number)
    if decision.refined and candidate is not None and len(chosen.tried) > 1:
        said = f"Candidate {candidate + 1} of {len(chosen.tried)} looked best."
        decision = replace(decision, reason=said)
    return replace(decision, strength=strength, candidate=candidate)


def assess(task: Task, picture: Image) -> tuple[Assessment, ...]:
    """Assess every hand of a picture; measure quality only if asked for or needed to decide."""
    agreements = task.measure(picture)
    if not (task.evaluates or keep_best.needs_quality(task.params)):
        return tuple(Assessment(agreement) for agreement in agreements)
    qualities = task.rate(picture)
    return tuple(Assessment(a, q) for a, q in zip(agreements, qualities, strict=True))


def _assess_new(
    task: Task, painted: Image, before: Sequence[Quality | None]
) -> tuple[Assessment, ...]:
    """Every hand of a painted picture, read afresh where the old hand was malformed.

    What is found there need not lie on the mesh, which was fitted to the malformed hand.
    """
    after = list(assess(task, painted))
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if keep_best.is_malformed(old) and keep_best.is_misread(new):
            own = task.rate_afresh(painted, number)
            if own is not None and (new.quality is None or own.score > new.quality.score):
                after[number] = replace(new, quality=own)
    return tuple(after)


def _hold_back(task: Task, outcome: Outcome) -> Outcome:
    """Return the outcome with the original in place of every new hand that is not better.

    Assumed hands are not judged: the user asked for them, and no hand was seen there before. Nor is
    a depth map of the user's own in which no hand can be read, or below which none is seen.
    """
    image, hints, margin = task.image, task.hints, task.params.keep_margin
    judged = [d for d in outcome.decisions if hints.meshes[d.number].is_known]
    same = {
        number
        for number, place in enumerate(hints.maps.hand_masks)
        if not is_changed(image, outcome.image, place, hints.meshes[number].size_px)
    }
    reasons = keep_best.find_worse(judged, hints.maps, margin, same)
    # Stable Diffusion paints a background that fits; the draft cannot know what lies behind a hand.
    if task.inpainter.name in DETERMINISTIC:
        unfit = find_unfit(image, outcome.image, hints, judged, task.params.guards)
        reasons = {**unfit, **reasons}
    held = _give_back(task, outcome, reasons)
    return _give_back(task, held, _find_spoiled(task, held))


def _give_back(task: Task, outcome: Outcome, reasons: Mapping[int, str]) -> Outcome:
    """Return the outcome with the original in place of these hands. reasons: number -> why."""
    decisions = tuple(
        replace(decision, refined=False, reason=reasons[decision.number])
        if decision.refined and decision.number in reasons
        else decision
        for decision in outcome.decisions
    )
    kept = keep_best.give_back(task.image, outcome.image, frozenset(reasons), task.hints.maps)
    return replace(outcome, image=kept, decisions=decisions)


def _find_spoiled(task: Task, outcome: Outcome) -> dict[int, str]:
    """Return number -> reason for new hands that were good only with what was given back."""
    meshes, maps = task.hints.meshes, task.hints.maps
    judged = [d for d in outcome.decisions if meshes[d.number].is_known]
    mixed = keep_best.find_mixed(maps, judged)
    if not mixed:
        return {}
    seen = _assess_new(task, outcome.image, [d.quality_before for d in outcome.decisions])
    spoiled: dict[int, str] = {}
    for group in mixed:
        new = [d for d in judged if d.number in group and d.refined]
        again = [
            replace(d, after=seen[d.number].agreement, quality_after=seen[d.number].quality)
            for d in new
        ]
        if any(keep_best.is_worse(decision) for decision in again):
            spoiled.update(dict.fromkeys((d.number for d in new), keep_best.SPOILED))
    return spoiled


def _decide_hand(
    number: int,
    task: Task,
    painted: Image,
    assessed: tuple[Assessment, Assessment],
    problem: str | None,
) -> Decision:
    """Return the decision on one hand before keep_best has its say.

    assessed: the hand before and after. problem: why its region could not be painted, or None.
    """
    before, after = assessed
    # Pixels of a hand that failed may still change: another region's mask can reach into its own.
    refined = problem is None and task.is_painted(number, painted)
    reason = REPAINTED
    if not refined:
        _, mask = task.hints.maps.hand_masks[number]
        empty = NOTHING_TO_PAINT if not mask.any() else PAINTED_THE_SAME
        reason = task.left_alone.get(number, problem or empty)
    return Decision(
        number,
        refined,
        reason,
        before.agreement,
        after.agreement if refined else None,
        quality_before=before.quality,
        quality_after=after.quality if refined else None,
        failed=problem is not None and number not in task.left_alone,
    )


def _notes(params: RefineParams, inpainter: Inpainter) -> tuple[str, ...]:
    """Return the inpainter's advice, or which of the parameters that were changed it ignores."""
    if inpainter.name not in DETERMINISTIC:
        return inpainter.advise(params) if isinstance(inpainter, Advising) else ()
    return tuple(
        f"{f.name}: the {inpainter.name} backend {effect}."
        for f in fields(params)
        if (effect := f.metadata["knob"].in_draft) and getattr(params, f.name) != f.default
    )
