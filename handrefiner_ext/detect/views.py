"""Look again at a hand that was seen before, and say whether several looks agree on it.

The presence score of one look says little: the same rock can score 0.9 once and 0.02 after a turn
by ten degrees, while a drawn hand is seen in most of the looks. So a hand is looked at again
mirrored, turned, larger, smaller, smoothed, with its contrast equalised and without colour. Its
support is the mean presence of those looks that put it in the same place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from handrefiner_ext.detect import flow
from handrefiner_ext.detect.networks import HandNetworks
from handrefiner_ext.detect.sightings import Sighting, temper_side
from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.transforms import mirror_hand
from handrefiner_ext.geometry.windows import Roi, around_landmarks, warp
from handrefiner_ext.types import Hand, Image, View

VIEW_PX = 256
"""Side of the square picture of a hand that a view shows, pixels."""
AROUND = 1.5
"""Side of that square in sides of the landmark network's window; leaves room to turn it."""

Look = Callable[[Image, Hand], Hand | None]
"""Takes a square picture and the hand expected in it, returns the hand that is seen there."""


def examine(image: Image, hand: Hand, views: Sequence[View], look: Look) -> tuple[Hand | None, ...]:
    """Return the hand as each view shows it, in the picture's pixels."""
    return tuple(_examine_once(image, hand, view, look) for view in views)


def _examine_once(image: Image, hand: Hand, view: View, look: Look) -> Hand | None:
    window = around_landmarks(hand.landmarks)
    side = window.side * AROUND * view.size
    square = Roi(window.center_x, window.center_y, side, window.angle + view.turn)
    pixels = np.rint(warp(image, square, VIEW_PX, cv2.BORDER_REPLICATE) * 255).astype(np.uint8)
    expected = _enter(hand, square)
    if view.mirrored:
        pixels, expected = (
            np.ascontiguousarray(pixels[:, ::-1]),
            mirror_hand(expected, VIEW_PX, VIEW_PX),
        )
    seen = look(pixels, expected)
    if seen is None:
        return None
    if view.mirrored:
        seen = mirror_hand(seen, VIEW_PX, VIEW_PX)
    return _leave(seen, square, image)


