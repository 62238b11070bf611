"""Best of N: every region is painted several times, and each takes the picture it looks best in."""

from __future__ import annotations

from dataclasses import replace

from handrefiner_ext.geometry.regions import group_overlapping
from handrefiner_ext.repaint.keep_best import is_lost
from handrefiner_ext.repaint.once import Chosen, assess, settle
from handrefiner_ext.repaint.task import Outcome, Task
from handrefiner_ext.types import Assessment

LOST = -1.0
DISTANCE_WEIGHT = 0.5
"""Of two hands equally well drawn, the one nearer to its mesh is taken: quality lost per hand size
of distance."""


def paint_candidates(task: Task) -> Outcome:
    """Paint `candidates` pictures, take for each region the one whose worst hand is the best."""
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
    return settle(
        task, Chosen(replace(painting, pictures=(chosen,)), candidates=numbers, tried=pictures)
    )


def rank(hand: Assessment) -> float:
    """How much a candidate's hand is worth; LOST where the hand of the mesh is not seen."""
    if is_lost(hand.agreement) or hand.agreement.mpjpe is None:
        return LOST
    quality = 0.0 if hand.quality is None else hand.quality.score
    return quality - DISTANCE_WEIGHT * hand.agreement.mpjpe
