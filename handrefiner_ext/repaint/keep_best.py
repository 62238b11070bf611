"""keep_best: nothing is replaced by something that is not better.

A new hand must be the hand of its mesh, look another, and be better drawn than the old one by a
margin.
The distance between landmarks and mesh before and after cannot be compared, because the mesh was
fitted to the landmarks before; the quality, which knows no mesh, can.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from handrefiner_ext.geometry.probability import log_odds, logistic
from handrefiner_ext.geometry.regions import group_overlapping
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Agreement, ControlMaps, Decision, Image, Quality

FARTHEST = 0.15
"""Mean distance from the mesh, hand sizes, up to which a hand counts as that of the mesh."""
EDGE = 1e-3
"""A quality of 0 or 1 counts as so near to it."""
SAME = "The original was kept: the new hand looks like it, but for its grain."


def needs_quality(params: RefineParams) -> bool:
    """Whether anything is decided by quality."""
    return params.keep_best or params.candidates > 1


def find_worse(
    decisions: Sequence[Decision],
    maps: ControlMaps,
    margin: float,
    same: AbstractSet[int],
) -> dict[int, str]:
    """Number -> reason, of the hands to give back.

    Hands of one region go together: all stay old if one of them is lost, or if none is better by
    the margin, or if one is worse by it. same: hands that look as they did.
    """
    reasons: dict[int, str] = {}
    for group in group_overlapping(list(maps.hand_masks)):
        painted = [d for d in decisions if d.number in group and d.refined]
        unchanged = same >= {d.number for d in painted}
        problem = SAME if unchanged else _find_problem(painted, margin)
        if problem is not None:
            reasons.update(dict.fromkeys((d.number for d in painted), problem))
    return reasons


def _find_problem(painted: Sequence[Decision], margin: float) -> str | None:
    for decision in painted:
        if decision.after is None or is_lost(decision.after):
            return explain_loss(decision.after)
    rises = [gain(decision) for decision in painted]
    if not rises or (max(rises) >= margin and min(rises) > -max(margin, 1e-9)):
        return None
    telling = painted[int(np.argmin(rises)) if min(rises) < 0.0 else int(np.argmax(rises))]
    before, after = _score(telling.quality_before), _score(telling.quality_after)
    return (
        f"The original was kept: its quality is {before:.2f}, the new hand's {after:.2f}; "
        f"keep_margin {margin:g} asks for {step_up(before, margin):.2f}."
    )


def gain(decision: Decision) -> float:
    """How much better drawn the new hand is, as `keep_margin` counts: a quarter of log-odds.

    About one half that is the quality's own measure; near 0 and 1, where all qualities crowd, small
    steps count for more.
    """
    before, after = _score(decision.quality_before), _score(decision.quality_after)
    return (log_odds(after, EDGE) - log_odds(before, EDGE)) / 4


def step_up(quality: float, margin: float) -> float:
    """The quality that is better than `quality` by the margin."""
    return logistic(log_odds(quality, EDGE) + 4 * margin)


def _score(quality: Quality | None) -> float:
    return 0.0 if quality is None else quality.score


def is_lost(agreement: Agreement) -> bool:
    """Whether the hand of the mesh is not seen."""
    return agreement.mpjpe is None or agreement.mpjpe > FARTHEST


def explain_loss(agreement: Agreement | None) -> str:
    """Why a hand that is not that of the mesh is not kept."""
    if agreement is None or agreement.mpjpe is None:
        return "The original was kept: no such hand is seen in the new picture."
    return (
        f"The original was kept: the new hand lies {agreement.mpjpe:.0%} of its size off its mesh, "
        f"or shares its region with one that does; {FARTHEST:.0%} is allowed."
    )


def give_back(image: Image, painted: Image, lost: frozenset[int], maps: ControlMaps) -> Image:
    """`painted` with the pixels of `image` wherever only lost hands could change them."""
    restored = painted.copy()
    for number in lost:
        box, mask = maps.hand_masks[number]
        part = restored[box.slices]
        part[mask] = image[box.slices][mask]
    return image if np.array_equal(restored, image) else restored
