"""The quality of a hand: what it is made from, and that malformed hands have less of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
import pytest
from foreign_hand import load_foreign_hand
from judge import FOREIGN_HAND, PARAMS, area_under_curve
from scipy.signal import correlate

from handrefiner_ext.dataset.faults import CLASSIC
from handrefiner_ext.dataset.plain import open_hand_model
from handrefiner_ext.dataset.twins import SETTINGS, all_pictures, make_twins
from handrefiner_ext.detect.flow import DetectorWrapper
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.geometry.probability import log_odds
from handrefiner_ext.judge import form as form_network
from handrefiner_ext.judge import quality as quality_module
from handrefiner_ext.judge.form import CONTEXT, KINDS, Jitter, make_planes, place_window
from handrefiner_ext.judge.quality import (
    BETWEEN,
    FORM_FLOOR,
    FORM_WEIGHT,
    MALFORMED_BELOW,
    NO_HAND,
    SOUNDNESS_CEILING,
    UNSURE_FROM,
    VIEWS,
    HandQuality,
    measure_drift,
)
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.pipeline import refine, repaint
from handrefiner_ext.repaint.keep_best import WELL_FORMED
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import ModelHome, View

COUNT, ALL = 2, 4
"""Scenes, each with a good hand and one of every fault: always, and with the slow tests."""


@dataclass
class FaintDetector(DetectorWrapper):
    """Sees what `detector` sees, but is less sure that it is a hand."""

    presence: float = 0.3

    def redetect(self, image, hands, params):
        seen = self.detector.redetect(image, hands, params)
        return tuple(hand and replace(hand, score=self.presence) for hand in seen)

    def examine(self, image, hand, views, params):
        seen = self.detector.examine(image, hand, views, params)
        return tuple(one and replace(one, score=self.presence) for one in seen)


@pytest.fixture(scope="module")
def detector():
    return LitertDetector()


@pytest.fixture(scope="module")
def meter():
    return HandQuality(OpenHandReconstructor())


@pytest.fixture(scope="module")
def twins():
    return make_foreign(0, COUNT)


def make_foreign(first, count):
    """Of a hand model, a light and backgrounds that the network has not been trained with."""
    hand = load_foreign_hand(str(FOREIGN_HAND))
    return [make_twins("validation", 500 + n, hand, SETTINGS["other"]) for n in range(first, count)]


@pytest.fixture(scope="module", params=[COUNT, pytest.param(ALL, marks=pytest.mark.slow)])
def scores(request, twins, detector, meter):
    """Kind -> qualities."""
    found = {}
    for one in [*twins, *make_foreign(COUNT, request.param)]:
        for kind, picture in all_pictures(one):
            place = (one.truth.hand,)
            (quality,) = meter.measure(detector, picture, place, PARAMS)
            found.setdefault(kind, []).append(quality.score)
    return found


def test_malformed_hands_have_less_quality_than_well_formed_ones(scores):
    """Measured: 0.95 over all; 0.83 for fingers too long, at least 0.94 for every other fault."""
    by_fault = {fault: area_under_curve(scores["good"], scores[fault]) for fault in CLASSIC}
    assert min(by_fault.values()) > 0.7
    assert area_under_curve(scores["good"], [s for f in CLASSIC for s in scores[f]]) > 0.9


def test_well_formed_hands_count_as_such(scores):
    """Measured: all have at least 0.85."""
    assert min(scores["good"]) >= WELL_FORMED


@pytest.mark.parametrize("scores", [pytest.param(ALL, marks=pytest.mark.slow)], indirect=True)
def test_most_malformed_hands_may_be_replaced(scores):
    """Measured: 11 of 28 have less than WELL_FORMED; the others must gain MUCH_BETTER."""
    bad = np.array([s for f in CLASSIC for s in scores[f]])
    assert np.mean(bad < min(scores["good"])) > 0.7
    assert np.mean(bad < WELL_FORMED) > 0.3


def test_where_no_hand_is_seen_the_judge_says_so(twins, detector, meter):
    noise = np.random.default_rng(0).integers(0, 256, twins[0].good.shape, dtype=np.uint8)
    (quality,) = meter.measure(detector, noise, (twins[0].truth.hand,), PARAMS)
    assert quality.score == 0.0
    assert quality.doubt == NO_HAND


def test_a_hand_that_is_not_found_again_is_rated_by_what_the_views_show(twins, detector, meter):
    """Not found is not the same as not there: a faint hand is a malformed one, and no doubt."""

    @dataclass
    class Blind(DetectorWrapper):
        def redetect(self, image, hands, params):
            return (None,) * len(hands)

    one = twins[0]
    blind = Blind(detector, "blind")
    (quality,) = meter.measure(blind, one.good, (one.truth.hand,), PARAMS)
    assert 0.0 < quality.score < MALFORMED_BELOW
    assert not quality.doubt
    assert quality.parts["presence"] > 0.8


def test_every_part_is_a_share(twins, detector, meter):
    place = (twins[0].truth.hand,)
    (quality,) = meter.measure(detector, twins[0].good, place, PARAMS)
    counted = {"presence", "form", "certainty", "soundness"}
    assert set(quality.parts) == {*counted, "steadiness", "anatomy"}
    assert all(0.0 <= value <= 1.0 for value in (quality.score, *quality.parts.values()))


def test_without_litert_the_other_cues_count_alone(twins, detector, meter, monkeypatch):
    place = (twins[0].truth.hand,)
    (usual,) = meter.measure(detector, twins[0].good, place, PARAMS)
    monkeypatch.setattr(quality_module, "load_soundness_network", lambda: None)
    (quality,) = meter.measure(detector, twins[0].good, place, PARAMS)
    assert set(usual.parts) - set(quality.parts) == {"soundness"}
    told = log_odds(usual.score, 1e-6) - log_odds(quality.score, 1e-6)
    sound = log_odds(usual.parts["soundness"], 1e-6)
    assert told == pytest.approx(min(sound, SOUNDNESS_CEILING), abs=1e-6)


class Answering:
    """In place of the form network: says the same of every window, or different things in turn."""

    def __init__(self, *odds):
        self.odds = cycle(odds)

    def run(self, planes):
        return np.array([next(self.odds), *[-np.log(len(KINDS) - 1)] * (len(KINDS) - 1)])


def rate_faint(one, detector, *odds):
    meter = HandQuality(OpenHandReconstructor(), Answering(*odds))
    faint = FaintDetector(detector, "faint")
    (quality,) = meter.measure(faint, one.good, (one.truth.hand,), PARAMS)
    return quality


@pytest.mark.parametrize(
    ("wanted", "doubt"), [(0.55, ""), ((UNSURE_FROM + MALFORMED_BELOW) / 2, BETWEEN)]
)
def test_between_malformed_and_well_formed_the_judge_cannot_tell(twins, detector, wanted, doubt):
    # An answer counts linearly in the log-odds, so that one measurement says which answer to give.
    at_zero = log_odds(rate_faint(twins[0], detector, 0.0).score, 0.001)
    answer = (log_odds(wanted, 0.001) - at_zero) / FORM_WEIGHT
    quality = rate_faint(twins[0], detector, answer)
    assert quality.score == pytest.approx(wanted, abs=0.01)
    assert quality.doubt == doubt


def test_of_a_clearly_malformed_hand_there_is_no_doubt(twins, detector):
    quality = rate_faint(twins[0], detector, -9.0, -4.0)
    assert quality.score < UNSURE_FROM
    assert not quality.doubt


def test_below_the_floor_the_forms_answer_counts_the_same_however_low_it_is(twins, detector):
    """Good hands of a kind that the network has not learnt get answers as low as malformed ones."""
    above, low, lower = (
        rate_faint(twins[0], detector, odds).score
        for odds in (FORM_FLOOR + 1.0, FORM_FLOOR - 1.0, FORM_FLOOR - 9.0)
    )
    assert low == lower
    assert low < above - 0.05


def test_a_fainter_hand_has_less_quality(twins, detector, meter):
    place = (twins[0].truth.hand,)
    clear, faint = (
        meter.measure(seeing, twins[0].good, place, PARAMS)[0].score
        for seeing in (detector, FaintDetector(detector, "faint"))
    )
    assert faint < clear - 0.02


def test_a_picture_has_the_same_number_before_and_after(twins):
    """What was measured of the painted picture is measured of it again as the original."""

    @dataclass
    class Darker:
        name: str = "darker"

        def paint(self, request):
            return (request.image * 0.8).astype(np.uint8)

    params = replace(PARAMS, keep_best=False, padding_bbox=8)
    stages = build_stages(params, ModelHome(), Darker())
    first = refine(twins[0].good, params, stages)
    after = repaint(twins[0].good, first.hints, params, stages, evaluates=True)
    again = repaint(after.image, first.hints, params, stages, evaluates=True)
    assert after.decisions[0].quality_after == again.decisions[0].quality_before
    assert after.decisions[0].quality_after != after.decisions[0].quality_before


def test_a_mirror_changes_little(twins, detector, meter):
    for one in twins[:2]:
        mirrored = np.ascontiguousarray(one.good[:, ::-1])
        (hand,) = detector.redetect(one.good, (one.truth.hand,), PARAMS)
        assert hand is not None
        flipped = hand.landmarks * (-1.0, 1.0) + (one.good.shape[1], 0.0)
        other = {"left": "right", "right": "left"}[hand.handedness]
        place = replace(hand, landmarks=flipped, handedness=other)
        (straight,) = meter.measure(detector, one.good, (hand,), PARAMS)
        (reflected,) = meter.measure(detector, mirrored, (place,), PARAMS)
        assert reflected.score == pytest.approx(straight.score, abs=0.35)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_the_hand_where_it_is(twins, detector, view):
    one = twins[0]
    (hand,) = detector.redetect(one.good, (one.truth.hand,), PARAMS)
    (seen,) = detector.examine(one.good, hand, (view,), PARAMS)
    apart = np.linalg.norm(seen.landmarks - hand.landmarks, axis=1).mean() / hand.size_px
    assert apart < 0.08
    assert seen.handedness == hand.handedness


def test_the_straight_view_is_what_the_detector_sees_by_itself(twins, detector):
    one = twins[0]
    (hand,) = detector.redetect(one.good, (one.truth.hand,), PARAMS)
    (seen,) = detector.examine(one.good, hand, (View(),), PARAMS)
    apart = np.linalg.norm(seen.landmarks - hand.landmarks, axis=1).mean() / hand.size_px
    assert apart < 0.02


def test_readings_that_agree_do_not_drift(twins):
    hand = twins[0].truth.hand
    assert measure_drift([hand] * 3) == 0.0
    moved = replace(hand, landmarks=hand.landmarks + np.array([0.1 * hand.size_px, 0.0]))
    assert measure_drift([hand, hand, moved]) == pytest.approx(0.1 / 3)


def test_the_window_is_upright_and_holds_the_hand(twins):
    for one in twins:
        window = place_window(one.truth, 96)
        joints = one.truth.joints_2d @ window[:, :2].T + window[:, 2]
        assert joints[0, 0] == pytest.approx(joints[9, 0], abs=1e-6)
        assert joints[0, 1] > joints[9, 1]
        low, high = joints.min(axis=0), joints.max(axis=0)
        assert (low > 0).all()
        assert (high < 96).all()


def test_a_left_hand_looks_like_the_right_hand_it_mirrors(twins):
    one = next(t for t in twins if t.truth.handedness == "left")
    width = one.good.shape[1]
    mirror = np.array([-1.0, 1.0, 1.0])
    camera = replace(one.truth.camera, shift_x=width - one.truth.camera.shift_x)
    landmarks = one.truth.hand.landmarks * (-1.0, 1.0) + (width, 0.0)
    right = replace(
        one.truth,
        hand=replace(one.truth.hand, handedness="right", landmarks=landmarks),
        vertices=one.truth.vertices * mirror,
        faces=one.truth.faces[:, ::-1],
        joints=one.truth.joints * mirror,
        camera=camera,
    )
    mirrored = np.ascontiguousarray(one.good[:, ::-1])
    a, b = make_planes(one.good, one.truth, 96), make_planes(mirrored, right, 96)
    assert np.abs(a[2] - b[2]).mean() < 0.01
    assert np.abs(a[0] - b[0]).mean() < 0.02


def test_the_mesh_lies_on_the_hand_in_the_window(twins):
    """The planes show one place: what is likely hand is under the mesh, at the window's scale."""
    for one in twins[:4]:
        planes = make_planes(one.good, one.truth, 96, Jitter(turn=0.2, size=1.05, shift_x=0.03))
        under = planes[2] > 0.0
        assert planes[1][under].mean() > 0.7
        assert planes[1][~under].mean() < 0.3
        assert under.sum() / 96**2 < 1.0 / CONTEXT


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_the_convolution_is_scipys(size, stride):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(2, 12, 10)).astype(np.float32)
    weight = rng.normal(size=(3, 2, size, size)).astype(np.float32)
    mine = form_network._convolve(x, weight, stride)
    theirs = [
        sum(correlate(x[c], weight[o, c], mode="same") for c in range(2))[::stride, ::stride]
        for o in range(3)
    ]
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_a_hand_of_the_open_model_can_be_judged_too(detector, meter):
    one = make_twins("train", 200_000, open_hand_model(), SETTINGS["plain"], ("long_finger",))
    good, bad = (
        meter.measure(detector, picture, (one.truth.hand,), PARAMS)[0].score
        for _, picture in all_pictures(one)
    )
    assert good > bad
