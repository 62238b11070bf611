"""The steps that all detectors share (user boxes, looking again), and detectors that wrap one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import is_
from typing import Protocol

import numpy as np

from handrefiner_ext.detect.sightings import Sighting, build_detection, is_same_hand
from handrefiner_ext.detect.tiles import plan_tiles
from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.geometry.boxes import area, bounding_box, clip, grow, intersection_over_union
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector
from handrefiner_ext.types import Box, Detection, FloatArray, Hand, Image, Refusal, View

MOST_BOXES = 64
"""As many as a pose may have hands."""


def parse_boxes(text: str) -> tuple[Box, ...]:
    """Parse "x0,y0,x1,y1;x0,y0,x1,y1" in pixels; the corners may come in any order.

    Raises InvalidParameter, which shows the right form.
    """
    parts = [part for part in text.split(";") if part.strip()]
    if len(parts) > MOST_BOXES:
        raise InvalidParameter(
            f"boxes holds {len(parts)} boxes; no more than {MOST_BOXES} are searched."
        )
    return tuple(_parse_box(part, text) for part in parts)


def _parse_box(part: str, text: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(word) for word in part.split(","))
        low, high = np.sort([[x0, y0], [x1, y1]], axis=0)
        return Box(*map(math.floor, low), *map(math.ceil, high))
    except (ValueError, OverflowError) as error:
        raise InvalidParameter(
            f"boxes = {show(text)} is not possible; write four numbers in pixels for each hand, "
            'such as "10,20,110,140;200,50,300,160".'
        ) from error


def clip_boxes(
    boxes: tuple[Box, ...], height: int, width: int
) -> tuple[tuple[Box, ...], tuple[Refusal, ...]]:
    """Return the boxes clipped to the picture, and refusals of those without a pixel in it."""
    clipped = [clip(box, height, width) for box in boxes]
    refused = [
        Refusal(inside, f"The box {box.x0},{box.y0},{box.x1},{box.y1} lies outside the picture.")
        for box, inside in zip(boxes, clipped, strict=True)
        if area(inside) == 0
    ]
    return tuple(box for box in clipped if area(box)), tuple(refused)


BOX_OVERLAP = 0.3
"""Overlap from which a hand belongs to a user's box even if its centre lies outside the box."""
FAINT_SCORE, FAINT_PRESENCE = 0.2, 0.1
"""Scores of palms and of hands below which a candidate is not even reported as rejected."""
BOX_VIEWS = (1.0, 1.5, 2.5)
"""Sides of the views of a user's box, in units of the box's longer side."""
NEARBY_VIEW = 2.5
"""Side of the view in which a known hand is looked for again, in units of its box's longer side."""
STILL_THERE = 0.5
"""Mean distance of the landmarks, in hand sizes, within which a hand counts as found again."""


class SearchSteps(Protocol):
    """The steps that each detector does in its own way."""

    def scan(self, image: Image, views: list[Box], params: RefineParams) -> list[Sighting]:
        """Return everything seen in the views; the first one is the whole picture."""
        ...

    def look_into(self, image: Image, box: Box, params: RefineParams) -> list[Sighting]:
        """Return the hands in and around a box that the user drew around a hand."""
        ...

    def look_again(self, image: Image, old: Hand, params: RefineParams) -> list[Hand]:
        """Return the hands near one that was seen before."""
        ...


def detect(steps: SearchSteps, image: Image, params: RefineParams) -> Detection:
    """Find the hands in `image`, or one in each of the user's boxes."""
    if params.boxes:
        return _detect_in_boxes(steps, image, params)
    height, width = image.shape[:2]
    views = [Box(0, 0, width, height), *plan_tiles(height, width, params.tiles)]
    return build_detection(steps.scan(image, views, params), height, width, params)


def redetect(
    steps: SearchSteps, image: Image, hands: tuple[Hand, ...], params: RefineParams
) -> tuple[Hand | None, ...]:
    """Find each hand again near its old place; None for one that is not there."""
    return tuple(nearest(old, steps.look_again(image, old, params)) for old in hands)


