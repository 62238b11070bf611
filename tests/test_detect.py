"""Both detectors on real and rendered pictures; what holds for one holds for the other."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from detect_pictures import NUMBERS, apart, drawn, mirrored, photo, side_by_anatomy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import DETECTORS

PLAIN = RefineParams(tiles="off")
OTHER_SIDE = {"left": "right", "right": "left"}
SEEDS = range(10, 16)


def built(name):
    if name == "mediapipe":
        pytest.importorskip("mediapipe")
    return DETECTORS.build(name)


@pytest.fixture(
    scope="module", params=["litert", pytest.param("mediapipe", marks=pytest.mark.mediapipe)]
)
def detector(request):
    return built(request.param)


@pytest.fixture(scope="module")
def litert():
    return built("litert")


def only_hand(detector, image, params=PLAIN):
    found = detector.detect(image, params)
    assert len(found.hands) == 1, found
    return found.hands[0]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_picture_of_the_paper_has_its_one_hand(detector, number):
    image = photo(number)
    found = detector.detect(image, PLAIN)
    assert found.refused == ()
    (hand,) = found.hands
    assert hand.landmarks.shape == (21, 2)
    assert hand.world_landmarks.shape == (21, 3)
    assert 0.5 <= hand.score <= 1
    assert 0.5 <= hand.handedness_score <= 1
    assert 100 < hand.size_px < 220
    assert 0.05 < np.ptp(hand.world_landmarks, axis=0).max() < 0.25
    assert hand.landmark_depth[0] == pytest.approx(0, abs=0.02 * hand.size_px)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_mirrored_picture_has_the_mirrored_hand_of_the_other_side(detector, number):
    image = photo(number)
    hand = only_hand(detector, image)
    other = only_hand(detector, mirrored(image))
    assert other.handedness == OTHER_SIDE[hand.handedness]
    back = hand.landmarks * [-1, 1] + [image.shape[1], 0]
    assert apart(other, back) < 0.12


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_side_is_the_one_that_the_points_show(detector, number):
    for image in (photo(number), mirrored(photo(number))):
        hand = only_hand(detector, image)
        assert hand.handedness == side_by_anatomy(hand)


@pytest.mark.parametrize(("number", "arm"), [(2, "right"), (3, "right"), (4, "left")])
def test_the_side_is_that_of_the_arm_it_belongs_to(detector, number, arm):
    assert only_hand(detector, photo(number)).handedness == arm


def test_rendered_hands_are_found_where_they_are_with_their_own_side(detector):
    errors, sides = [], []
    for seed in SEEDS:
        scene = drawn(seed, 320, 320, (160, 160, 150))
        truth = scene.hands[0].mesh.hand
        hand = only_hand(detector, scene.image)
        errors.append(apart(hand, truth.landmarks))
        sides.append(hand.handedness == truth.handedness)
    assert np.median(errors) < 0.04
    assert sum(sides) >= len(sides) - 1


@pytest.mark.mediapipe
@pytest.mark.parametrize("number", NUMBERS)
def test_both_detectors_see_the_same_hand(litert, number):
    other = built("mediapipe")
    hand = only_hand(litert, photo(number))
    theirs = only_hand(other, photo(number))
    assert hand.handedness == theirs.handedness
    assert apart(hand, theirs.landmarks) < 0.1


def test_tiles_find_small_hands_that_the_whole_picture_hides(detector):
    places = ((150.0, 180.0, 60.0), (800.0, 300.0, 60.0), (430.0, 850.0, 60.0))
    scene = drawn(1, 1024, 1024, *places)
    without = detector.detect(scene.image, RefineParams(tiles="off"))
    found = detector.detect(scene.image, RefineParams(tiles="auto"))
    assert len(without.hands) < len(found.hands) == 3
    truths = sorted((h.mesh.hand for h in scene.hands), key=lambda hand: hand.box.x0)
    for hand, truth in zip(found.hands, truths, strict=True):
        assert apart(hand, truth.landmarks) < 0.15


def test_a_large_hand_is_not_found_twice_by_tiles(detector):
    for number in (2, 4):
        assert only_hand(detector, photo(number), RefineParams(tiles="on"))


def test_more_than_two_hands_are_found(detector):
    places = tuple((150.0 + 220 * i, 150.0 + 230 * j, 120.0) for i in range(3) for j in range(2))
    scene = drawn(4, 520, 760, *places)
    assert len(detector.detect(scene.image, RefineParams(tiles="on")).hands) == 6


@pytest.mark.parametrize("threshold", ["detection_threshold", "presence_threshold"])
def test_a_hand_below_a_threshold_is_refused_with_the_threshold_named(detector, threshold):
    hand = only_hand(detector, photo(3))
    found = detector.detect(photo(3), replace(PLAIN, **{threshold: 1.0}))
    assert found.hands == ()
    (refusal,) = found.refused
    assert threshold in refusal.reason
    assert np.abs(np.subtract(refusal.box, hand.box)).max() < 10


def test_thresholds_of_zero_still_find_the_hand_first_and_stay_bounded(detector):
    zero = replace(PLAIN, detection_threshold=0.0, presence_threshold=0.0)
    hand = only_hand(detector, photo(1))
    found = detector.detect(photo(1), zero)
    assert len(found.hands) <= 256
    assert min(apart(other, hand.landmarks) for other in found.hands) < 0.15


def test_a_hand_smaller_than_allowed_is_refused(detector):
    found = detector.detect(photo(5), replace(PLAIN, min_hand_size=300))
    assert found.hands == ()
    assert "min_hand_size is 300" in found.refused[0].reason


@pytest.mark.parametrize("number", NUMBERS)
def test_a_box_around_a_hand_finds_that_hand(detector, number):
    hand = only_hand(detector, photo(number))
    text = ",".join(map(str, hand.box))
    found = detector.detect(photo(number), replace(PLAIN, boxes=text))
    assert len(found.hands) == 1
    assert apart(found.hands[0], hand.landmarks) < 0.12
    assert found.refused == ()


def test_boxes_are_answered_one_by_one(detector):
    hand = only_hand(detector, photo(4))
    around, empty, outside = ",".join(map(str, hand.box)), "0,0,60,60", "600,600,700,700"
    text = f"{empty};{around};{outside};{around}"
    found = detector.detect(photo(4), replace(PLAIN, boxes=text))
    assert len(found.hands) == 1
    reasons = [refusal.reason for refusal in found.refused]
    assert sum("No hand was found in this box" in r for r in reasons) == 1
    assert sum("outside" in r for r in reasons) == 1
    assert sum("another box" in r for r in reasons) == 1


def test_a_box_chooses_between_neighbours(detector):
    scene = drawn(5, 400, 700, (200, 200, 150), (480, 200, 150))
    for truth in (hand.mesh.hand for hand in scene.hands):
        text = ",".join(map(str, truth.box))
        hand = only_hand(detector, scene.image, replace(PLAIN, boxes=text))
        assert apart(hand, truth.landmarks) < 0.2


def test_a_hand_is_found_again_and_a_vanished_one_is_not(detector):
    scene = drawn(5, 400, 700, (200, 200, 150), (480, 200, 150))
    hands = detector.detect(scene.image, PLAIN).hands
    assert len(hands) == 2
    again = detector.redetect(scene.image, hands[::-1], PLAIN)
    for old, new in zip(hands[::-1], again, strict=True):
        assert apart(new, old.landmarks) < 0.1
    wiped = scene.image.copy()
    x0, y0, x1, y1 = hands[0].box
    wiped[max(y0 - 30, 0) : y1 + 30, max(x0 - 60, 0) : x1 + 30] = 90
    gone, there = detector.redetect(wiped, hands, PLAIN)
    assert gone is None
    assert apart(there, hands[1].landmarks) < 0.1


@pytest.mark.parametrize(("number", "left"), [(2, 239), (3, 116), (4, 307)])
def test_a_hand_cut_by_the_edge_keeps_its_box_inside_the_picture(detector, number, left):
    image = np.ascontiguousarray(photo(number)[:, left:])
    (hand,) = detector.detect(image, PLAIN).hands
    assert hand.landmarks[:, 0].min() < 0, "a part of it is outside"
    assert hand.box.x0 == 0 < hand.box.x1 <= image.shape[1]
    assert 0 <= hand.box.y0 < hand.box.y1 <= image.shape[0]


SHAPES = [(1, 1), (3, 1500), (48, 1600), (1600, 48), (400, 400)]


@pytest.mark.parametrize(
    ("shape", "mode"),
    [
        *((shape, "off") for shape in SHAPES),
        *((shape, "on") for shape in SHAPES[:3]),
        *(pytest.param(shape, "on", marks=pytest.mark.slow) for shape in SHAPES[3:]),
    ],
)
def test_a_picture_without_hands_is_a_clean_result(detector, shape, mode):
    image = np.zeros((*shape, 3), dtype=np.uint8)
    params = RefineParams(tiles=mode)
    assert detector.detect(image, params).hands == ()
    assert detector.detect(image, replace(params, boxes="0,0,9000,9000")).hands == ()


@settings(max_examples=6)
@given(arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 70), st.just(3))))
def test_any_picture_is_answered_with_boxes_inside(litert, image):
    level = 0.05
    params = replace(PLAIN, detection_threshold=level, presence_threshold=level, min_hand_size=1)
    found = litert.detect(image, params)
    height, width = image.shape[:2]
    for box in [hand.box for hand in found.hands]:
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height
    assert all(np.isfinite(hand.landmarks).all() for hand in found.hands)


def test_a_view_into_a_larger_array_gives_the_same_hand(detector):
    image = photo(2)
    wide = np.zeros((512, 1024, 3), dtype=np.uint8)
    wide[:, ::2] = image
    expected, hand = only_hand(detector, image), only_hand(detector, wide[:, ::2])
    np.testing.assert_array_equal(hand.landmarks, expected.landmarks)


def test_threads_get_the_answers_of_their_own_pictures(detector):
    images = [photo(number) for number in NUMBERS]
    expected = [only_hand(detector, image).landmarks for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: only_hand(detector, image).landmarks, images * 2))
    for one, other in zip(found, expected * 2, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


UNALIGNED = "Input tensor memory is not aligned according to LiteRt's memory alignment"


@pytest.mark.parametrize("name", ["litert", pytest.param("mediapipe", marks=pytest.mark.mediapipe)])
def test_start_use_and_exit_are_silent(name):
    built(name)
    done = run_python(
        "import numpy as np\n"
        "from handrefiner_ext.params import RefineParams\n"
        "from handrefiner_ext.registry import DETECTORS\n"
        f"detector = DETECTORS.build({name!r})\n"
        "detector.detect(np.zeros((64, 64, 3), np.uint8), RefineParams())\n"
    )
    # The newest mediapipe says so, now and then, of where the allocator has put its own tensor.
    said = [line for line in done.stderr.splitlines() if UNALIGNED not in line]
    assert (done.returncode, done.stdout, said) == (0, "", [])


@pytest.mark.parametrize(
    ("name", "package"), [("litert", "ai_edge_litert"), ("mediapipe", "mediapipe")]
)
def test_a_missing_package_is_named_with_its_remedy(name, package):
    done = run_python(
        f"import sys; sys.modules[{package!r}] = None\n"
        "from handrefiner_ext.errors import BackendUnavailable\n"
        "from handrefiner_ext.registry import DETECTORS\n"
        "try:\n"
        f"    DETECTORS.build({name!r})\n"
        "except BackendUnavailable as error:\n"
        "    print(error)\n"
    )
    assert done.returncode == 0, done.stderr
    assert "pip install" in done.stdout
    assert name in done.stdout


def test_neither_torch_nor_mediapipe_is_imported_for_litert():
    done = run_python(
        "import sys\n"
        "from handrefiner_ext.registry import DETECTORS\n"
        "DETECTORS.build('litert')\n"
        "print([name for name in ('torch', 'mediapipe', 'jax') if name in sys.modules])\n"
    )
    assert done.stdout.strip() == "[]", done.stderr
