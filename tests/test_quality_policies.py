"""keep_best, candidates and skip_good on painters and a meter whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hand_scenes import (
    BOTH,
    BrightDetector,
    FloodPainter,
    make_hand,
    make_stages,
    picture_with,
)

from handrefiner_ext.detect.flow import parse_boxes
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.protocols import CandidatePainter
from handrefiner_ext.stages import LazyInpainter
from handrefiner_ext.types import Agreement, Detection, ModelHome, Painting, Quality

APART = {"height": 100, "width": 400}
PARAMS = RefineParams(padding_bbox=0, keep_best=False)
KEEP_BEST = replace(PARAMS, keep_best=True)
AFRESH = 0.99
"""Presence of a hand that was found by itself, not near an old one."""


@dataclass
class GreenMeter:
    """A hand is as good as it is green; what was not painted has the quality `before`."""

    before: float = 0.5
    asked: list[int] = field(default_factory=list)

    def measure(self, detector, image, hands, params):
        self.asked.append(len(hands))
        return tuple(self._rate(image, hand) for hand in hands)

    def _rate(self, image, hand):
        x, y = np.median(hand.landmarks, axis=0).astype(int)
        red, green, blue = (int(v) for v in image[y, x])
        painted = red == 0 and blue == 0
        return Quality(green / 255 if painted else self.before)


@dataclass
class SeedPainter:
    """The left hand gets greener with the seed, the right one less green."""

    name: str = "seed"
    seeds: list[int] = field(default_factory=list)

    def paint(self, request):
        self.seeds.append(request.params.seed)
        picture = np.zeros_like(request.image)
        half = request.image.shape[1] // 2
        picture[:, :half, 1] = 100 + 20 * request.params.seed
        picture[:, half:, 1] = 200 - 20 * request.params.seed
        return picture


@dataclass
class ManyAtOnce(SeedPainter):
    """Paints its candidates itself, one fewer than asked for, as if it had been interrupted."""

    counts: list[int] = field(default_factory=list)

    def paint_candidates(self, request, count):
        self.counts.append(count)
        return Painting(
            tuple(self.paint(request.with_seed_after(shift)) for shift in range(count - 1))
        )


@dataclass
class FarJudge:
    """Sees the hands of pictures greener than `limit` far from their meshes."""

    limit: int

    def __call__(self, detector, image, meshes, params):
        def measure(mesh):
            x, y = np.median(mesh.joints_2d, axis=0).astype(int)
            far = image[y, x, 0] == 0 and image[y, x, 1] > self.limit
            return Agreement(40.0, 0.4) if far else Agreement(1.0, 0.01)

        return tuple(measure(mesh) for mesh in meshes)


def colour(result, number):
    box, mask = result.hints.maps.hand_masks[number]
    (one,) = np.unique(result.image[box.slices][mask], axis=0)
    return tuple(int(v) for v in one)


def run(params, **stages):
    image = picture_with(BOTH, **APART)
    return image, refine(image, params, make_stages(**{"meter": GreenMeter(), **stages}))


@pytest.mark.parametrize(("green", "kept"), [(255, False), (141, False), (139, True), (60, True)])
def test_a_hand_is_replaced_only_by_one_that_is_better_by_the_margin(green, kept):
    params = replace(PARAMS, keep_best=True, keep_margin=0.05)
    painter = FloodPainter(colour=(0, green, 0))
    image, result = run(params, inpainter=painter)
    assert [not decision.refined for decision in result.decisions] == [kept] * 2
    assert (result.image is image) is kept
    for decision in result.decisions:
        assert decision.quality_before == Quality(0.5)
        assert decision.quality_after == Quality(green / 255)
        assert ("The original was kept" in decision.reason) is kept


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [(0.5, 0.59, True), (0.5, 0.61, False), (0.57, 0.65, True), (0.57, 0.68, False)],
)
def test_near_the_end_of_the_scale_smaller_steps_reach_the_margin(before, after, kept):
    params = replace(PARAMS, keep_best=True, keep_margin=0.1)
    painter = FloodPainter(colour=(0, round(255 * after), 0))
    _, result = run(params, inpainter=painter, meter=GreenMeter(before))
    assert [not decision.refined for decision in result.decisions] == [kept] * 2
    if kept:
        wanted = "0.60" if before == 0.5 else "0.66"
        assert all(f"asks for {wanted}" in decision.reason for decision in result.decisions)


def test_without_keep_best_nothing_is_rated_and_the_new_hand_stays():
    meter = GreenMeter()
    _, result = run(PARAMS, meter=meter, inpainter=FloodPainter(colour=(0, 1, 0)))
    assert all(decision.refined for decision in result.decisions)
    assert meter.asked == []


def test_agreement_and_quality_share_one_look_at_each_picture():
    @dataclass
    class Counting(BrightDetector):
        looks: int = 0

        def redetect(self, image, hands, params):
            self.looks += 1
            return super().redetect(image, hands, params)

    class Looking(GreenMeter):
        def measure(self, detector, image, hands, params):
            assert all(detector.redetect(image, hands, params))
            return super().measure(detector, image, hands, params)

    detector = Counting()
    run(KEEP_BEST, detector=detector, meter=Looking())
    assert detector.looks == 2, "before and after"


def test_a_better_drawn_hand_that_is_not_the_meshs_is_not_kept():
    image, result = run(KEEP_BEST, inpainter=FloodPainter(), judge=FarJudge(200))
    assert result.image is image
    assert all("off its mesh" in decision.reason for decision in result.decisions)


def test_in_place_of_a_malformed_hand_a_well_formed_one_need_not_lie_on_its_mesh():
    _, result = run(KEEP_BEST, meter=GreenMeter(before=0.45), judge=FarJudge(200))
    assert all(decision.refined for decision in result.decisions)
    assert all(decision.after.mpjpe == 0.4 for decision in result.decisions)


@dataclass
class BoxDetector(BrightDetector):
    """Sees in the user's boxes hands that lie `apart` from those it found before."""

    apart: float = 10.0

    def detect(self, image, params):
        if not params.boxes:
            return super().detect(image, params)
        (box,) = parse_boxes(params.boxes)
        centre = (box.x0 + box.x1) / 2 + self.apart, (box.y0 + box.y1) / 2
        return Detection((replace(make_hand(centre, 40, image.shape), score=AFRESH),), ())


