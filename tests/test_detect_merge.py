"""Sightings to hands: duplicates go, different hands stay, filters give reasons."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from detect_pictures import drawn
from hypothesis import given
from hypothesis import strategies as st

from handrefiner_ext.detect.flow import clip_boxes, parse_boxes
from handrefiner_ext.detect.sightings import (
    Sighting,
    build_detection,
    is_same_hand,
    merge,
    temper_side,
)
from handrefiner_ext.detect.tiles import plan_tiles
from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.geometry.boxes import bounding_box
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box

PARAMS = RefineParams()


@pytest.fixture(scope="module")
def hand():
    return drawn(0, 256, 256, (128, 128, 120)).hands[0].mesh.hand


def at(hand, landmarks, **changes):
    """The hand with other landmarks."""
    return replace(hand, landmarks=landmarks, box=bounding_box(landmarks), **changes)


def moved(hand, x, y):
    """The hand at another place."""
    return at(hand, hand.landmarks + np.array([float(x), float(y)]))


def about_centre(hand, matrix):
    """The hand with its landmarks changed by a matrix about their centre."""
    centre = hand.landmarks.mean(axis=0)
    return at(hand, (hand.landmarks - centre) @ np.array(matrix).T + centre)


def test_a_shaken_copy_is_the_same_hand_and_the_better_one_stays(hand):
    noise = np.random.default_rng(1).normal(scale=1.5, size=(21, 2))
    copy = at(hand, hand.landmarks + noise)
    assert is_same_hand(hand, copy)
    assert is_same_hand(copy, hand)
    assert merge([Sighting(copy, 0.6), Sighting(hand, 0.9)]) == [Sighting(hand, 0.9)]


def test_one_hand_read_as_left_and_as_right_is_one_hand(hand):
    palm_swap = [0, 1, 2, 3, 4]
    fingers = [list(range(1 + 4 * i, 5 + 4 * i)) for i in (4, 3, 2, 1, 0)]
    swapped = hand.landmarks[[palm_swap[0], *(joint for finger in fingers for joint in finger)]]
    other = at(hand, swapped, handedness="left" if hand.handedness == "right" else "right")
    assert is_same_hand(hand, other)


def test_two_clasped_hands_stay_two(hand):
    side = "left" if hand.handedness == "right" else "right"
    other = replace(about_centre(hand, [[-1, 0], [0, 1]]), handedness=side)
    other = moved(other, 0.15 * hand.size_px, 0.1 * hand.size_px)
    kept = merge([Sighting(hand, 0.9), Sighting(other, 0.8)])
    assert len(kept) == 2


def test_a_hand_held_into_another_picture_part_stays(hand):
    other = moved(hand, 1.2 * hand.size_px, 0)
    assert len(merge([Sighting(hand, 0.9), Sighting(other, 0.8, from_tile=True)])) == 2


def test_a_finger_taken_for_a_hand_gives_way_to_the_hand(hand):
    finger = about_centre(hand, np.eye(2) * 0.4)
    kept = merge([Sighting(finger, 0.99, from_tile=True), Sighting(hand, 0.9)])
    assert hand in [s.hand for s in kept]
    unsure = replace(finger, score=0.7)
    assert merge([Sighting(unsure, 0.99, from_tile=True), Sighting(hand, 0.9)]) == [
        Sighting(hand, 0.9)
    ]


def test_a_rejected_sighting_of_a_good_hand_is_not_reported(hand):
    found = build_detection(
        [Sighting(hand, 0.9, "too faint"), Sighting(hand, 0.5)], 256, 256, PARAMS
    )
    assert [h.landmarks is hand.landmarks for h in found.hands] == [True]
    assert found.refused == ()


def test_hands_come_from_left_to_right_and_refusals_with_their_reasons(hand):
    right = moved(hand, 300, 0)
    tiny = at(hand, (hand.landmarks - 128) * 0.1 + [400.0, 200.0])
    gone = moved(hand, 2000, 0)
    faint = moved(hand, 0, 250)
    seen = [Sighting(right, 0.9), Sighting(hand, 0.5), Sighting(tiny, 0.9), Sighting(gone, 0.9)]
    found = build_detection([*seen, Sighting(faint, 0.3, "It is faint.")], 512, 700, PARAMS)
    assert [h.box.x0 for h in found.hands] == [hand.box.x0, right.box.x0]
    reasons = " ".join(refusal.reason for refusal in found.refused)
    assert "min_hand_size is 24" in reasons
    assert "outside" in reasons
    assert "It is faint." in reasons
    assert len(found.refused) == 3


sides = st.integers(1, 20_000)


@given(height=sides, width=sides, mode=st.sampled_from(["auto", "on"]))
def test_tiles_cover_the_picture_within_bounds(height, width, mode):
    tiles = plan_tiles(height, width, mode)
    assert len(tiles) <= 192
    for tile in tiles:
        assert 0 <= tile.x0 < tile.x1 <= width
        assert 0 <= tile.y0 < tile.y1 <= height
    if tiles:
        finest = min(max(t.width, t.height) for t in tiles)
        level = [t for t in tiles if max(t.width, t.height) == finest]
        for start, end, length in ((0, 2, width), (1, 3, height)):
            spans = sorted({(t[start], t[end]) for t in level})
            assert spans[0][0] == 0
            assert spans[-1][1] == length
            for (_, before), (after, _) in pairwise(spans):
                assert before - after >= 0.2 * finest


@given(side=st.integers(1, 5000))
def test_tiles_off_means_none_and_auto_spares_small_pictures(side):
    assert plan_tiles(side, side, "off") == []
    assert bool(plan_tiles(side, side, "auto")) == (side > 768)


numbers = st.integers(-9_999, 9_999)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=5))
def test_boxes_survive_the_way_through_text(corners):
    text = ";".join(",".join(map(str, box)) for box in corners)
    parsed = parse_boxes(text)
    expected = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    assert [tuple(box) for box in parsed] == expected


@given(st.text(alphabet="0123456789.,;-e nainf", max_size=30))
def test_any_text_gives_boxes_or_a_sentence(text):
    with suppress(InvalidParameter):
        boxes = parse_boxes(text)
        inside, refused = clip_boxes(boxes, 480, 640)
        assert len(inside) + len(refused) == len(boxes)
        assert all(0 <= b.x0 < b.x1 <= 640 and 0 <= b.y0 < b.y1 <= 480 for b in inside)


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1,2,3,4,5", "1,2,3,nan", "1,2,3,inf", "1 2"])
def test_malformed_boxes_are_named(text):
    with pytest.raises(InvalidParameter, match="four numbers in pixels for each hand"):
        parse_boxes(text)


def test_a_box_beyond_the_picture_is_refused():
    inside, refused = clip_boxes((Box(-5, -5, 20, 30), Box(700, 10, 800, 90)), 480, 640)
    assert inside == (Box(0, 0, 20, 30),)
    assert "700,10,800,90 lies outside" in refused[0].reason


@pytest.mark.parametrize(
    ("presence", "certainty"), [(0.4, 0.5), (0.5, 0.5), (0.7, 0.735), (0.9, 0.97), (1.0, 0.97)]
)
def test_what_is_hardly_a_hand_has_no_certain_side(hand, presence, certainty):
    seen = replace(hand, score=presence, handedness_score=0.97)
    assert temper_side(seen).handedness_score == pytest.approx(certainty)
    assert temper_side(seen).handedness == hand.handedness
