"""The landmark network's answer, turned back into the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from handrefiner_ext.detect.windows import Roi, rotation
from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.topology import JOINT_COUNT
from handrefiner_ext.types import FloatArray, Hand

LANDMARK_SIZE = 224
"""Side of the network's input, pixels."""
DEPTH_SCALE = 0.4
"""MediaPipe divides the network's depth by this (`normalize_z` of its hand graphs)."""
BORDER = cv2.BORDER_REPLICATE


@dataclass(frozen=True)
class RawReading:
    """Outputs of the network: (63,) input pixels, presence, right-hand score, (63,) metres."""

    landmarks: FloatArray
    presence: float
    right_score: float
    world: FloatArray


def to_hand(raw: RawReading, roi: Roi, height: int, width: int) -> Hand:
    """The hand that the network saw through `roi` of a picture of the given size."""
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
    """A `Hand` in a picture of `size` (height, width); scores: presence, right-hand score."""
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
