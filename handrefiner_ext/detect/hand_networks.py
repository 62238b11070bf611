"""The two hand networks together: from windows of the picture to palms and hands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2

from handrefiner_ext.detect.model import LANDMARK_NETWORK, PALM_NETWORK
from handrefiner_ext.detect.network import Network
from handrefiner_ext.detect.palm import PALM_SIZE, Palm, blend, decode, distinct, to_window
from handrefiner_ext.detect.reading import LANDMARK_SIZE, RawReading, to_hand
from handrefiner_ext.detect.roi import UPRIGHT, Roi, around_box, around_landmarks, warp
from handrefiner_ext.types import Box, Hand, Image

PALMS_IN_VIEW, PALMS_IN_PICTURE = 64, 256
"""Bounds on the work that a threshold of zero can cause."""


class HandNetworks:
    """Palm and landmark network over one picture at a time.

    upright: direction in which the landmark network is shown a hand, radians. mediapipe's Tasks
    API sets it to 90 where radians are expected, so its windows are turned by 26.6 degrees too
    many; with upright=90.0 both agree, with the intended direction the landmarks are nearer the
    truth and the side is right more often.
    """

    def __init__(self, upright: float = UPRIGHT) -> None:
        self._upright = upright
        self._palm = Network(PALM_NETWORK)
        self._landmark = Network(LANDMARK_NETWORK)

    def find_palms(
        self, image: Image, views: Iterable[Box], threshold: float, faint: float
    ) -> list[Palm]:
        """Palms that score at least `threshold` in one of the views, best first, each once.

        In the first view also those down to `faint`; they have no part in the others' average.
        """
        found: list[Palm] = []
        for number, view in enumerate(views):
            window = around_box(view)
            lowest = min(faint, threshold) if number == 0 else threshold
            raw, logits = self._palm.run(warp(image, window, PALM_SIZE, cv2.BORDER_CONSTANT))
            boxes, scores = decode(raw, logits[:, 0], lowest)
            for part in (scores >= threshold, scores < threshold):
                blended = blend(boxes[part], scores[part], PALMS_IN_VIEW)
                found += [
                    Palm(s, to_window(box, window, self._upright), number) for s, box in blended
                ]
        return distinct(found)[:PALMS_IN_PICTURE]

    def read_closely(self, image: Image, window: Roi, presence: float) -> Hand:
        """As `read`, and once more through the window that the landmarks ask for.

        That is what MediaPipe does from frame to frame of a video. The second look is nearer the
        truth, and what is no hand seldom looks like one twice; the score is the lower one.
        """
        first = self.read(image, window)
        if first.score <= presence:
            return first
        second = self.read(image, around_landmarks(first.landmarks))
        return replace(second, score=min(first.score, second.score))

    def read(self, image: Image, window: Roi) -> Hand:
        """What the landmark network makes of a window; its score says whether it is a hand."""
        picture = warp(image, window, LANDMARK_SIZE, cv2.BORDER_REPLICATE)
        landmarks, presence, right, world = self._landmark.run(picture)
        raw = RawReading(landmarks, float(presence[0]), float(right[0]), world)
        return to_hand(raw, window, *image.shape[:2])
