"""Find a hand in every part of a mask drawn by hand.

Where nobody sees one even at a second look, a relaxed hand is assumed: the user knows that one
belongs there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import cv2
import numpy as np

from handrefiner_ext.detect.flow import belongs_to, find_others_in_box
from handrefiner_ext.geometry.boxes import area, bounding_box, clip, grow, intersect, slices_within
from handrefiner_ext.hands.assumed import PaintedPart, assume
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector
from handrefiner_ext.render.masks import BOX_MARGIN, draw_hand, widen
from handrefiner_ext.types import Box, Detection, Hand, Image, Mask, Refusal

FAINT_PRESENCE = 0.2
"""Inside a painted part, a hand seen this faintly is still better than an assumed one."""
WHOLE_PICTURE = 0.8
"""A part that covers more of the picture than this does not say where a hand is."""
TOUCH_UP = 0.5
"""A part beside a hand belongs to it if it is shorter than this, hand sizes."""
MOST_ADDED = 16
"""Painted parts that may add a hand; a scribble of hundreds of dots would take minutes."""


def add_painted_hands(
    image: Image, detection: Detection, drawn: Mask, detector: Detector, params: RefineParams
) -> Detection:
    """Return the detection with a hand in every part of the drawn mask, from left to right.

    Arguments:
        image: (H, W, 3) uint8 RGB.
        drawn: (H, W) bool, the mask drawn by hand.
    """
    hands, refused = list(detection.hands), list(detection.refused)
    small: list[Box] = []
    for part in list_parts(drawn):
        if any(_explains(hand, part, params) for hand in hands):
            continue
        if max(part.box.width, part.box.height) < params.min_hand_size:
            small.append(part.box)
        elif part.inside.sum() > WHOLE_PICTURE * drawn.size:
            refused.append(Refusal(part.box, _TOO_WIDE))
        elif len(hands) < len(detection.hands) + MOST_ADDED:
            refused = [r for r in refused if not _lies_in(r.box, part.box)]
            hands.append(_find_or_assume(image, part, tuple(hands), detector, params))
    if small:
        refused.append(refuse_small(small, params, *_WORDS))
    hands.sort(key=lambda hand: (hand.box.x0, hand.box.y0))
    return Detection(tuple(hands), tuple(refused))


TOUCHING = 0.1
"""A painted pixel this near to a hand's fingers and palm touches it, hand sizes."""
_UNTOUCHED = "The drawn mask does not touch it."


def keep_touched(detection: Detection, drawn: Mask, params: RefineParams) -> Detection:
    """Return the detection with only the hands that the drawn mask touches.

    The others are refused. A part that touches no hand counts for the one that it was painted
    beside. drawn: (H, W) bool.
    """
    near = {hand.number: _near(hand, drawn.shape) for hand in detection.hands}
    touched: set[int] = set()
    for part in list_parts(drawn):
        owners = [number for number, shape in near.items() if _meets(part, *shape)]
        touched.update(owners or (h.number for h in detection.hands if _explains(h, part, params)))
    kept = tuple(hand for hand in detection.hands if hand.number in touched)
    left = (hand for hand in detection.hands if hand.number not in touched)
    refused = (Refusal(hand.box, _UNTOUCHED, hand.number) for hand in left)
    return replace(detection, hands=kept, refused=(*detection.refused, *refused))


def _near(hand: Hand, size: tuple[int, ...]) -> tuple[Box, Mask]:
    """Return a box, and the pixels in it that are the hand or near enough to touch it."""
    room = ceil(2 * TOUCHING * hand.size_px)
    box = clip(grow(bounding_box(hand.landmarks), room, room), size[0], size[1])
    shape = np.zeros((box.height, box.width), dtype=np.uint8)
    if shape.size == 0:
        return box, shape > 0
    draw_hand(shape, hand.landmarks - (box.x0, box.y0), hand.size_px)
    return box, widen(shape, TOUCHING * hand.size_px)


def _meets(part: PaintedPart, box: Box, shape: Mask) -> bool:
    common = intersect(part.box, box)
    if area(common) == 0:
        return False
    inside = part.inside[slices_within(common, part.box)]
    return bool((inside & shape[slices_within(common, box)]).any())


_WORDS = "A painted part without a hand", "painted parts without hands"
_TOO_WIDE = (
    "The painted part covers most of the picture and does not say where a hand is; paint over the "
    "hand alone."
)


def refuse_small(boxes: Sequence[Box], params: RefineParams, one: str, several: str) -> Refusal:
    """Return one refusal of all parts that are too small. one, several: what they are, in words."""
    parts = f"{one} is" if len(boxes) == 1 else f"{len(boxes)} {several} are"
    return Refusal(
        boxes[0], f"{parts} smaller than a hand may be; min_hand_size is {params.min_hand_size}."
    )


def list_parts(drawn: Mask) -> list[PaintedPart]:
    """Return the connected parts of a mask, largest first."""
    _, number, stats, _ = cv2.connectedComponentsWithStats(drawn.astype(np.uint8))
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    parts = []
    for label in order:
        x, y, width, height = (int(v) for v in stats[label, :4])
        box = Box(x, y, x + width, y + height)
        parts.append(PaintedPart(box, np.asarray(number[box.slices] == label)))
    return parts


def _explains(hand: Hand, part: PaintedPart, params: RefineParams) -> bool:
    """Whether a part was painted over this hand, or beside it to touch it up."""
    if belongs_to(hand, part.box):
        return True
    margins = (
        max(ceil(BOX_MARGIN * side), params.padding_bbox)
        for side in (hand.box.width, hand.box.height)
    )
    near = intersect(grow(hand.box, *margins), part.box)
    if area(near) == 0:
        return False
    shared = int(part.inside[slices_within(near, part.box)].sum())
    is_touch_up = max(part.box.width, part.box.height) < TOUCH_UP * hand.size_px
    return shared > 0 and (is_touch_up or shared > part.inside.sum() / 2)


def _find_or_assume(
    image: Image,
    part: PaintedPart,
    known: tuple[Hand, ...],
    detector: Detector,
    params: RefineParams,
) -> Hand:
    """Return the hand seen in a painted part, at ever lower thresholds, else an assumed one."""
    for presence in (params.presence_threshold, FAINT_PRESENCE):
        closer = replace(params, presence_threshold=min(presence, params.presence_threshold))
        for hand in find_others_in_box(detector, image, part.box, known, closer):
            if belongs_to(hand, part.box):
                return hand
    return assume(image, part, known)


def _lies_in(box: Box, part: Box) -> bool:
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return part.x0 <= x <= part.x1 and part.y0 <= y <= part.y1
