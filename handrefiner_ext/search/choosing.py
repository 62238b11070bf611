"""Which of the hands found are repainted: all, one side, or some numbers."""

from __future__ import annotations

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.types import Detection, Hand, Refusal

ALL = "all"
SIDES = ("left", "right")


def parse_hands(text: str) -> frozenset[int] | None:
    """Numbers from 1 in `hands`; None where it names all hands or a side.

    Raises InvalidParameter for anything else.
    """
    word = text.strip().lower()
    if word in ("", ALL, *SIDES):
        return None
    numbers = [part.strip() for part in word.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in numbers):
        raise InvalidParameter(
            f"hands = {text!r} is not possible; it must be all, left, right, or numbers of hands "
            "counted from the left, such as 1,3."
        )
    return frozenset(int(part) for part in numbers)


def choose_hands(detection: Detection, hands: str) -> Detection:
    """The detection with the hands that were not asked for among the refused ones."""
    numbers, side = parse_hands(hands), hands.strip().lower()
    kept, left_out = [], []
    for number, hand in enumerate(detection.hands, start=1):
        if numbers is not None:
            wanted = number in numbers
        else:
            wanted = side not in SIDES or hand.handedness == side
        if wanted:
            kept.append(hand)
        else:
            left_out.append(_leave_out(hand, number, hands))
    return Detection(tuple(kept), (*detection.refused, *left_out))


def _leave_out(hand: Hand, number: int, hands: str) -> Refusal:
    return Refusal(
        hand.box, f"Hand {number} ({hand.handedness}) is not among those chosen by hands {hands}."
    )
