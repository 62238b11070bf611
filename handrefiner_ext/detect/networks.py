"""The palm and the landmark network of MediaPipe, with their outputs turned into `Hand` records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from handrefiner_ext.detect.anchors import AnchorGrid, blend, decode
from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.windows import (
    UPRIGHT,
    Roi,
    Tolerance,
    around_box,
    around_landmarks,
    around_palm,
    rotation,
    warp,
)
from handrefiner_ext.tflite import LANDMARK_NETWORK, PALM_NETWORK, TfliteNetwork
from handrefiner_ext.topology import JOINT_COUNT
from handrefiner_ext.types import Box, FloatArray, Hand, Image

PALM_SIZE = 192
"""Side of the network's input, pixels."""
PALM_POINTS = 7
ANCHOR_GRIDS = (AnchorGrid(24, 2), AnchorGrid(12, 6))
"""Strides 8 and three times 16."""
WRIST_POINT, MIDDLE_POINT = 0, 2
"""Indices of the wrist and the base of the middle finger among the network's seven points."""
SAME_HAND = Tolerance(place=0.15, size=1.4, turn=0.5)
"""Windows that differ by less show one hand."""

MOST_ALTERNATIVES = 2
"""Each costs a run of the landmark network where the window before shows no hand."""
LANDMARK_SIZE = 224
"""Side of the network's input, pixels."""
DEPTH_SCALE = 0.4
"""MediaPipe divides the network's z by input size times this (`normalize_z` of its hand graphs), so
a hand's z in pixels is z / (224 * 0.4) times the window's side."""
PALMS_IN_VIEW, PALMS_IN_PICTURE = 64, 256
"""Bounds on the work that a threshold of zero would cause."""


PalmAnswers = dict[Box, list[FloatArray]]
"""View of a picture -> the palm network's boxes and scores there."""


@dataclass(frozen=True)
class Palm:
    """One palm: score 0..1, the window for its hand, the number of the view that showed it.

    alternatives: windows that other views gave for the same palm, in case `roi` shows no hand.
    A tile's palm can score better although only the whole picture's window shows the hand.
    """

    score: float
    roi: Roi
    view: int = 0
    alternatives: tuple[Roi, ...] = ()


class HandNetworks:
    """Runs the palm and the landmark network on one picture at a time.

    upright: direction in which the landmark network is shown a hand, radians. mediapipe's Tasks
    API passes 90 where radians are expected, which turns its windows 26.6 degrees too far. With
    upright=90.0 our results equal mediapipe's; with the intended direction the landmarks are
    nearer the truth and the side is right more often.
    """

    def __init__(self, upright: float = UPRIGHT) -> None:
        self._upright = upright
        self._palm = TfliteNetwork(PALM_NETWORK)
        self._landmark = TfliteNetwork(LANDMARK_NETWORK)

    def find_palms(
        self,
        image: Image,
        views: Iterable[Box],
        threshold: float,
        faint: float,
        answers: PalmAnswers | None = None,
    ) -> list[Palm]:
        """Return the palms that score at least `faint` in one of the views, best first.

        Each palm appears once. Those below `threshold` have no part in the averages of the others,
        and are left out beside them. answers: what the network has said of views of this picture;
        it is not asked again, and new answers are added.
        """
        answers = {} if answers is None else answers
        found: list[Palm] = []
        for number, view in enumerate(views):
            window = around_box(view)
            lowest = min(faint, threshold)
            if view not in answers:
                square = warp(image, window, PALM_SIZE, cv2.BORDER_CONSTANT)
                answers[view] = self._palm.run(square)
            raw, logits = answers[view]
            boxes, scores = decode_palms(raw, logits[:, 0], lowest)
            clear = scores >= threshold
            blended = blend(boxes[clear], scores[clear], PALMS_IN_VIEW)
            if not clear.all():
                beside = blend(boxes, scores, PALMS_IN_PICTURE)
                blended += [(score, box) for score, box in beside if score < threshold]
            found += [Palm(s, to_window(box, window, self._upright), number) for s, box in blended]
        return distinct(found)[:PALMS_IN_PICTURE]

    def read_closely(self, image: Image, window: Roi, presence: float) -> Hand:
        """Read a hand, then read it again through the window that its landmarks define.

        MediaPipe does the same from frame to frame of a video. The second reading is nearer the
        truth, and things that are not hands seldom pass twice; the score is the lower of the two.
        """
        first = self.read(image, window)
        if first.score <= presence:
            return first
        second = self.read(image, around_landmarks(first.landmarks))
        return replace(second, score=min(first.score, second.score))

    def read(self, image: Image, window: Roi) -> Hand:
        """Read the hand in a window; its score says whether there is one."""
        picture = warp(image, window, LANDMARK_SIZE, cv2.BORDER_REPLICATE)
        landmarks, presence, right, world = self._landmark.run(picture)
        raw = RawReading(landmarks, float(presence[0]), float(right[0]), world)
        return to_hand(raw, window, *image.shape[:2])


