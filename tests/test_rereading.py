"""A misread hand is read again and mended; a well-read one is left as it is."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from handrefiner_ext.dataset.plain import Placement, generator, make_scene
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.detect.views import reread
from handrefiner_ext.hands.readings import Backends, doubt, is_doubtful, reconstruct_well
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Hand, HandMesh, Refusal

PARAMS = RefineParams(tiles="off")
PICTURES = Path(
    os.environ.get("HANDREFINER_IMAGES")
    or Path(__file__).parent.parent.parent / "shared" / "images"
)


@dataclass
class GivenReadings:
    """Offers the readings that it was made with, and counts how often it is asked."""

    readings: tuple[Hand, ...]
    asked: int = 0

    def reread(self, image, hand, params):
        self.asked += 1
        return self.readings


@pytest.fixture(scope="module")
def scene():
    return make_scene(generator("train", 10_003), 512, 512, (Placement(256, 256, 220.0),))


@pytest.fixture(scope="module")
def reconstructor():
    return OpenHandReconstructor()


def turned(hand):
    """The same points, upside down: a plausible hand that is not the one in the picture."""
    return replace(hand, landmarks=2 * hand.landmarks.mean(axis=0) - hand.landmarks)


def scattered(hand):
    points = np.random.default_rng(0).uniform(100, 400, (21, 2))
    return replace(hand, landmarks=points)


def test_a_well_read_hand_is_not_read_again(scene, reconstructor):
    hand = scene.hands[0].mesh.hand
    detector = GivenReadings((turned(hand),))
    found = reconstruct_well(scene.image, hand, Backends(detector, reconstructor), PARAMS)
    assert detector.asked == 0
    assert found.hand is hand


@pytest.mark.parametrize("misread", [turned, scattered])
def test_the_reading_that_explains_the_picture_wins(scene, reconstructor, misread):
    hand = scene.hands[0].mesh.hand
    first = reconstructor.reconstruct(scene.image, misread(hand), PARAMS)
    detector = GivenReadings((misread(hand), hand))
    backends = Backends(detector, reconstructor)
    found = reconstruct_well(scene.image, misread(hand), backends, PARAMS)
    assert found.hand is hand
    assert doubt(found) < doubt(first)


def test_without_other_readings_the_first_answer_stands(scene, reconstructor):
    hand = scattered(scene.hands[0].mesh.hand)
    backends = Backends(GivenReadings(()), reconstructor)
    found = reconstruct_well(scene.image, hand, backends, PARAMS)
    assert isinstance(found, Refusal)
    assert is_doubtful(found)


def test_the_v_sign_of_the_fifth_picture_has_two_raised_fingers(reconstructor):
    path = PICTURES / "5.jpg"
    if not path.exists():
        pytest.skip("the paper's test pictures are not here (HANDREFINER_IMAGES)")
    image = np.asarray(PillowImage.open(path).convert("RGB"))
    detector = LitertDetector()
    (hand,) = detector.detect(image, PARAMS).hands
    mesh = reconstruct_well(image, hand, Backends(detector, reconstructor), PARAMS)
    assert isinstance(mesh, HandMesh)
    chains = mesh.joints_2d[1:].reshape(5, 4, 2)
    rise = (chains[:, 0, 1] - chains[:, 3, 1]) / mesh.hand.size_px
    assert sum(rise[1:] > 0.3) == 2


def test_another_reading_is_as_sure_of_its_side_as_all_of_them_together(scene):
    """It replaces the first reading's side, too: shapeless hands were called left for certain."""
    first = replace(scene.hands[0].mesh.hand, score=0.95, handedness="right", handedness_score=0.9)
    seen = [replace(first, handedness="left", handedness_score=0.99)] * 2
    seen += [replace(first, score=0.6, handedness_score=0.99)] * 6

    class Doubting:
        """Reads the same hand in every window, of one side or the other."""

        def find_palms(self, *_):
            return []

        def read(self, *_):
            return seen[next(numbers)]

    numbers = count()
    readings = reread(Doubting(), scene.image, first, presence=0.5)
    assert [reading.handedness for reading in readings] == ["left"] * 2 + ["right"] * 6
    hardly_there = 0.5 + 0.25 * 0.49
    right = (0.9 + 2 * 0.01 + 6 * hardly_there) / 9
    expected = [0.5] * 2 + [right] * 6
    assert [reading.handedness_score for reading in readings] == pytest.approx(expected)
