"""From raw sightings to a `Detection`: merge duplicates, apply filters, give reasons."""

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
SAME_POINTS, SAME_OVERLAP = 10, 0.2
"""Points that must be the same, and overlap of the boxes, for two sightings to be one hand."""
SAME_SIDE_OVERLAP, SAME_SIDE_DISTANCE = 0.5, 0.25
"""Box overlap, and mean distance of the landmarks in hand sizes, of two readings of one side that
differ only in how far the fingers reach."""
MIRRORED_OVERLAP = 0.6
"""Box overlap from which one hand read as left and as right counts as the same."""
PART_SIZE, PART_INSIDE = 0.6, 0.7
"""A sighting at most this size (ratio) of a hand and at least this much inside it is part of it."""
CLEAR_SCORE, CLEAR_SIDE = 0.95, 0.9
"""Presence and certainty of the side above which a sighting is beyond doubt."""
UNCLEAR_TILE, UNCLEAR_SAME, UNCLEAR_OTHER = 0.25, 0.5, 0.8
"""An unclear sighting that lies inside a better one by at least this share is a misreading of it.

The shares are for one seen in a tile only, one of the same side and one of the other side; the last
is high because two hands that hold each other overlap much."""


NO_SIDE, FULL_SIDE = 0.5, 0.9
"""Presence up to which the network's word on the side counts nothing, and from which it counts in
full. Of 24 malformed close-ups whose side a person can tell, it is right for 5 of 12 below 0.7 and
for 5 of 6 from 0.9 on, with certainties up to 0.97 in both."""


@dataclass(frozen=True)
class Sighting:
    """One look at one hand.

    rank: the higher one of two duplicates wins. fault: why it is rejected, empty if it is not.
    from_tile: seen in a tile only, where parts of larger hands look like hands too.
    """

    hand: Hand
    rank: float
    fault: str = ""
    from_tile: bool = False

    @property
    def clear(self) -> bool:
        """Whether it is beyond doubt a hand of its own, not a misread part of another."""
        return self.hand.score >= CLEAR_SCORE and self.hand.handedness_score >= CLEAR_SIDE


def build_detection(
    sightings: Iterable[Sighting], height: int, width: int, params: RefineParams
) -> Detection:
    """Return the hands of a picture of the given size from left to right, and the refusals."""
    judged = [_with_fault(s, height, width, params) for s in sightings]
    kept = merge(judged)
    hands = sorted((s.hand for s in kept if not s.fault), key=lambda h: (h.box.x0, h.box.y0))
    refused = (Refusal(s.hand.box, s.fault) for s in kept if s.fault)
    return Detection(tuple(hands), tuple(sorted(refused, key=lambda r: r.box)))


def temper_side(hand: Hand) -> Hand:
    """Return the hand with a certainty of its side that is no greater than its presence allows.

    What is hardly a hand to the network has no thumb side to it either.
    """
    share = min(max((hand.score - NO_SIDE) / (FULL_SIDE - NO_SIDE), 0.0), 1.0)
    return replace(hand, handedness_score=0.5 + share * (hand.handedness_score - 0.5))


def merge(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Keep the best sighting of every hand; a rejected one never replaces or repeats a good one."""
    kept: list[Sighting] = []
    for sighting in sorted(sightings, key=_order):
        if not any(is_same_hand(sighting.hand, k.hand) or _is_part(sighting, k) for k in kept):
            kept.append(sighting)
    return kept


def is_same_hand(a: Hand, b: Hand) -> bool:
    """Whether two sightings show one hand, even if it was read as left once and as right once.

    The first test is MediaPipe's: ten of the points within a fifth of the palm's size, and
    overlapping boxes. Two clasped hands pass neither test, as wrists and knuckles lie apart.
    """
    limit = SAME_DISTANCE * max(palm_size(a), palm_size(b))
    near = np.linalg.norm(a.landmarks - b.landmarks, axis=1) < limit
    overlap = intersection_over_union(bounding_box(a.landmarks), bounding_box(b.landmarks))
    if near.sum() >= SAME_POINTS and overlap > SAME_OVERLAP:
        return True
    if a.handedness == b.handedness and overlap > SAME_SIDE_OVERLAP:
        apart = np.linalg.norm(a.landmarks - b.landmarks, axis=1).mean()
        return bool(apart < SAME_SIDE_DISTANCE * max(a.size_px, b.size_px))
    mirrored = a.handedness != b.handedness and overlap > MIRRORED_OVERLAP
    return mirrored and bool(near[WRIST] and near[MIDDLE_MCP])


def palm_size(hand: Hand) -> float:
    """Return the longest side of the triangle wrist, index base, little base, pixels."""
    corners = hand.landmarks[[WRIST, INDEX_MCP, LITTLE_MCP]]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).max())


def _order(sighting: Sighting) -> tuple[bool, bool, float]:
    return bool(sighting.fault), sighting.from_tile and not sighting.clear, -sighting.rank


def _is_part(new: Sighting, better: Sighting) -> bool:
    """Whether `new` is only a finger, a patch or a misreading of the hand `better`."""
    if better.fault:
        return False
    box, other = bounding_box(new.hand.landmarks), bounding_box(better.hand.landmarks)
    inside = area(intersect(box, other)) / area(box)
    if new.clear:
        return new.hand.size_px <= PART_SIZE * better.hand.size_px and inside >= PART_INSIDE
    same_side = new.hand.handedness == better.hand.handedness
    return inside >= (
        UNCLEAR_TILE if new.from_tile else UNCLEAR_SAME if same_side else UNCLEAR_OTHER
    )


def _with_fault(s: Sighting, height: int, width: int, params: RefineParams) -> Sighting:
    if s.fault:
        return s
    box = clip(s.hand.box, height, width)
    size = max(box.width, box.height)
    if area(box) == 0:
        return replace(s, fault="The hand lies outside the picture.")
    if size < params.min_hand_size:
        limit = params.min_hand_size
        return replace(s, fault=f"The hand is {size} pixels long; min_hand_size is {limit}.")
    return s