@dataclass(frozen=True)
class RawReading:
    """Outputs of the landmark network.

    landmarks: (63,) x, y, z in input pixels. presence and right_score: 0..1. world: (63,) metres.
    """

    landmarks: FloatArray
    presence: float
    right_score: float
    world: FloatArray


def to_hand(raw: RawReading, roi: Roi, height: int, width: int) -> Hand:
    """Return the hand that the network saw through `roi`, in the pixels of the picture."""
    points = raw.landmarks.reshape(JOINT_COUNT, 3).astype(np.float64) / LANDMARK_SIZE
    world = raw.world.reshape(JOINT_COUNT, 3).astype(np.float64)
    turned = world[:, :2] @ rotation(roi.angle).T
    return make_hand(
        roi.to_picture(points[:, :2]),
        points[:, 2] / DEPTH_SCALE * roi.side,
        np.column_stack([turned, world[:, 2]]),
        (raw.presence, raw.right_score),
        (height, width),
    )


def make_hand(
    landmarks: FloatArray,
    depth: FloatArray,
    world: FloatArray,
    scores: tuple[float, float],
    size: tuple[int, int],
) -> Hand:
    """Build a `Hand` in a picture of `size` (height, width).

    landmarks: (21, 2) pixels. depth: (21,) pixels. world: (21, 3) metres. scores: presence and
    right-hand score, clamped to 0..1.
    """
    presence, right = (min(max(float(s), 0.0), 1.0) for s in scores)
    return Hand(
        handedness="right" if right >= 0.5 else "left",
        handedness_score=max(right, 1.0 - right),
        score=presence,
        box=clip(bounding_box(landmarks), *size),
        landmarks=landmarks,
        landmark_depth=depth,
        world_landmarks=world,
    )


@lru_cache(maxsize=1)
def anchor_centers() -> FloatArray:
    """Return the (2016, 2) centres of the anchors in the unit square, in the network's order."""
    return np.concatenate([grid.centers() for grid in ANCHOR_GRIDS])


def decode_palms(
    raw: FloatArray, logits: FloatArray, threshold: float
) -> tuple[FloatArray, FloatArray]:
    """Decode (2016, 18) palms with their seven points; see `runtime.decode`."""
    return decode(raw, logits, threshold, anchor_centers(), PALM_SIZE, PALM_POINTS)


def to_window(box: FloatArray, view: Roi, upright: float = UPRIGHT) -> Roi:
    """Return a hand's window in the picture from its palm's (18,) box in `view`'s unit square."""
    points = view.to_picture(box.reshape(-1, 2))
    corners, joints = points[:2].reshape(4), points[2:]
    return around_palm(corners, joints[WRIST_POINT], joints[MIDDLE_POINT], upright)


def distinct(palms: list[Palm]) -> list[Palm]:
    """Keep the best palm of every place, size and direction, with its alternatives; best first."""
    kept: list[Palm] = []
    for palm in sorted(palms, key=lambda p: -p.score):
        same = [n for n, k in enumerate(kept) if SAME_HAND.allows(palm.roi, k.roi)]
        if not same:
            kept.append(palm)
        elif len(kept[same[0]].alternatives) < MOST_ALTERNATIVES:
            twin = kept[same[0]]
            kept[same[0]] = replace(twin, alternatives=(*twin.alternatives, palm.roi))
    return kept
