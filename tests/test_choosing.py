"""Which hands are repainted: one grammar, and numbers that stay those of the preview."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hand_scenes import BOTH, FloodPainter, make_hand, make_stages, picture_with
from hypothesis import given
from hypothesis import strategies as st

from handrefiner_ext.api.body import answer_refine, read_parameters
from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.hands.choosing import choose_hands, parse_hands
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import check_values, hints, refine
from handrefiner_ext.repaint.regions import RegionwiseInpainter
from handrefiner_ext.report import describe_hands, number_meshes
from handrefiner_ext.types import Detection

HEIGHT = 300
PLACES = (("left", 60, 80), ("right", 200, 120), ("right", 120, 40), ("left", 220, 60))
"""Side, height of the middle in the picture, size; from left to right."""
FOUND = Detection(
    tuple(
        replace(make_hand((100 + 150 * n, y), size, (HEIGHT, 700)), handedness=side)
        for n, (side, y, size) in enumerate(PLACES)
    )
)
SIZES = [round(hand.size_px) for hand in FOUND.hands]


def chosen(hands):
    return [hand.number for hand in choose_hands(FOUND, hands, HEIGHT).hands]


@pytest.mark.parametrize(
    ("hands", "numbers"),
    [
        ("all", [1, 2, 3, 4]),
        ("", [1, 2, 3, 4]),
        ("left", [1, 4]),
        ("RIGHT", [2, 3]),
        ("2", [2]),
        ("3, 1", [1, 3]),
        ("9", []),
        ("-2", [1, 3, 4]),
        ("all,-2", [1, 3, 4]),
        ("- 2, - left", [3]),
        ("-left", [2, 3]),
        ("left, 2", [1, 2, 4]),
        ("largest", [2]),
        ("smallest", [3]),
        ("-smallest", [1, 2, 4]),
        ("leftmost", [1]),
        ("rightmost", [4]),
        ("topmost", [1]),
        ("bottommost", [2]),
        ("upper", [1, 3]),
        ("lower", [2, 4]),
        (f">{SIZES[3]}", [1, 2]),
        (f"< {SIZES[3] + 1}", [3, 4]),
        (f">{SIZES[2]} <{SIZES[0]}", [4]),
        ("left largest", [1]),
        ("largest left", [1]),
        ("upper right, lower left", [3, 4]),
        ("left, right, -lower largest", [1, 3, 4]),
        ("2, -2", []),
    ],
)
def test_exactly_the_hands_asked_for_are_kept(hands, numbers):
    assert chosen(hands) == numbers
    refused = choose_hands(FOUND, hands, HEIGHT).refused
    assert sorted([r.number for r in refused] + numbers) == [1, 2, 3, 4]
    assert all("is not among those chosen" in refusal.reason for refusal in refused)
    check_values(RefineParams(hands=hands))


@given(st.sets(st.sampled_from(["left", "2", "largest", "upper", ">70"]), min_size=1))
def test_what_a_minus_leaves_out_is_what_the_words_choose(words):
    hands = ",".join(sorted(words))
    left_out = ",".join(f"-{word}" for word in sorted(words))
    assert sorted(chosen(hands) + chosen(left_out)) == [1, 2, 3, 4]


@given(st.text(alphabet="alefright upmost,;.-<>²³٣ 0129"))
def test_any_text_is_a_choice_or_a_sentence(text):
    with suppress(InvalidParameter):
        parse_hands(text)
        assert set(chosen(text)) <= {1, 2, 3, 4}


@pytest.mark.parametrize(
    "text",
    ["both", "0", "1,,2", "--1", "1;2", "1.5", "²", "1 2", ">", "<-3", "-", ">٣", "9" * 5000],
)
def test_these_are_no_hands(text):
    with pytest.raises(InvalidParameter, match=r"left >120, largest.*bottommost") as raised:
        parse_hands(text)
    assert str(raised.value).endswith("a minus excludes hands.")


def test_the_api_reads_every_form():
    assert read_parameters({"hands": "all,-2"}).hands == "all,-2"


def test_numbers_are_those_of_the_preview_whatever_is_chosen():
    picture = picture_with(BOTH)
    seen = hints(picture, RefineParams(hands="2"), make_stages())
    said = describe_hands(picture, seen)
    assert [hand["number"] for hand in said["hands"]] == [2]
    assert [skipped["number"] for skipped in said["skipped"]] == [1]
    result = refine(picture, RefineParams(hands="-1"), make_stages())
    assert result.decisions[0].number == 0
    assert number_meshes(result.hints.meshes)[0] == 2


@pytest.mark.parametrize("order", ["2,1", "1,2", "2"])
def test_the_order_counts_all_hands_also_those_that_were_not_chosen(order):
    seen = hints(picture_with(BOTH), RefineParams(hands="2", occlusion_order=order), make_stages())
    assert [mesh.hand.number for mesh in seen.meshes] == [2]


def test_a_hand_that_was_not_found_has_no_place_in_the_order():
    with pytest.raises(InvalidParameter, match="numbered from 1 to 2"):
        hints(picture_with(BOTH), RefineParams(hands="2", occlusion_order="3,1"), make_stages())


class PromptTaker:
    """Paints nothing and remembers the prompts."""

    name = "taker"

    def __init__(self):
        self.prompts = []

    def native_side(self, params):
        return 64

    def paint_region(self, task, params):
        self.prompts.append((params.prompt, params.negative_prompt))
        return np.zeros_like(task.image)


def test_each_hand_has_the_prompt_of_its_number_in_the_preview():
    taker = PromptTaker()
    params = RefineParams(
        hands="2", prompt="a fist [SEP] a glove", negative_prompt="blurred", padding_bbox=0
    )
    refine(picture_with(BOTH), params, make_stages(inpainter=RegionwiseInpainter(taker)))
    assert taker.prompts == [("a glove", "blurred")]


def test_the_answer_of_the_api_names_the_hand_by_its_number(tmp_path):
    from PIL import Image

    from handrefiner_ext.pictures import load_picture

    Image.fromarray(picture_with(BOTH)).save(tmp_path / "both.png")
    picture = load_picture(tmp_path / "both.png")
    stages = make_stages(inpainter=FloodPainter())
    params = RefineParams(hands="2")
    said = answer_refine(picture, refine(picture.image, params, stages), params)
    assert [hand["number"] for hand in said["hands"]] == [2]
    assert [decision["number"] for decision in said["decisions"]] == [2]
