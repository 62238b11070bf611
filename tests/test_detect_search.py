"""The order of looks: bodies, second search, belief, and what it costs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detect_pictures import hand_at, make_person
from PIL import Image as PillowImage

from handrefiner_ext.detect.looks import Looks, scale_hand
from handrefiner_ext.detect.networks import Palm
from handrefiner_ext.detect.people import (
    Surroundings,
    Wrist,
    belongs_to_face,
    belongs_to_wrist,
    side_odds,
    with_ears,
)
from handrefiner_ext.detect.searching import HandSearch, cut_quarters
from handrefiner_ext.detect.sightings import Sighting, is_same_hand
from handrefiner_ext.detect.views import (
    AT_WRIST,
    IN_TILE,
    LANDMARKS_ALONE,
    LOOKS,
    Evidence,
    measure_support,
)
from handrefiner_ext.geometry.boxes import intersection_over_union
from handrefiner_ext.geometry.transforms import mirror_hand
from handrefiner_ext.geometry.windows import around_landmarks
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box

SHARED = Path(__file__).parent.parent.parent / "shared"
CASES = Path(os.environ.get("HANDREFINER_CASES") or SHARED / "cases")
REAL_HANDS = Path(os.environ.get("HANDREFINER_REAL_HANDS") or SHARED / "real_hands")
PARAMS = RefineParams()


def case(name):
    path = CASES / name
    if not path.exists():
        pytest.skip(f"{path} is not here; HANDREFINER_CASES may name the folder")
    return np.asarray(PillowImage.open(path).convert("RGB"))


def test_a_wrist_gives_the_place_and_the_least_size_of_its_hand():
    person = make_person()
    left, right = person.wrists
    assert (left.side, right.side) == ("left", "right")
    np.testing.assert_allclose(left.centre, [100 + 10 / 3, 340])
    assert left.size_px >= 2 * 40
    folded = replace(person, landmarks=person.landmarks.copy())
    folded.landmarks[[17, 19]] = folded.landmarks[15]
    assert folded.wrists[0].size_px == pytest.approx(0.45 * 160)


def test_wrists_out_of_sight_or_out_of_the_picture_are_not_listed():
    around = Surroundings((make_person(left=(-20.0, 300.0)),))
    assert [w.side for w in around.list_wrists(0.5, 400, 400)] == ["right"]
    hidden = Surroundings((make_person(visibility=0.2),))
    assert hidden.list_wrists(0.5, 400, 400) == []
    assert len(hidden.list_wrists(0.1, 400, 400)) == 2


def test_one_hand_explains_one_of_two_wrists_that_touch(detector, close_up):
    person = make_person(left=(190.0, 300.0), right=(210.0, 300.0))
    search = HandSearch(
        detector._networks, close_up.image, PARAMS, Surroundings((person,)), scene_found := []
    )
    assert len(search.list_unexplained(0.5)) == 2
    scene_found.append(Sighting(hand_at(close_up, (208.0, 300.0)), 0.9))
    assert [wrist.side for wrist in search.list_unexplained(0.5)] == ["left"]


class PeopleSeen:
    """Stands where the people networks do, with a body that is known."""

    def __init__(self, person):
        self.person = person

    def look(self, image):
        return Surroundings((self.person,))


@pytest.mark.parametrize(
    ("read", "certainty", "told"),
    [
        ("left", 0.6, "right"),
        ("left", 0.97, "right"),
        ("left", 0.99, "left"),
        ("right", 0.6, "right"),
    ],
)
def test_the_body_tells_the_side_where_the_hand_does_not(detector, close_up, read, certainty, told):
    """All that is seen of the hand is given; only its side is weighed."""
    truth = close_up.hands[0].mesh.hand
    person = make_person(left=(-300.0, 300.0), right=tuple(truth.landmarks[0]), visibility=0.99)
    hand = replace(truth, handedness=read, handedness_score=certainty, score=0.99)
    search = HandSearch(detector._networks, close_up.image, replace(PARAMS, tiles="off"))
    seen, *_ = search.run([Sighting(hand, 0.95)], PeopleSeen(person))
    assert seen.hand.handedness == told
    if read == told == "right":
        assert seen.hand.handedness_score > certainty
    np.testing.assert_array_equal(seen.hand.landmarks, truth.landmarks)


def test_a_body_whose_wrists_touch_tells_no_side(close_up):
    person = make_person(left=(190.0, 300.0), right=(212.0, 300.0), visibility=1.0)
    assert side_odds(hand_at(close_up, (201.0, 300.0)), person.wrists) == 0.0
    assert side_odds(hand_at(close_up, (211.0, 300.0)), person.wrists) > 3.0
    assert side_odds(hand_at(close_up, (191.0, 300.0)), person.wrists) < -3.0
    assert side_odds(hand_at(close_up, (20.0, 20.0)), person.wrists) == 0.0


def test_a_fingers_size_is_no_hand_of_a_body(close_up):
    wrist = make_person().wrists[0]
    assert belongs_to_wrist(hand_at(close_up, wrist.point), wrist)
    assert not belongs_to_wrist(hand_at(close_up, wrist.point, size_px=20.0), wrist)
    assert not belongs_to_wrist(hand_at(close_up, (400.0, 300.0)), wrist)


@pytest.mark.parametrize(
    ("scores", "evidence", "accepted"),
    [
        ((0.9, 0.9, 0.9), IN_TILE, True),
        ((0.3, 0.96, 0.97), IN_TILE, True),
        ((0.5, 0.85, 0.83), IN_TILE, False),
        ((0.95, 0.95, 0.6), IN_TILE, False),
        ((0.95, 0.6, 0.95), IN_TILE, False),
        ((0.3, 0.5, 0.5), AT_WRIST, True),
        ((0.9, 0.9, 0.3), AT_WRIST, False),
    ],
)
def test_what_is_believed(close_up, scores, evidence: Evidence, accepted):
    palm, presence, support = scores
    sighting = Sighting(replace(close_up.hands[0].mesh.hand, score=presence), palm)
    assert evidence.accepts(sighting, support) is accepted


def test_a_hand_has_more_support_than_any_place_beside_it(detector, close_up):
    (hand,) = detector.detect(close_up.image, PARAMS).hands
    assert measure_support(detector._networks, close_up.image, hand) > 0.8
    noise = np.random.default_rng(0).integers(0, 255, close_up.image.shape, dtype=np.uint8)
    assert measure_support(detector._networks, noise, hand) < 0.2


def test_looking_ends_as_soon_as_the_answer_is_certain(detector, close_up, monkeypatch):
    looks = []
    monkeypatch.setattr(
        "handrefiner_ext.detect.views._look_once", lambda *a: looks.append(a) or 1.0
    )
    hand = close_up.hands[0].mesh.hand
    assert measure_support(detector._networks, close_up.image, hand, enough=0.5) == 1.0
    assert len(looks) == len(LOOKS) / 2
    monkeypatch.setattr(
        "handrefiner_ext.detect.views._look_once", lambda *a: looks.append(a) or 0.0
    )
    looks.clear()
    assert measure_support(detector._networks, close_up.image, hand, enough=0.85) == 0.0
    assert len(looks) == 1


def test_the_mirror_image_of_a_mirror_image_is_the_hand_itself(close_up):
    hand = close_up.hands[0].mesh.hand
    turned = mirror_hand(hand, *close_up.image.shape[:2])
    assert turned.handedness != hand.handedness
    back = mirror_hand(turned, *close_up.image.shape[:2])
    np.testing.assert_allclose(back.landmarks, hand.landmarks)
    np.testing.assert_allclose(back.world_landmarks, hand.world_landmarks)


def test_a_hand_scaled_and_scaled_back_stays_where_it_was(close_up):
    hand = close_up.hands[0].mesh.hand
    larger = scale_hand(hand, (2.0, 2.0), (800, 800))
    assert larger.size_px == pytest.approx(2 * hand.size_px)
    np.testing.assert_allclose(scale_hand(larger, (0.5, 0.5), (400, 400)).landmarks, hand.landmarks)


@pytest.mark.parametrize(("height", "width"), [(400, 400), (300, 1000), (1000, 200), (5, 5)])
def test_the_quarters_cover_the_picture(height, width):
    seen = np.zeros((height, width), dtype=bool)
    for part in cut_quarters(height, width):
        assert 0 <= part.x0 < part.x1 <= width
        assert 0 <= part.y0 < part.y1 <= height
        seen[part.slices] = True
    assert seen.all()


def test_two_readings_of_one_hand_that_differ_in_the_fingers_are_one(close_up):
    hand = close_up.hands[0].mesh.hand
    stretched = hand.landmarks.copy()
    fingers = [j for j in range(21) if j not in (0, 1, 5, 9, 13, 17)]
    stretched[fingers] += 0.15 * hand.size_px
    assert is_same_hand(hand, replace(hand, landmarks=stretched))
    assert not is_same_hand(hand, replace(hand, landmarks=hand.landmarks + 0.6 * hand.size_px))


def test_one_hand_is_not_found_twice(detector):
    assert len(detector.detect(case("one_hand_found_twice.jpg"), PARAMS).hands) == 1


def test_a_drawn_hand_whose_palm_is_faint_is_found_and_the_face_is_not(detector):
    """The palm network gives it 0.13; the threshold is 0.5."""
    (hand,) = detector.detect(case("false_hand_on_anime_face.webp"), PARAMS).hands
    assert intersection_over_union(hand.box, Box(300, 285, 400, 390)) >= 0.3


def test_who_asks_for_surer_palms_gets_no_faint_ones(detector):
    stricter = replace(PARAMS, detection_threshold=0.6)
    assert detector.detect(case("false_hand_on_anime_face.webp"), stricter).hands == ()


@pytest.mark.parametrize("degrees", [-90, 90])
def test_a_faint_palm_that_points_aside_is_read_in_other_directions(detector, close_up, degrees):
    (hand,) = detector.detect(close_up.image, PARAMS).hands
    right = around_landmarks(hand.landmarks)
    aside = replace(right, side=right.side / 1.4, angle=right.angle + np.radians(degrees))
    looks = Looks(detector._networks, close_up.image, PARAMS)
    sighting = looks.read_faint(Palm(0.1, aside))
    assert is_same_hand(sighting.hand, hand)


def test_two_faces_without_bodies_may_have_four_hands(detector, close_up):
    faces = (Box(0, 0, 40, 40), Box(200, 0, 240, 40))
    (hand,) = detector.detect(close_up.image, PARAMS).hands
    for count in range(5):
        search = HandSearch(
            detector._networks, close_up.image, PARAMS, Surroundings((), faces, faces)
        )
        search.found += [Sighting(hand, 1.0)] * count
        assert search.misses_something() == (count < 4)


def test_faint_palms_leave_the_clear_ones_as_they_are(detector, close_up):
    whole = [Box(0, 0, 400, 400)]
    clear = detector._networks.find_palms(close_up.image, whole, 0.5, 0.5)
    every = detector._networks.find_palms(close_up.image, whole, 0.5, 0.0)
    assert len(clear) == 1
    assert len(every) > 1
    assert every[0].roi == clear[0].roi
    assert all(palm.score < 0.5 for palm in every[1:])


def test_a_sliver_of_a_hand_is_none(detector, close_up):
    hand = close_up.hands[0].mesh.hand
    search = HandSearch(detector._networks, close_up.image, PARAMS)
    sliver = replace(hand, box=hand.box._replace(x1=hand.box.x0 + hand.box.height // 6))
    search.consider([Sighting(sliver, 0.95)], IN_TILE)
    assert search.found == []
    search.consider([Sighting(hand, 0.95)], IN_TILE)
    assert len(search.found) == 1


def test_a_close_up_without_a_palm_is_read_in_its_middle(detector, close_up, monkeypatch):
    """As malformed hands are: nothing in them looks like a palm."""
    monkeypatch.setattr(detector._networks, "find_palms", lambda *_: [])
    (hand,) = detector.detect(close_up.image, PARAMS).hands
    assert intersection_over_union(hand.box, close_up.hands[0].mesh.hand.box) > 0.5
    noise = np.random.default_rng(0).integers(0, 255, close_up.image.shape, dtype=np.uint8)
    assert detector.detect(noise, PARAMS).hands == ()
    small = np.full((1200, 1200, 3), 128, dtype=np.uint8)
    small[400:800, 400:800] = close_up.image
    assert detector.detect(small, PARAMS).hands == ()


@pytest.mark.parametrize("name", ["00121_r", "00324_r", "00435_r"])
def test_lumps_that_should_be_hands_are_found(detector, name):
    path = REAL_HANDS / "pairs" / f"{name}_before.jpg"
    if not path.exists():
        pytest.skip(f"{path} is not here; HANDREFINER_REAL_HANDS may name the folder")
    image = np.asarray(PillowImage.open(path).convert("RGB"))
    assert len(detector.detect(image, PARAMS).hands) == 1


def test_a_wrist_without_a_palm_is_read_itself(detector, close_up):
    """The body's wrist alone gives place, size and direction of the window."""
    truth = close_up.hands[0].mesh.hand
    middle = (truth.landmarks[5] * 2 + truth.landmarks[17]) / 3
    wrist = Wrist("right", truth.landmarks[0], middle, truth.size_px, 0.9)
    seen = Looks(detector._networks, close_up.image, PARAMS).sight_at(wrist)
    assert any(is_same_hand(s.hand, truth) for s in seen)
    assert all(s.rank == 0.0 for s in seen)
    away = replace(wrist, point=wrist.point - 1000.0, centre=wrist.centre - 1000.0)
    assert Looks(detector._networks, close_up.image, PARAMS).sight_at(away) == []


def test_a_hand_belongs_to_a_face_by_its_size_and_distance(close_up):
    face = Box(0, 0, 100, 100)
    assert belongs_to_face(hand_at(close_up, (100.0, 250.0), 80.0), face)
    assert not belongs_to_face(hand_at(close_up, (100.0, 250.0), 20.0), face)
    assert not belongs_to_face(hand_at(close_up, (100.0, 250.0), 300.0), face)
    assert not belongs_to_face(hand_at(close_up, (100.0, 900.0), 80.0), face)
    assert with_ears(face) == Box(-20, 0, 120, 100)


def test_hands_without_a_palm_need_both_presence_and_support(close_up):
    hand = close_up.hands[0].mesh.hand
    for presence, support, believed in ((0.95, 0.95, True), (0.95, 0.8, False), (0.8, 0.95, False)):
        sighting = Sighting(replace(hand, score=presence), 0.05)
        assert LANDMARKS_ALONE.accepts(sighting, support) is believed


def test_a_rock_and_an_ear_are_no_hands(detector):
    """The one hand that may be found is the small one at the hip."""
    found = detector.detect(case("rock_becomes_hand.jpg"), PARAMS).hands
    assert all(350 < hand.landmarks[:, 0].mean() < 450 for hand in found)