def _enter(hand: Hand, square: Roi) -> Hand:
    """Move a hand into the pixels of the square."""
    corner, right, down = square.to_picture(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    axes = np.column_stack([right - corner, down - corner]) / VIEW_PX
    return _with_landmarks(
        hand, (hand.landmarks - corner) @ np.linalg.inv(axes).T, (VIEW_PX, VIEW_PX)
    )


def _leave(hand: Hand, square: Roi, image: Image) -> Hand:
    """Move a hand back into the picture's pixels."""
    moved = _with_landmarks(hand, square.to_picture(hand.landmarks / VIEW_PX), image.shape[:2])
    return replace(moved, landmark_depth=hand.landmark_depth * (square.side / VIEW_PX))


def _with_landmarks(hand: Hand, points: np.ndarray, size: tuple[int, ...]) -> Hand:
    return replace(hand, landmarks=points, box=clip(bounding_box(points), size[0], size[1]))


WINDOWS = ((1.3, -30), (1.3, 0), (1.3, 30), (1.5, -30), (1.5, 0), (1.5, 30), (1.0, -20), (1.0, 20))
"""Size and turn (degrees) of the other windows, relative to the one that the palm gives.

Wider and turned windows bring back fingers that the straight one misses, such as the raised finger
of the paper's fifth picture."""


def reread(networks: HandNetworks, image: Image, hand: Hand, presence: float) -> tuple[Hand, ...]:
    """Read `hand` through turned and wider windows; return the readings that can still be it.

    Each says its own side, with the mean certainty that the first one and all of them give it: one
    of them may be sure of the left side where the others see a right hand.
    """
    window = _find_window(networks, image, hand)
    others = [
        replace(window, side=window.side * size, angle=window.angle + math.radians(turn))
        for size, turn in WINDOWS
    ]
    readings = [networks.read(image, other) for other in others]
    seen = [
        temper_side(reading)
        for reading in readings
        if reading.score > presence and flow.distance(hand, reading) < flow.STILL_THERE
    ]
    return tuple(_share_side(reading, [hand, *seen]) for reading in seen)


def _share_side(reading: Hand, readings: Sequence[Hand]) -> Hand:
    """Return the reading with the mean certainty of all readings that the hand is of its side."""
    certainties = [
        other.handedness_score
        if other.handedness == reading.handedness
        else 1.0 - other.handedness_score
        for other in readings
    ]
    return replace(reading, handedness_score=max(0.5, float(np.mean(certainties))))


def _find_window(networks: HandNetworks, image: Image, hand: Hand) -> Roi:
    """Return the window of the nearest palm, or that of the landmarks if no palm is found."""
    old = around_landmarks(hand.landmarks)
    view = flow.enlarge(hand.box, flow.NEARBY_VIEW)
    palms = networks.find_palms(image, [view], flow.FAINT_SCORE, flow.FAINT_SCORE)
    near = [p.roi for p in palms if _apart(p.roi, old) < flow.STILL_THERE * hand.size_px]
    return min(near, key=lambda roi: _apart(roi, old), default=old)


def _apart(a: Roi, b: Roi) -> float:
    return math.hypot(a.center_x - b.center_x, a.center_y - b.center_y)


AGREES = 0.25
"""Mean distance of the landmarks, hand sizes, up to which two looks show the same hand."""
SAME_MIDDLE, SAME_SIZE = 0.2, 1.4
"""Distance of the middles, hand sizes, and ratio of the sizes up to which they do so as well."""
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
    return seen.score if seen is not None and _is_same_place(hand, seen) else 0.0


def _is_same_place(hand: Hand, seen: Hand) -> bool:
    """Whether two looks show one hand; the fingers of a fist are often read in two ways."""
    if flow.distance(hand, seen) <= AGREES:
        return True
    apart = float(np.linalg.norm(hand.landmarks.mean(axis=0) - seen.landmarks.mean(axis=0)))
    small, large = sorted((hand.size_px, seen.size_px))
    return apart <= SAME_MIDDLE * hand.size_px and large <= SAME_SIZE * small


@dataclass(frozen=True)
class Evidence:
    """What must speak for a sighting.

    presence: of the best look, where more is asked for than `presence_threshold`. support: mean
    over several looks. mean: least mean of these two and the palm's score; it is not asked for
    where both are SURE.
    """

    presence: float
    support: float
    mean: float = 0.0

    def accepts(self, sighting: Sighting, support: float) -> bool:
        """Whether a sighting with that support is a hand."""
        presence = sighting.hand.score
        if presence < self.presence or support < self.support:
            return False
        mean = (presence + support + sighting.rank) / 3.0
        return mean >= self.mean or min(presence, support) >= SURE


SURE, CERTAIN = 0.9, 0.95
AT_WRIST = Evidence(0.0, 0.45)
IN_PICTURE = Evidence(0.0, 0.5)
IN_TILE = Evidence(0.65, 0.7, 0.82)
CLOSE_UP = Evidence(0.0, 0.22)
AGAINST_FACE = Evidence(CERTAIN, CERTAIN)
LANDMARKS_ALONE = Evidence(SURE, SURE)
NEAR_FACE = Evidence(0.75, 0.85)
LANDMARKS_AT_WRIST = Evidence(0.6, 0.75)
PROPOSED = Evidence(0.6, 0.65)
"""Chosen on real photographs, generated and drawn pictures with and without hands, see
docs/detection.md. Nine of ten real hands have a support above 0.8. LANDMARKS_ALONE and NEAR_FACE
are for hands that no palm speaks for: most drawn ones reach 0.95 in both. Of the faint palms in 34
pictures without hands, none reaches 0.87 in both; a bird's claw comes nearest, 0.86 and 0.84.
PROPOSED is for a box in which a hand detector sees a hand: of the boxes of a small free detector
(that of handtrack.js) in 80 pictures without hands, one reaches it."""


def describe_doubt(needed: Evidence) -> str:
    """Say why a sighting is not believed."""
    if needed is AGAINST_FACE:
        return "It lies in a face, and other looks at it do not show a hand for certain."
    return "Other looks at it (mirrored, turned, smoothed) do not show the same hand."