@dataclass
class MisleadingMeter(GreenMeter):
    """New hands look well formed only where BoxDetector sees them."""

    doubt: str = ""

    def _rate(self, image, hand):
        quality = super()._rate(image, hand)
        if quality.score < 1.0:
            return replace(quality, doubt=self.doubt)
        return quality if hand.score == AFRESH else Quality(0.45)


def test_a_new_hand_that_is_misread_near_the_malformed_one_is_read_afresh():
    stages = {"inpainter": FloodPainter(), "meter": MisleadingMeter(before=0.2)}
    _, result = run(KEEP_BEST, detector=BoxDetector(), **stages)
    assert all(decision.refined for decision in result.decisions)
    assert all(decision.quality_after == Quality(1.0) for decision in result.decisions)


def test_a_hand_that_looked_well_formed_or_doubtful_is_not_replaced_by_another_reading():
    for meter in (
        MisleadingMeter(before=0.6),
        MisleadingMeter(before=0.2, doubt="it lies between"),
    ):
        image, result = run(KEEP_BEST, detector=BoxDetector(), meter=meter)
        assert result.image is image


def test_the_hand_of_another_mesh_is_not_read_in_place_of_a_lost_one():
    """The boxes of both hands show the right one, which is the mesh's own for the right alone."""

    @dataclass
    class OneLeft(BoxDetector):
        def detect(self, image, params):
            if not params.boxes:
                return super().detect(image, params)
            hands = BrightDetector.detect(self, np.full_like(image, 255), params).hands
            return Detection((replace(hands[1], score=AFRESH),), ())

    _, result = run(KEEP_BEST, detector=OneLeft(), meter=MisleadingMeter(before=0.2))
    assert [decision.refined for decision in result.decisions] == [False, True]


