"""How often a picture is painted and what of it is kept, chosen by the parameters."""

from __future__ import annotations

from collections.abc import Callable

from handrefiner_ext.params import OFF, RefineParams
from handrefiner_ext.search.adaptive import paint_adaptively
from handrefiner_ext.search.candidates import paint_candidates
from handrefiner_ext.search.one_pass import paint_once
from handrefiner_ext.search.skipping import leave_good_hands
from handrefiner_ext.search.task import WITHOUT_CHANCE, Outcome, Task

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
