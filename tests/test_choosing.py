"""Hands are chosen by side or by their number from the left; the others are refused, not lost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hand_scenes import make_hand
from hypothesis import given
from hypothesis import strategies as st

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.search.choosing import choose_hands, parse_hands
from handrefiner_ext.types import Detection

SIDES = ("left", "right", "right")
FOUND = Detection(
    tuple(
        replace(make_hand((100 + 150 * n, 100), 80, (300, 600)), handedness=side)
        for n, side in enumerate(SIDES)
    )
)


@pytest.mark.parametrize(
    ("hands", "kept"),
    [
        ("all", [0, 1, 2]),
        ("", [0, 1, 2]),
        ("left", [0]),
        ("RIGHT", [1, 2]),
        ("2", [1]),
        ("3, 1", [0, 2]),
        ("9", []),
    ],
)
def test_only_the_hands_asked_for_are_kept(hands, kept):
    chosen = choose_hands(FOUND, hands)
    assert chosen.hands == tuple(FOUND.hands[n] for n in kept)
    assert len(chosen.refused) == 3 - len(kept)
    assert all("is not among those chosen" in refusal.reason for refusal in chosen.refused)


@given(st.text(alphabet="alefright,;.-²³٣ 0"))
def test_any_text_is_a_choice_or_a_sentence(text):
    with suppress(InvalidParameter):
        numbers = parse_hands(text)
        assert numbers is None or min(numbers) > 0


@pytest.mark.parametrize("text", ["both", "0", "1,,2", "-1", "1;2", "1.5", "²"])
def test_these_are_no_hands(text):
    with pytest.raises(InvalidParameter, match="all, left, right"):
        parse_hands(text)
