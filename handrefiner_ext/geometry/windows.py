"""Turned square windows of a picture around palms and hands, as the networks see them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import Box, FloatArray, Image

PALM_SCALE, PALM_SHIFT = 2.6, -0.5
"""From a palm's box to the hand's window: 2.6 times as large and moved by half the box towards the
fingers. MediaPipe's `palm_detection_detection_to_roi` uses these figures, and the landmark network
was trained on such windows."""
LANDMARK_SCALE, LANDMARK_SHIFT = 2.0, -0.1
"""The same from the box around the landmarks (MediaPipe's `hand_landmark_landmarks_to_roi`)."""
STEADY_JOINTS = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""Joints that define the window; the fingertips move too much."""
DIRECTION_WEIGHTS = {6: 0.25, 10: 0.5, 14: 0.25}
"""Joints (index, middle and ring PIP) whose weighted mean, seen from the wrist, is 'up'."""
UPRIGHT = math.pi / 2
"""Direction of an unturned hand, from the wrist to the middle finger: up."""
LARGEST_WARP = 32_000
"""OpenCV's warps index source pixels with 16 bits."""


@dataclass(frozen=True)
class Roi:
    """A square of the picture: centre, side in pixels, clockwise turn `angle` in radians."""

    center_x: float
    center_y: float
    side: float
    angle: float

    def to_picture(self, points: FloatArray) -> FloatArray:
        """Map (n, 2) points of the unit square to (n, 2) pixels."""
        centre = np.array([self.center_x, self.center_y])
        turned: FloatArray = (points - 0.5) * self.side @ rotation(self.angle).T + centre
        return turned

    def corners(self) -> FloatArray:
        """Return (4, 2) pixels: bottom left, top left, top right, bottom right before the turn."""
        return self.to_picture(np.array([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))


@dataclass(frozen=True)
class Tolerance:
    """How far two windows may differ: in place (sides), size (ratio) and turn (radians)."""

    place: float
    size: float
    turn: float

    def allows(self, a: Roi, b: Roi) -> bool:
        """Return whether two windows differ by less."""
        small, large = sorted((a.side, b.side))
        apart = math.hypot(a.center_x - b.center_x, a.center_y - b.center_y)
        turned = abs(math.remainder(a.angle - b.angle, 2 * math.pi))
        return apart < self.place * small and large < self.size * small and turned < self.turn


def rotation(angle: float) -> FloatArray:
    """Return the (2, 2) matrix that turns a vector clockwise (y points down) by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def around_box(box: Box, scale: float = 1.0) -> Roi:
    """Return the upright square around a box, `scale` times its longer side."""
    return Roi(
        (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, scale * max(box.width, box.height), 0.0
    )


def around_palm(
    box: FloatArray, wrist: FloatArray, middle: FloatArray, upright: float = UPRIGHT
) -> Roi:
    """Return the window of a hand from its palm.

    box: (4,) x0, y0, x1, y1. wrist, middle: (2,) the wrist and the base of the middle finger.
    """
    angle = turn_from_upright(middle - wrist, upright)
    width, height = box[2] - box[0], box[3] - box[1]
    shift = rotation(angle) @ np.array([0.0, PALM_SHIFT * height])
    x, y = (box[:2] + box[2:]) / 2 + shift
    return Roi(float(x), float(y), PALM_SCALE * float(max(width, height)), angle)


def around_landmarks(landmarks: FloatArray) -> Roi:
    """Return the window of a hand whose (21, 2) landmarks are known."""
    target = sum((w * landmarks[j] for j, w in DIRECTION_WEIGHTS.items()), np.zeros(2))
    angle = turn_from_upright(target - landmarks[0])
    upright = landmarks[list(STEADY_JOINTS)] @ rotation(angle)
    low, high = upright.min(axis=0), upright.max(axis=0)
    width, height = high - low
    centre = (low + high) / 2 + np.array([0.0, LANDMARK_SHIFT * height])
    x, y = rotation(angle) @ centre
    return Roi(float(x), float(y), LANDMARK_SCALE * float(max(width, height, 1e-3)), angle)


def turn_from_upright(direction: FloatArray, upright: float = UPRIGHT) -> float:
    """Return the clockwise angle from 'up' to a picture vector, radians in [-pi, pi)."""
    angle = upright - math.atan2(-float(direction[1]), float(direction[0]))
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))


def warp(image: Image, roi: Roi, size: int, border: int) -> NDArray[np.float32]:
    """Cut out what `roi` shows, as (size, size, 3) float32 in 0..1.

    As in MediaPipe's converter, the square's corners go to the corners of the result, without a
    shift by half a pixel, and source positions are rounded to 1/32 pixel. OpenCV 4 rounds by
    itself; the fixed-point maps make OpenCV 5 do the same, as the networks notice the difference.
    Only the part of the picture under the square is read.
    """
    corners = roi.corners()
    part, origin = _part_under(image, corners)
    part, scale = _shrink_oversized(part)
    bottom_left, top_left, top_right, _ = (corners - origin) * scale
    steps = np.arange(size) / size
    across, down = top_right - top_left, bottom_left - top_left
    x, y = (
        (top_left[i] + across[i] * steps[None, :] + down[i] * steps[:, None])
        .clip(-LARGEST_WARP, LARGEST_WARP)
        .astype(np.float32)
        for i in (0, 1)
    )
    whole, fraction = cv2.convertMaps(x, y, cv2.CV_16SC2)
    black = (0.0, 0.0, 0.0)
    seen = cv2.remap(part, whole, fraction, cv2.INTER_LINEAR, borderMode=border, borderValue=black)
    return seen.astype(np.float32) * np.float32(1.0 / 255.0)


def _part_under(image: Image, corners: FloatArray) -> tuple[Image, FloatArray]:
    """Return the part of the picture that the corners enclose, with a rim, and its origin."""
    height, width = image.shape[:2]
    x0, y0 = np.floor(corners.min(axis=0)).astype(int) - 2
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int) + 3
    x0, x1 = min(max(x0, 0), width - 1), max(min(x1, width), 1)
    y0, y1 = min(max(y0, 0), height - 1), max(min(y1, height), 1)
    part = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    # OpenCV steps over what lies beside it; a copy of a huge picture takes longer than the warp.
    return part, np.array([float(x0), float(y0)])


def _shrink_oversized(part: Image) -> tuple[Image, FloatArray]:
    """Shrink `part` to what OpenCV's warps can index; return it and the (x, y) factors."""
    height, width = part.shape[:2]
    if max(height, width) <= LARGEST_WARP:
        return part, np.ones(2)
    size = (min(width, LARGEST_WARP), min(height, LARGEST_WARP))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), np.array([size[0] / width, size[1] / height])
