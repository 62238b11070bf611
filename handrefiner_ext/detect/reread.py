"""Other readings of a hand seen before, for a retry where the first one explains little."""

from __future__ import annotations

import math
from dataclasses import replace

from handrefiner_ext.detect import flow
from handrefiner_ext.detect.hand_networks import HandNetworks
from handrefiner_ext.detect.roi import Roi, around_landmarks
from handrefiner_ext.types import Hand, Image

WINDOWS = ((1.3, -30), (1.3, 0), (1.3, 30), (1.5, -30), (1.5, 0), (1.5, 30), (1.0, -20), (1.0, 20))
"""Size and turn (degrees) of the other windows, relative to the one that the palm gives."""


def reread(networks: HandNetworks, image: Image, hand: Hand, presence: float) -> tuple[Hand, ...]:
    """What the landmark network makes of `hand` through turned and wider windows."""
    window = _find_window(networks, image, hand)
    others = [
        replace(window, side=window.side * size, angle=window.angle + math.radians(turn))
        for size, turn in WINDOWS
    ]
    readings = [networks.read(image, other) for other in others]
    return tuple(
        reading
        for reading in readings
        if reading.score > presence and flow.distance(hand, reading) < flow.STILL_THERE
    )


def _find_window(networks: HandNetworks, image: Image, hand: Hand) -> Roi:
    """The window of the palm nearest to the hand; where none is found, that of the landmarks."""
    old = around_landmarks(hand.landmarks)
    view = flow.enlarge(hand.box, flow.NEARBY_VIEW)
    palms = networks.find_palms(image, [view], flow.FAINT_SCORE, flow.FAINT_SCORE)
    near = [p.roi for p in palms if _apart(p.roi, old) < flow.STILL_THERE * hand.size_px]
    return min(near, key=lambda roi: _apart(roi, old), default=old)


def _apart(a: Roi, b: Roi) -> float:
    return math.hypot(a.center_x - b.center_x, a.center_y - b.center_y)
