"""The soundness network: how well formed a hand looks in the picture, without any mesh.

It is MediaPipe's landmark network, which has seen many real hands, taught further by
`tools/train_soundness.py` to tell the well-formed twin of a rendered hand from the malformed one.
It runs with LiteRT, as the networks of the detector `litert` do.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.geometry.boxes import area, bounding_box, clip, grow
from handrefiner_ext.geometry.probability import log_odds
from handrefiner_ext.geometry.windows import Roi, around_landmarks, warp
from handrefiner_ext.tflite import SOUNDNESS_NETWORK, TfliteNetwork
from handrefiner_ext.types import FloatArray, Hand, Image, View

logger = logging.getLogger(__name__)

CUT_PX, CUT_SCALE = 288, 1.35
"""Side of the piece of picture that all views are taken from, and its size in windows of a hand."""
SHRUNK_ABOVE = 1.5
"""Sides of the piece from which the picture is averaged first: a network that is shown every third
pixel sees other fingers."""
INPUT_PX, VIEW_SCALE = 160, 1.08
"""Side of the network's input, and what it shows, in windows of a hand."""
ANSWER = 1
"""Number of the output that says how well formed the hand is; the others say nothing."""
EDGE = 1e-6


def place_piece(landmarks: FloatArray) -> Roi:
    """Return the window around a hand that is cut out; landmarks: (21, 2) pixels."""
    roi = around_landmarks(landmarks)
    return replace(roi, side=roi.side * CUT_SCALE)


def cut_hand(image: Image, landmarks: FloatArray) -> Image:
    """Return the upright piece of picture around a hand, (CUT_PX, CUT_PX, 3) uint8.

    image: (H, W, 3) uint8. landmarks: (21, 2) pixels.
    """
    roi = place_piece(landmarks)
    if roi.side > SHRUNK_ABOVE * CUT_PX:
        image, roi = _shrink(image, roi)
    seen = warp(image, roi, CUT_PX, cv2.BORDER_REPLICATE)
    return np.asarray(np.rint(seen * np.float32(255.0)), dtype=np.uint8)


def _shrink(image: Image, roi: Roi) -> tuple[Image, Roi]:
    """Average the part of the picture that a large window shows."""
    box = clip(grow(bounding_box(roi.corners()), 2, 2), *image.shape[:2])
    if area(box) == 0:
        return image, roi
    factor = 1.2 * CUT_PX / roi.side
    size = max(1, round(box.width * factor)), max(1, round(box.height * factor))
    small = cv2.resize(image[box.slices], size, interpolation=cv2.INTER_AREA)
    across, down = size[0] / box.width, size[1] / box.height
    x, y = (roi.center_x - box.x0) * across, (roi.center_y - box.y0) * down
    return np.asarray(small, dtype=np.uint8), Roi(x, y, roi.side * factor, roi.angle)


def show(piece: Image, view: View) -> NDArray[np.float32]:
    """Return what the network sees of a piece, (INPUT_PX, INPUT_PX, 3) in 0..1."""
    middle = CUT_PX / 2
    scale = INPUT_PX / CUT_PX * CUT_SCALE / (VIEW_SCALE * view.size)
    turn = cv2.getRotationMatrix2D((middle, middle), float(np.degrees(view.turn)), scale)
    turn = turn + np.array([0.0, 0.0, INPUT_PX / 2 - middle])
    seen = cv2.warpAffine(
        piece, turn, (INPUT_PX, INPUT_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    seen = seen[:, ::-1] if view.mirrored else seen
    return np.ascontiguousarray(seen, dtype=np.float32) * np.float32(1.0 / 255.0)


class SoundnessNetwork:
    """Holds the network; raises BackendUnavailable where LiteRT cannot be used."""

    def __init__(self) -> None:
        self._network = TfliteNetwork(SOUNDNESS_NETWORK, INPUT_PX)

    def rate(self, image: Image, hand: Hand, views: Sequence[View]) -> float:
        """Return the mean log-odds over `views` that `hand` is well formed."""
        piece = cut_hand(image, hand.landmarks)
        answers = [self._network.run(show(piece, view))[ANSWER] for view in views]
        return float(np.mean([log_odds(float(answer[0]), EDGE) for answer in answers]))


@cache
def load_soundness_network() -> SoundnessNetwork | None:
    """Load the network that ships with the package; None where it cannot be used."""
    try:
        return SoundnessNetwork()
    except BackendUnavailable as error:
        logger.warning("Hands are judged without the soundness network. %s", error)
        return None