def test_every_region_takes_the_candidate_it_looks_best_in():
    painter = SeedPainter()
    _, result = run(replace(PARAMS, candidates=4, seed=0), inpainter=painter)
    assert painter.seeds == [0, 1, 2, 3]
    assert [decision.candidate for decision in result.decisions] == [3, 0]
    assert result.decisions[0].reason == "Candidate 4 of 4 looked best."
    assert colour(result, 0) == (0, 160, 0)
    assert colour(result, 1) == (0, 200, 0)
    assert len(result.candidates) == 4


def test_a_lost_hand_is_no_candidate_however_well_it_is_drawn():
    _, result = run(replace(PARAMS, candidates=4), inpainter=SeedPainter(), judge=FarJudge(150))
    assert [decision.candidate for decision in result.decisions] == [2, 3]


def test_with_keep_best_the_best_candidate_must_beat_the_original():
    params = replace(PARAMS, candidates=4, keep_best=True, keep_margin=0.05)
    image, result = run(params, inpainter=SeedPainter(), meter=GreenMeter(before=0.59))
    left, right = result.decisions
    assert (left.refined, right.refined) == (False, True)
    box, mask = result.hints.maps.hand_masks[0]
    assert np.array_equal(result.image[box.slices][mask], image[box.slices][mask])


def test_a_backend_that_can_paints_all_candidates_at_once():
    painter = ManyAtOnce()
    assert isinstance(painter, CandidatePainter)
    _, result = run(replace(PARAMS, candidates=4), inpainter=painter)
    assert painter.counts == [4]
    assert len(result.candidates) == 3
    assert result.decisions[0].candidate == 2


def test_the_backend_that_is_built_late_is_asked_for_candidates_the_same_way(monkeypatch):
    painter = ManyAtOnce()
    monkeypatch.setattr(LazyInpainter, "backend", painter)
    run(replace(PARAMS, candidates=3), inpainter=LazyInpainter("diffusers", ModelHome()))
    assert painter.counts == [3]


def test_a_backend_without_chance_paints_once_and_says_so():
    painter = FloodPainter(name="draft")
    _, result = run(replace(PARAMS, candidates=5), inpainter=painter)
    assert len(painter.calls) == 1
    assert any(note.startswith("candidates:") for note in result.notes)


@dataclass
class RightIsGood(GreenMeter):
    def _rate(self, image, hand):
        return Quality(0.9 if hand.landmarks[:, 0].mean() > image.shape[1] / 2 else 0.3)


def test_good_hands_are_left_alone_and_the_others_painted():
    meter = RightIsGood()
    image, result = run(replace(PARAMS, skip_good=0.8), meter=meter)
    bad, good = result.decisions
    assert (bad.refined, good.refined) == (True, False)
    assert "0.90 is at least skip_good 0.8" in good.reason
    box, mask = result.hints.maps.hand_masks[1]
    assert mask.any(), "the hints still show what the mask would be"
    assert np.array_equal(result.image[box.slices], image[box.slices])
    assert meter.asked == [2], "one look at the original"


def test_where_all_hands_are_good_nothing_is_painted():
    painter = FloodPainter()
    image, result = run(replace(PARAMS, skip_good=0.3), meter=RightIsGood(), inpainter=painter)
    assert result.image is image
    assert painter.calls == []


@dataclass
class PlaceMeter(GreenMeter):
    """Qualities by side, before and after; doubts of the old hands."""

    old: dict[str, float] = field(default_factory=lambda: {"left": 0.4, "right": 0.4})
    new: dict[str, float] = field(default_factory=lambda: {"left": 0.9, "right": 0.9})
    doubt: dict[str, str] = field(default_factory=dict)

    def _rate(self, image, hand):
        side = "left" if hand.landmarks[:, 0].mean() < image.shape[1] / 2 else "right"
        if super()._rate(image, hand).score == 1.0:
            return Quality(self.new[side])
        return Quality(self.old[side], doubt=self.doubt.get(side, ""))


