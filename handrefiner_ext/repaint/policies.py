"""How often a picture is painted and what of it is kept, chosen by the parameters."""

from __future__ import annotations

from collections.abc import Callable

from handrefiner_ext.params import OFF, RefineParams
from handrefiner_ext.repaint.adaptive import paint_adaptively
from handrefiner_ext.repaint.candidates import paint_candidates
from handrefiner_ext.repaint.once import paint_once
from handrefiner_ext.repaint.task import WITHOUT_CHANCE, Outcome, Task


def leave_good_hands(task: Task) -> Task:
    """The task without the hands whose quality is at least `skip_good`; 0 leaves none out."""
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


Policy = Callable[[Task], Outcome]


def choose_policy(params: RefineParams, backend: str) -> Policy:
    """How often to paint, for the inpainting backend of that name."""
    if backend in WITHOUT_CHANCE:
        return paint_once
    if params.adaptive_strength != OFF:
        return paint_adaptively
    return paint_candidates if params.candidates > 1 else paint_once


def carry_out(task: Task) -> Outcome:
    """Leave good hands alone, paint the others as often as asked, keep what is better."""
    return choose_policy(task.params, task.inpainter.name)(leave_good_hands(task))
