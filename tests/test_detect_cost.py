"""What a search costs: no look is paid for that cannot find anything, and none twice."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import cv2
import numpy as np
import pytest
from detect_pictures import hand_at, make_person

from handrefiner_ext import tflite
from handrefiner_ext.detect.looks import Looks
from handrefiner_ext.detect.networks import Palm
from handrefiner_ext.detect.people import Surroundings
from handrefiner_ext.detect.searching import HandSearch
from handrefiner_ext.detect.sightings import Sighting
from handrefiner_ext.geometry.windows import Roi, warp
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box

PARAMS = RefineParams()


def test_a_clear_hand_pays_for_none_of_the_later_looks(detector, close_up, monkeypatch):
    runs = Counter()
    names = {
        id(detector._networks._palm): "palm",
        id(detector._networks._landmark): "landmarks",
        id(detector._people._pose): "pose",
        id(detector._people._landmarks): "body",
        id(detector._people._face): "face",
    }
    original = tflite.TfliteNetwork.run

    def run(self, picture):
        runs[names[id(self)]] += 1
        return original(self, picture)

    monkeypatch.setattr(tflite.TfliteNetwork, "run", run)
    assert len(detector.detect(close_up.image, PARAMS).hands) == 1
    assert runs["palm"] == runs["pose"] == runs["face"] == 1
    assert runs["landmarks"] <= 2


def test_no_view_is_shown_to_the_palm_network_twice(detector, monkeypatch):
    """The whole picture is looked at in the first search and, without a hand, in the second."""
    shown = []
    original = tflite.TfliteNetwork.run

    def run(self, picture):
        if self is detector._networks._palm:
            shown.append(picture.tobytes())
        return original(self, picture)

    monkeypatch.setattr(tflite.TfliteNetwork, "run", run)
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    assert detector.detect(noise, PARAMS).hands == ()
    assert len(shown) > 5
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize(("has_body", "rank", "reads"), [(1, 0.5, 0), (0, 0.9, 0), (0, 0.5, 1)])
def test_faint_palms_are_read_where_neither_body_nor_palm_tells(
    detector, close_up, monkeypatch, has_body, rank, reads
):
    """One hand is found at a wrist; the other wrist, or a face, says that one is missed."""
    hand = hand_at(close_up, (100.0, 300.0))
    face = Box(180, 20, 240, 90)
    people = (make_person(),) if has_body else ()
    search = HandSearch(
        detector._networks, close_up.image, PARAMS, Surroundings(people, (face,), (face,))
    )
    search.found.append(Sighting(hand, rank))
    search.looks.faint.append(Palm(0.1, Roi(300.0, 100.0, 60.0, 0.0)))
    read = []
    monkeypatch.setattr(search.looks, "read_faint", lambda palm: read.append(palm))
    assert search.misses_something()
    search.search_faint_palms()
    assert len(read) == reads


def test_a_faint_palm_that_shows_nothing_costs_one_look(detector, monkeypatch):
    looked = []
    read = detector._networks.read

    def count(image, window):
        looked.append(window)
        return read(image, window)

    monkeypatch.setattr(detector._networks, "read", count)
    grey = np.full((300, 300, 3), 128, np.uint8)
    looks = Looks(detector._networks, grey, PARAMS)
    assert looks.read_faint(Palm(0.1, Roi(150.0, 150.0, 100.0, 0.0))) is None
    assert len(looked) == 1


def test_a_window_of_a_huge_picture_is_cut_out_without_a_copy():
    huge = np.full((4000, 4000, 3), 200, np.uint8)
    tracemalloc.start()
    seen = warp(huge, Roi(2000.0, 2000.0, 3000.0, 0.3), 192, cv2.BORDER_REPLICATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(seen, 200 / 255, rtol=1e-6)
    assert peak < huge.nbytes / 10