ONE_REGION = RefineParams(padding_bbox=60, keep_best=True)


def paint_one_region(meter):
    image = picture_with(BOTH, height=100, width=120)
    return image, refine(image, ONE_REGION, make_stages(meter=meter))


def test_of_two_hands_of_one_region_only_the_one_that_gets_better_is_replaced():
    meter = PlaceMeter(new={"left": 0.55, "right": 0.9}, old={"left": 0.59, "right": 0.4})
    image, result = paint_one_region(meter)
    assert [decision.refined for decision in result.decisions] == [False, True]
    assert "keep_margin" in result.decisions[0].reason
    height, width = image.shape[:2]
    left, right = (int(width * share) for share in (0.25, 0.75))
    assert np.array_equal(result.image[height // 2, left], image[height // 2, left])
    assert result.image[height // 2, right].tolist() == [0, 255, 0]
    assert result.decisions[0].quality_before.score == 0.59


def test_a_hand_that_is_good_only_beside_one_that_is_given_back_is_given_back_too():
    @dataclass
    class Together(PlaceMeter):
        """The right hand is well formed only while the left half is painted, too."""

        def _rate(self, image, hand):
            quality = super()._rate(image, hand)
            middle = image.shape[0] // 2, image.shape[1] // 4
            spoilt = quality.score == 0.9 and image[middle].tolist() != [0, 255, 0]
            return Quality(0.1) if spoilt else quality

    meter = Together(new={"left": 0.1, "right": 0.9})
    image, result = paint_one_region(meter)
    assert result.image is image
    assert "only together" in result.decisions[1].reason


def test_a_hand_that_gets_a_little_better_goes_with_one_of_its_region_that_gets_much_better():
    meter = PlaceMeter(old={"left": 0.55, "right": 0.4}, new={"left": 0.58, "right": 0.9})
    _, result = paint_one_region(meter)
    assert [decision.refined for decision in result.decisions] == [True, True]


@pytest.mark.parametrize("old", [0.0, 0.4])
def test_where_the_judge_cannot_tell_the_original_stays_and_has_a_number(old):
    meter = PlaceMeter(
        old={"left": old, "right": 0.3}, doubt={"left": "nothing like a hand is seen"}
    )
    _, result = run(KEEP_BEST, meter=meter)
    left, right = result.decisions
    assert (left.refined, right.refined) == (False, True)
    assert left.quality_before.score == old
    assert left.quality_before.abstained
    assert "cannot tell" in left.reason
    assert "nothing like a hand is seen" in left.reason


def test_a_hand_that_looks_well_formed_stays_unless_the_new_one_is_much_better():
    meter = PlaceMeter(old={"left": 0.61, "right": 0.59}, new={"left": 0.8, "right": 0.8})
    _, result = run(KEEP_BEST, meter=meter)
    assert [decision.refined for decision in result.decisions] == [False, True]
    assert "looks well formed" in result.decisions[0].reason
    meter = PlaceMeter(old={"left": 0.61, "right": 0.59}, new={"left": 0.82, "right": 0.8})
    _, result = run(KEEP_BEST, meter=meter)
    assert [decision.refined for decision in result.decisions] == [True, True]
    meter = PlaceMeter(old={"left": 0.91, "right": 0.89}, new={"left": 0.995, "right": 0.995})
    _, result = run(KEEP_BEST, meter=meter)
    assert [decision.refined for decision in result.decisions] == [False, True]


def test_a_new_hand_that_looks_malformed_is_not_taken_however_bad_the_old_one_is():
    meter = PlaceMeter(old={"left": 0.02, "right": 0.02}, new={"left": 0.49, "right": 0.51})
    _, result = run(KEEP_BEST, meter=meter)
    assert [decision.refined for decision in result.decisions] == [False, True]