def nearest(old: Hand, seen: Sequence[Hand]) -> Hand | None:
    """Return the hand nearest to `old` among those near enough to be it; None if there is none."""
    return min(
        (hand for hand in seen if distance(old, hand) < STILL_THERE),
        key=lambda hand: distance(old, hand),
        default=None,
    )


def distance(old: Hand, new: Hand) -> float:
    """Return the mean distance of two hands' landmarks, in sizes of the old hand."""
    apart: FloatArray = ((old.landmarks - new.landmarks) ** 2).sum(axis=1) ** 0.5
    return float(apart.mean() / max(old.size_px, 1e-6))


def _detect_in_boxes(steps: SearchSteps, image: Image, params: RefineParams) -> Detection:
    height, width = image.shape[:2]
    boxes, missed = clip_boxes(parse_boxes(params.boxes), height, width)
    taken: list[Sighting] = []
    for box in boxes:
        seen = [s for s in steps.look_into(image, box, params) if belongs_to(s.hand, box)]
        hands = [
            s for s in seen if not s.fault and not any(is_same_hand(s.hand, t.hand) for t in taken)
        ]
        if hands:
            taken.append(max(hands, key=lambda s: overlap(s.hand, box)))
        else:
            missed = (*missed, Refusal(box, _explain(seen)))
    found = build_detection(taken, height, width, params)
    return Detection(found.hands, (*missed, *found.refused))


def find_others_in_box(
    detector: Detector, image: Image, box: Box, known: Iterable[Hand], params: RefineParams
) -> list[Hand]:
    """Return the hands that a detector finds in a box and that are none of the `known` ones."""
    known = tuple(known)
    here = replace(params, boxes=",".join(map(str, box)))
    found = detector.detect(image, here).hands
    return [hand for hand in found if not any(is_same_hand(hand, other) for other in known)]


def _explain(seen: list[Sighting]) -> str:
    if any(not s.fault for s in seen):
        return "The hand in this box was already found in another box."
    if seen:
        return "No hand was found in this box: " + max(seen, key=lambda s: s.hand.score).fault
    return "No hand was found in this box."


def belongs_to(hand: Hand, box: Box) -> bool:
    """Whether a user's box was drawn for this hand."""
    x, y = hand.landmarks.mean(axis=0)
    inside = box.x0 <= x < box.x1 and box.y0 <= y < box.y1
    return bool(inside) or overlap(hand, box) >= BOX_OVERLAP


def overlap(hand: Hand, box: Box) -> float:
    """Return the intersection over union of a hand's box and another box."""
    return intersection_over_union(bounding_box(hand.landmarks), box)


def enlarge(box: Box, scale: float) -> Box:
    """Grow a box on all sides until its longer side is `scale` times as long."""
    margin = math.ceil((scale - 1) / 2 * max(box.width, box.height))
    return grow(box, margin, margin)


@dataclass
class DetectorWrapper:
    """Passes every call on to `detector`; subclasses override what they change."""

    detector: Detector
    name: str

    def detect(self, image: Image, params: RefineParams) -> Detection:
        return self.detector.detect(image, params)

    def redetect(
        self, image: Image, hands: tuple[Hand, ...], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        return self.detector.redetect(image, hands, params)

    def reread(self, image: Image, hand: Hand, params: RefineParams) -> tuple[Hand, ...]:
        return self.detector.reread(image, hand, params)

    def examine(
        self, image: Image, hand: Hand, views: Sequence[View], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        return self.detector.examine(image, hand, views, params)


@dataclass
class CachingDetector(DetectorWrapper):
    """Caches the last result of `redetect`, so that agreement and quality share one detection.

    Pictures and hands are compared by identity: comparing pixels would cost more than it saves.
    """

    last: tuple[Image, tuple[Hand, ...], tuple[Hand | None, ...]] | None = None

    def redetect(
        self, image: Image, hands: tuple[Hand, ...], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        """Find the hands near their old places; the same picture and hands are looked at once."""
        if self.last is not None:
            picture, asked, seen = self.last
            if picture is image and len(asked) == len(hands) and all(map(is_, asked, hands)):
                return seen
        seen = self.detector.redetect(image, hands, params)
        self.last = image, hands, seen
        return seen
