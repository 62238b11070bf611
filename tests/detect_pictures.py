"""Pictures with hands for the detectors' tests, and how they change when a picture is turned."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from handrefiner_ext.dataset.plain import Placement, Scene, generator, make_scene
from handrefiner_ext.detect.people import ARMS, Person
from handrefiner_ext.types import FloatArray, Hand, Image

FOLDER = Path(
    os.environ.get("HANDREFINER_IMAGES")
    or Path(__file__).parent.parent.parent / "shared" / "images"
)
NUMBERS = (1, 2, 3, 4, 5)


@lru_cache(maxsize=8)
def photo(number: int) -> Image:
    """One of the five pictures of the paper."""
    path = FOLDER / f"{number}.jpg"
    if not path.exists():
        pytest.skip(f"{path} is not here; HANDREFINER_IMAGES may name the folder")
    return np.asarray(PillowImage.open(path).convert("RGB"))


@lru_cache(maxsize=32)
def drawn(seed: int, height: int, width: int, *places: tuple[float, float, float]) -> Scene:
    """A rendered picture with a hand at each (x, y, size)."""
    return make_scene(
        generator("train", seed), height, width, tuple(Placement(*place) for place in places)
    )


def mirrored(image: Image) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


def turned(image: Image, degrees: float) -> Image:
    """The picture turned about its centre, in a frame of another shape."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.9)
    return np.asarray(cv2.warpAffine(image, matrix, (width + 90, height)), dtype=np.uint8)


def apart(found: Hand, landmarks: FloatArray) -> float:
    """Mean distance of a hand's landmarks from the given ones, in hand sizes."""
    size = np.ptp(landmarks, axis=0).max()
    return float(np.linalg.norm(found.landmarks - landmarks, axis=1).mean() / size)


def side_by_anatomy(hand: Hand) -> str:
    """Side that the world landmarks show: fingers bend towards the palm.

    With x right, y down and z away, wrist -> index base, wrist -> little base and the direction
    in which the fingers bend are a right-handed triple for a right hand.
    """
    points = hand.world_landmarks
    index, little = points[5] - points[0], points[17] - points[0]
    bend = sum(points[base + 3] - 2 * points[base + 1] + points[base] for base in (5, 9, 13, 17))
    return "right" if np.dot(np.cross(index, little), bend) > 0 else "left"


def make_person(left=(100.0, 300.0), right=(300.0, 300.0), visibility=0.9):
    """A body seen from the front; its left wrist lies on the picture's right side."""
    points = np.zeros((33, 2))
    points[[11, 12, 23, 24]] = [[280, 100], [120, 100], [250, 300], [150, 300]]
    for side, wrist in (("left", left), ("right", right)):
        elbow, place, little, index = ARMS[side]
        points[elbow] = np.add(wrist, [0, -90])
        points[place] = wrist
        points[[little, index]] = np.add(wrist, [[-10, 40], [10, 40]])
    return Person(0.9, points, np.full(33, visibility))


def hand_at(close_up, wrist, size_px=80.0):
    """A hand of that size with its wrist there."""
    hand = close_up.hands[0].mesh.hand
    points = (hand.landmarks - hand.landmarks[0]) * (size_px / hand.size_px) + wrist
    low, high = points.min(axis=0), points.max(axis=0)
    box = hand.box._make(int(v) for v in (*low, *(high + 1)))
    return replace(hand, landmarks=points, box=box)
