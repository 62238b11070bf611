"""What is kept of the last run: candidates are listed, shown and taken, and memory is bounded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hand_scenes import BOTH, make_stages, picture_with

from handrefiner_ext import pipeline
from handrefiner_ext.api.last import LastRun, keep
from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Painting

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from api_client import ask, make_client, to_array

from handrefiner_ext.api.routes import PREFIX
from handrefiner_ext.api.worker import Services

PICTURE = picture_with(BOTH, 256, 512)
GREYS = (40, 90, 140)


@dataclass
class Greys:
    """Paints each candidate in a grey of its own, so that pixels tell where they came from."""

    name: str = "greys"

    def paint(self, request):
        return self.paint_candidates(request, 1).pictures[0]

    def paint_candidates(self, request, count):
        painted = []
        for grey in GREYS[:count]:
            picture = request.image.copy()
            for box, mask in request.maps.hand_masks:
                picture[box.slices][mask] = grey
            painted.append(picture)
        return Painting(tuple(painted))


@dataclass
class Shifted(Greys):
    """Paints the old hands darker."""

    def paint_candidates(self, request, count):
        return Painting((request.image // 2,))


def run(candidates=3, keep_best=False, hands="all"):
    params = RefineParams(candidates=candidates, keep_best=keep_best, padding_bbox=3, hands=hands)
    result = pipeline.refine(PICTURE, params, replace(make_stages(), inpainter=Greys()))
    return result, keep(PICTURE, result)


def colour_of(picture, region):
    (grey,) = np.unique(picture[region.box.slices][region.mask])
    return int(grey)


@pytest.mark.parametrize("candidate", [1, 2, 3])
def test_a_candidate_that_is_taken_is_in_the_picture_and_nothing_else_changes(candidate):
    result, kept = run()
    first, second = kept.regions
    taken = kept.take(1, candidate)
    assert colour_of(taken.image, first) == GREYS[candidate - 1]
    rest = np.ones(PICTURE.shape[:2], dtype=bool)
    rest[first.box.slices] &= ~first.mask
    assert np.array_equal(taken.image[rest], result.image[rest])
    assert np.array_equal(kept.image, result.image)
    assert [hand.used for hand in taken.hands] == [candidate, kept.hands[1].used]
    assert f"1 right refined as candidate {candidate}" in taken.words
    assert taken.hands[0].decision.reason == f"You took candidate {candidate} of 3."
    assert second.numbers == (2,)


def test_the_original_can_be_taken_back_hand_by_hand_until_nothing_is_changed():
    _, kept = run()
    back = kept.take(1, 0).take(2, 0)
    assert np.array_equal(back.image, PICTURE)
    assert back.words.count("kept (You took the original)") == 2


def test_taking_what_is_used_gives_the_same_pixels():
    result, kept = run()
    for hand in kept.hands:
        assert np.array_equal(kept.take(hand.report.number, hand.used).image, result.image)


def test_a_hand_that_the_judge_kept_can_be_taken_all_the_same():
    shifted = replace(make_stages(), inpainter=Shifted())  # drawn no better, says the tests' judge
    result = pipeline.refine(PICTURE, RefineParams(padding_bbox=3), shifted)
    kept = keep(PICTURE, result)
    assert result.image is PICTURE
    assert [hand.used for hand in kept.hands] == [0, 0]
    taken = kept.take(2, 1)
    box, mask = kept.regions[1].box, kept.regions[1].mask
    assert (taken.image[box.slices][mask] == PICTURE[box.slices][mask] // 2).all()
    said = kept.describe()["hands"][1]["candidates"]
    assert [(one["number"], one["used"]) for one in said] == [(0, True), (1, False)]
    assert said[1]["quality"] is not None


def test_the_hands_numbers_are_the_users_even_if_some_are_left_out():
    _, kept = run(hands="2")
    assert [region.numbers for region in kept.regions] == [(2,)]
    with pytest.raises(InvalidParameter, match="hand = 1 does not exist; it must be one of 2"):
        kept.take(1, 1)
    with pytest.raises(InvalidParameter, match="must be 1 to 3, or 0"):
        kept.take(2, 4)


def test_hands_that_overlap_are_exchanged_together():
    params = RefineParams(candidates=2, keep_best=False, padding_bbox=200)
    result = pipeline.refine(PICTURE, params, replace(make_stages(), inpainter=Greys()))
    kept = keep(PICTURE, result)
    assert [region.numbers for region in kept.regions] == [(1, 2)]
    assert [hand.used for hand in kept.take(1, 2).hands] == [2, 2]


def test_nothing_is_kept_where_nothing_was_painted():
    result = pipeline.refine(picture_with(()), RefineParams(), make_stages())
    assert keep(picture_with(()), result) is None


def test_no_candidate_keeps_a_whole_picture_in_memory():
    _, kept = run()
    assert all(version.base is None for region in kept.regions for version in region.versions)


def size_of(*pictures):
    last = LastRun()
    for picture in pictures:
        last.add(picture)
    return last.size_bytes


def test_memory_is_bounded_and_the_oldest_is_dropped():
    kept = [replace(run()[1], before=PICTURE.copy()) for _ in range(5)]
    last = LastRun(most_bytes=int(2.5 * size_of(kept[0])))
    numbers = [last.add(picture) for picture in kept]
    assert list(last.list()) == numbers[-2:]
    assert last.size_bytes <= last.most_bytes
    with pytest.raises(InvalidParameter, match="not kept any more"):
        last.get(numbers[0])
    last.clear()
    assert last.list() == {}
    last = LastRun(most_bytes=10)
    last.add(kept[0])
    assert last.list() == {}


def test_a_candidate_that_is_taken_costs_one_picture_more_and_drops_no_other():
    _, kept = run()
    taken = kept.take(1, 2)
    assert size_of(kept, taken) == size_of(kept) + taken.image.nbytes


def test_one_that_became_larger_afterwards_is_dropped_and_one_that_changed_is_followed():
    _, kept = run()
    last = LastRun()
    one, two = last.add(kept), last.add(kept)
    last.finish(one, np.zeros((512, 1024, 3), dtype=np.uint8), "text")
    changed = kept.image.copy()
    changed[0, 0] = 7
    last.finish(two, changed, "text")
    assert list(last.list()) == [two]
    assert (last.get(two).take(1, 1).image[0, 0] == 7).all()


# --- over HTTP


@pytest.fixture
def served():
    last = LastRun()
    _, kept = run()
    number = last.add(kept)
    last.finish(number, kept.image, "a hand, HandRefiner hands: old")

    def rewrite(text, words):
        return text.replace("old", words)

    client = make_client(Services(last=last, rewrite=rewrite, heavy=False))
    return client, last, number, kept


def test_the_last_run_is_listed(served):
    client, _, number, kept = served
    (said,) = client.get(f"{PREFIX}/last").json()["pictures"]
    assert said["id"] == number
    assert (said["width"], said["height"]) == (512, 256)
    assert said["infotext"] == "a hand, HandRefiner hands: old"
    for hand, expected in zip(said["hands"], kept.hands, strict=True):
        assert hand["box"] == expected.report.box
        assert hand["reason"] == expected.decision.reason
        assert [one["number"] for one in hand["candidates"]] == [0, 1, 2, 3]
        assert [one["used"] for one in hand["candidates"]].count(True) == 1
        assert all(0 <= one["quality"] <= 1 for one in hand["candidates"])


def test_pictures_and_candidates_are_shown(served):
    client, _, number, kept = served
    before = client.get(f"{PREFIX}/last/{number}/before")
    assert before.headers["content-type"] == "image/png"
    assert np.array_equal(_pixels(before), PICTURE)
    assert np.array_equal(_pixels(client.get(f"{PREFIX}/last/{number}/after")), kept.image)
    shown = _pixels(client.get(f"{PREFIX}/last/{number}/1/2"))
    assert (shown == GREYS[1]).any()
    assert shown.shape[0] > kept.regions[0].box.height


def _pixels(answer):
    import base64

    assert answer.status_code == 200, answer.text
    return to_array(base64.b64encode(answer.content))


def test_a_candidate_is_taken_without_painting(served):
    client, last, number, kept = served
    said = ask(client, "/last/take", picture=number, hand=2, candidate=3).json()
    assert colour_of(to_array(said["image"]), kept.regions[1]) == GREYS[2]
    assert said["infotext"].startswith("a hand, HandRefiner hands: ")
    assert "2 left refined as candidate 3" in said["infotext"]
    assert said["hands"][1]["candidates"][3]["used"]
    again = ask(client, "/last/take", picture=said["id"], hand=1, candidate=0).json()
    assert "2 left refined as candidate 3" in again["hands"][1]["words"]
    assert list(last.list()) == [number, said["id"], again["id"]]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "hand = None"),
        ({"hand": 1, "candidate": 1}, "Picture None is not kept"),
        ({"picture": "99", "hand": 1, "candidate": 1}, "Picture 99 is not kept"),
        ({"picture": ["x"] * 99, "hand": 1, "candidate": 1}, "is not kept"),
        ({"picture": "1", "hand": 9, "candidate": 1}, "hand = 9 does not exist"),
        ({"picture": "1", "hand": 1, "candidate": -1}, "candidate = -1"),
        ({"picture": "1", "hand": True, "candidate": 1}, "hand = True"),
        ({"picture": "1", "hand": 1, "candidate": 1, "x": 1}, "not known here"),
    ],
)
def test_what_cannot_be_taken_is_a_sentence(served, body, sentence):
    answer = ask(served[0], "/last/take", **body)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_what_cannot_be_shown_is_a_sentence(served):
    client, _, number, _ = served
    for path, sentence in {
        "77/before": "Picture 77 is not kept",
        f"{number}/middle": "'middle' is not possible",
        f"{number}/1/9": "candidate = 9 does not exist",
        f"{number}/x/1": "hand = 'x' is not possible",
        f"{number}/1/-1": "candidate = '-1' is not possible",
        f"{number}/{'9' * 5000}/1": "hand = '999",
    }.items():
        answer = client.get(f"{PREFIX}/last/{path}")
        assert answer.status_code == 422
        assert sentence in answer.json()["detail"]


def test_the_last_run_needs_the_login_and_is_absent_where_no_host_keeps_one():
    client = make_client(Services(users={"ann": "secret"}, last=LastRun()))
    for path in ("/last", "/last/1/before", "/last/1/1/1"):
        assert client.get(PREFIX + path).status_code == 401
    assert ask(client, "/last/take", picture="1").status_code == 401
    assert make_client().get(f"{PREFIX}/last").status_code == 404
