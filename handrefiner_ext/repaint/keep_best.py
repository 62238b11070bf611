"""Keep the original hand (`keep_best`) unless the new one is better.

A new hand must be the hand of its mesh, differ from the old one, look well formed, and be better
drawn than the old one by a margin. The original stays if the judge cannot tell, or if it is good.
In place of a malformed hand a well-formed one may lie anywhere in the mask: the mesh was fitted to
what the malformed hand was taken for, often half a hand or one of the other side.
The distance from the mesh before and after cannot be compared, because the mesh was fitted to the
old landmarks; the quality can, because it does not know the mesh.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import group_overlapping
from handrefiner_ext.geometry.probability import log_odds, logistic
from handrefiner_ext.judge.quality import MALFORMED_BELOW
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import (
    Agreement,
    Assessment,
    Box,
    ControlMaps,
    Decision,
    FloatArray,
    Image,
    Mask,
    Quality,
)

FARTHEST = 0.2
"""A hand this near to the mesh counts as the hand of the mesh; mean distance, hand sizes."""
WELL_FORMED = 0.6
"""A hand of at least this quality stays, unless the new one is much better. Of the labelled real
hands between 0.6 and 0.75 whose draft looked a little better to the judge, eight were well formed
and one was not."""
MUCH_BETTER = 0.25
"""Gain that replaces even such a hand. Most drafts of well-formed hands of real photographs gain at
most 0.24, three gained 0.26 to 0.41; a sixth finger that the judge overlooks, and that is gone,
gains 0.4."""
SURELY_WELL_FORMED = 0.9
"""A hand of at least this quality stays in any case: near 1, a small step is a large gain."""
EDGE = 1e-3
"""Qualities nearer to 0 or 1 than this count as this, so that log-odds stay finite."""
SAME = "The original was kept: the new hand looks the same, apart from noise."
SPOILED = "The original was kept: the new hand was good only together with one that was not."


def needs_quality(params: RefineParams) -> bool:
    """Whether any decision depends on quality."""
    return params.keep_best or params.candidates > 1


def find_worse(
    decisions: Sequence[Decision],
    maps: ControlMaps,
    margin: float,
    same: AbstractSet[int],
) -> dict[int, str]:
    """Return number -> reason for the hands that are not better.

    Each hand is decided on its own, but one that does not get worse follows a hand of its region
    that gets better, so that no needless seam is drawn. same: numbers of the hands that look as
    they did.
    """
    reasons: dict[int, str] = {}
    for group in group_overlapping(list(maps.hand_masks)):
        painted = [d for d in decisions if d.number in group and d.refined]
        problems = {d.number: _find_problem(d, margin, d.number in same) for d in painted}
        if all(problems.values()):
            reasons.update((number, said) for number, said in problems.items() if said)
            continue
        for decision in painted:
            said = problems[decision.number]
            if said and not (decision.number in same or _may_follow(decision)):
                reasons[decision.number] = said
    return reasons


def find_mixed(maps: ControlMaps, decisions: Sequence[Decision]) -> list[tuple[int, ...]]:
    """Return the regions of which some hands are new and others were given back."""
    new = {decision.number for decision in decisions if decision.refined}
    groups = group_overlapping(list(maps.hand_masks))
    return [tuple(group) for group in groups if new.intersection(group) and not new >= set(group)]


def _find_problem(decision: Decision, margin: float, is_same: bool) -> str | None:
    """Return why one hand is not taken on its own merit, or None."""
    if is_same:
        return SAME
    if _is_astray(decision):
        return explain_loss(decision.after)
    before, after = decision.quality_before, decision.quality_after
    if before is not None and before.doubt:
        return explain_doubt(before.doubt)
    if _score(before) >= SURELY_WELL_FORMED or (
        _score(before) >= WELL_FORMED and gain(decision) < max(MUCH_BETTER, margin)
    ):
        return f"The original was kept: it looks well formed (quality {_score(before):.2f})."
    if _score(after) < MALFORMED_BELOW:
        return (
            "The original was kept: the new hand does not look well formed "
            f"(quality {_score(after):.2f})."
        )
    return None if gain(decision) >= margin else _explain_gain(decision, margin)


def _may_follow(decision: Decision) -> bool:
    """Whether a hand that is not taken on its own merit may follow one that is."""
    before = decision.quality_before
    return not is_worse(decision) and not (before is not None and before.doubt)


def _is_astray(decision: Decision) -> bool:
    """Whether the new hand is not that of its mesh, although it should be.

    A mesh that was fitted to a malformed hand is no measure: no well-formed hand can lie on it.
    """
    if decision.after is None:
        return True
    return is_lost(decision.after) and not is_malformed(decision.quality_before)


def is_malformed(quality: Quality | None) -> bool:
    """Whether the judge calls a hand malformed, without a doubt."""
    return quality is not None and not quality.doubt and quality.score < MALFORMED_BELOW


def is_misread(new: Assessment) -> bool:
    """Whether the reading of a new hand is of no use: far off its mesh, or not well formed."""
    return is_lost(new.agreement) or _score(new.quality) < MALFORMED_BELOW


def is_worse(decision: Decision) -> bool:
    """Whether the new hand is lost, malformed, or drawn worse than the old one."""
    if _is_astray(decision):
        return True
    return _score(decision.quality_after) < MALFORMED_BELOW or gain(decision) < 0.0


def _explain_gain(decision: Decision, margin: float) -> str:
    before, after = _score(decision.quality_before), _score(decision.quality_after)
    return (
        f"The original was kept: its quality is {before:.2f}, the new hand's {after:.2f}; "
        f"keep_margin {margin:g} asks for {step_up(before, margin):.2f}."
    )


def gain(decision: Decision) -> float:
    """Return how much better drawn the new hand is, in the units of `keep_margin`.

    That is a quarter of the difference in log-odds. Around one half it equals the difference in
    quality; near 0 and 1, where qualities crowd, small steps count for more.
    """
    before, after = _score(decision.quality_before), _score(decision.quality_after)
    return (log_odds(after, EDGE) - log_odds(before, EDGE)) / 4


def step_up(quality: float, margin: float) -> float:
    """Return the quality that is better than `quality` by the margin."""
    return logistic(log_odds(quality, EDGE) + 4 * margin)


def _score(quality: Quality | None) -> float:
    return 0.0 if quality is None else quality.score


def is_lost(agreement: Agreement) -> bool:
    """Whether the hand of the mesh is not seen in the picture."""
    return agreement.mpjpe is None or agreement.mpjpe > FARTHEST


def explain_doubt(doubt: str) -> str:
    """Return the sentence for a hand that stays because the judge cannot tell."""
    return f"The original was kept: the judge cannot tell how well formed it is; {doubt}."


def explain_loss(agreement: Agreement | None) -> str:
    """Return the sentence for a hand that is not kept because it is not the mesh's."""
    if agreement is None or agreement.mpjpe is None:
        return "The original was kept: no such hand is seen in the new picture."
    return (
        f"The original was kept: the new hand lies {agreement.mpjpe:.0%} of its size off its mesh, "
        f"or shares its region with one that does; {FARTHEST:.0%} is allowed."
    )


