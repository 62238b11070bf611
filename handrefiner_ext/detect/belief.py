"""Whether a sighting is a hand: several looks must agree.

The landmark network's presence score of one look says little: the same rock can score 0.9 once and
0.02 after a turn by ten degrees, while a drawn hand is seen in most of the looks. So a hand is
looked at again mirrored, turned, larger, smaller, smoothed, with its contrast equalised and
without colour, and its support is the mean presence of those looks that put it in the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from handrefiner_ext.detect import flow
from handrefiner_ext.detect.networks import HandNetworks
from handrefiner_ext.detect.views import examine
from handrefiner_ext.detect.windows import around_landmarks
from handrefiner_ext.types import Hand, Image, View

AGREES = 0.25
"""Mean distance of the landmarks, hand sizes, up to which two looks show the same hand."""
TURN = float(np.radians(15.0))

Filter = Callable[[Image], Image]


def smooth(picture: Image) -> Image:
    """Remove grain and hatching but keep edges."""
    return np.asarray(cv2.bilateralFilter(picture, 7, 60.0, 5.0), dtype=np.uint8)


def equalise(picture: Image) -> Image:
    """Raise local contrast, for dark and for flat pictures."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(3.0, (8, 8)).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)


def desaturate(picture: Image) -> Image:
    """Remove the colours."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.repeat(grey[..., None], 3, axis=2)


LOOKS: tuple[tuple[View, Filter | None], ...] = (
    (View(mirrored=True), None),
    (View(TURN, 1.1), smooth),
    (View(-TURN, mirrored=True), equalise),
    (View(0.0, 0.9), desaturate),
    (View(TURN, 1.2, mirrored=True), None),
    (View(-TURN, 1.0), None),
)


def measure_support(
    networks: HandNetworks, image: Image, hand: Hand, enough: float | None = None
) -> float:
    """Return the mean presence of a hand over LOOKS, 0..1; a look that sees it elsewhere counts 0.

    enough: a value with which the caller is content either way: looking ends as soon as the looks
    that are left cannot bring the mean to the other side of it.
    """
    total = 0.0
    for number, (view, picture_filter) in enumerate(LOOKS, start=1):
        total += _look_once(networks, image, hand, view, picture_filter)
        left = len(LOOKS) - number
        if enough is not None and left:
            least, most = total / len(LOOKS), (total + left) / len(LOOKS)
            if least >= enough or most < enough:
                return total / number
    return total / len(LOOKS)


def _look_once(
    networks: HandNetworks, image: Image, hand: Hand, view: View, picture_filter: Filter | None
) -> float:
    def look(square: Image, expected: Hand) -> Hand | None:
        picture = square if picture_filter is None else picture_filter(square)
        return networks.read(picture, around_landmarks(expected.landmarks))

    (seen,) = examine(image, hand, (view,), look)
    if seen is None or flow.distance(hand, replace(seen, box=hand.box)) > AGREES:
        return 0.0
    return seen.score
