"""What the detectors saw, from raw sightings to a `Detection`: duplicates, filters, reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from handrefiner_ext.geometry.boxes import (
    area,
    bounding_box,
    clip,
    intersect,
    intersection_over_union,
)
from handrefiner_ext.params import RefineParams
from handrefiner_ext.topology import INDEX_MCP, LITTLE_MCP, MIDDLE_MCP, WRIST
from handrefiner_ext.types import Detection, Hand, Refusal

SAME_DISTANCE = 0.2
"""Points closer than this, in palm sizes, are the same point."""
SAME_POINTS = 10
SAME_OVERLAP = 0.2
MIRRORED_OVERLAP = 0.6
"""Box overlap from which one hand read as left and as right counts as the same."""
PART_SIZE, PART_INSIDE = 0.6, 0.7
"""A sighting this much smaller than a hand, and this much inside of it, is a part of it."""
CLEAR_SCORE, CLEAR_SIDE = 0.95, 0.9
"""Presence and certainty of the side from which a sighting is beyond doubt."""
UNCLEAR_SMALL, UNCLEAR_SAME, UNCLEAR_OTHER = 0.25, 0.5, 0.8
"""Part of an unclear sighting inside of a better one that makes it a misreading of that: seen in a
tile only, of the same side, of the other side (two hands that hold each other overlap much)."""


@dataclass(frozen=True)
class Sighting:
    """One look at one hand.

    rank decides between duplicates. fault says why it is rejected. small: seen in a tile only,
    where parts of larger hands look like hands, too.
    """

    hand: Hand
    rank: float
    fault: str = ""
    small: bool = False

    @property
    def clear(self) -> bool:
        """Whether it is beyond doubt a hand of its own and no misread part of another."""
        return self.hand.score >= CLEAR_SCORE and self.hand.handedness_score >= CLEAR_SIDE


def conclude(
    sightings: Iterable[Sighting], height: int, width: int, params: RefineParams
) -> Detection:
    """Sightings in a picture of the given size -> hands from left to right and refusals."""
    judged = [_with_fault(s, height, width, params) for s in sightings]
    kept = merge(judged)
    hands = sorted((s.hand for s in kept if not s.fault), key=lambda h: (h.box.x0, h.box.y0))
    refused = (Refusal(s.hand.box, s.fault) for s in kept if s.fault)
    return Detection(tuple(hands), tuple(sorted(refused, key=lambda r: r.box)))


def merge(sightings: Sequence[Sighting]) -> list[Sighting]:
    """The best sighting of every hand; a rejected one never replaces or repeats a good one."""
    kept: list[Sighting] = []
    for sighting in sorted(sightings, key=_order):
        if not any(is_same_hand(sighting.hand, k.hand) or _is_part(sighting, k) for k in kept):
            kept.append(sighting)
    return kept


def is_same_hand(a: Hand, b: Hand) -> bool:
    """Whether two sightings show one hand, also if read once as a left and once as a right hand.

    The first test is MediaPipe's: ten of the points within a fifth of the palm and overlapping
    boxes. Two clasped hands of one person pass neither, as wrists and knuckles lie apart.
    """
    limit = SAME_DISTANCE * max(palm_size(a), palm_size(b))
    near = np.linalg.norm(a.landmarks - b.landmarks, axis=1) < limit
    overlap = intersection_over_union(bounding_box(a.landmarks), bounding_box(b.landmarks))
    if near.sum() >= SAME_POINTS and overlap > SAME_OVERLAP:
        return True
    mirrored = a.handedness != b.handedness and overlap > MIRRORED_OVERLAP
    return mirrored and bool(near[WRIST] and near[MIDDLE_MCP])


def palm_size(hand: Hand) -> float:
    """Longest side of the triangle wrist, index base, little base, pixels."""
    corners = hand.landmarks[[WRIST, INDEX_MCP, LITTLE_MCP]]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).max())


def _order(sighting: Sighting) -> tuple[bool, bool, float]:
    return bool(sighting.fault), sighting.small and not sighting.clear, -sighting.rank


def _is_part(new: Sighting, better: Sighting) -> bool:
    """Whether `new` is only a finger, a patch or a misreading of the hand `better`."""
    if better.fault:
        return False
    box, other = bounding_box(new.hand.landmarks), bounding_box(better.hand.landmarks)
    inside = area(intersect(box, other)) / area(box)
    if new.clear:
        return new.hand.size_px <= PART_SIZE * better.hand.size_px and inside >= PART_INSIDE
    same_side = new.hand.handedness == better.hand.handedness
    return inside >= (UNCLEAR_SMALL if new.small else UNCLEAR_SAME if same_side else UNCLEAR_OTHER)


def _with_fault(s: Sighting, height: int, width: int, params: RefineParams) -> Sighting:
    if s.fault:
        return s
    box = clip(s.hand.box, height, width)
    size = max(box.width, box.height)
    if area(box) == 0:
        return replace(s, fault="The hand lies outside of the picture.")
    if size < params.min_hand_size:
        limit = params.min_hand_size
        return replace(s, fault=f"The hand is {size} pixels long; min_hand_size is {limit}.")
    return s