def give_back(image: Image, painted: Image, lost: frozenset[int], maps: ControlMaps) -> Image:
    """Return `painted` with the pixels of `image` in the masks of the lost hands.

    Where the mask of a kept hand overlaps, a pixel goes to the hand whose mesh is nearer.
    """
    restored = painted.copy()
    for number in lost:
        box, mask = maps.hand_masks[number]
        mine = mask & ~_belongs_to_others(number, lost, maps)
        restored[box.slices][mine] = image[box.slices][mine]
    return image if np.array_equal(restored, image) else restored


def _belongs_to_others(number: int, lost: frozenset[int], maps: ControlMaps) -> Mask:
    """Return the pixels of a lost hand's box that belong to hands which are kept."""
    box, mask = maps.hand_masks[number]
    taken = np.zeros_like(mask)
    for other, (place, area) in enumerate(maps.hand_masks):
        if other in lost:
            continue
        whole = np.zeros(maps.mask.shape, dtype=bool)
        whole[place.slices] = area
        shared = whole[box.slices] & mask
        if shared.any():
            taken |= shared & (_distance_to(other, box, maps) < _distance_to(number, box, maps))
    return taken


def _distance_to(number: int, box: Box, maps: ControlMaps) -> FloatArray:
    """Return the distance of each pixel of `box` from the visible part of a mesh."""
    seen = maps.owner == number
    if not seen.any():
        return np.full((box.height, box.width), np.inf)
    apart = cv2.distanceTransform((~seen).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(apart[box.slices], dtype=np.float64)
