"""Choose which of the hands found are repainted, as the parameter `hands` says.

    hands = part {"," part}        a hand is chosen by any of the parts
    part  = ["-"] word {" " word}  all words must apply; a minus excludes the hands
    word  = number | all | left | right | upper | lower | >pixels | <pixels
          | largest | smallest | leftmost | rightmost | topmost | bottommost

The words of the last line pick one hand of those that match the part's other words. If every part
excludes, all other hands are chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.types import Detection, Hand, Refusal

ALL = "all"
NUMBER = re.compile(r"0*[1-9][0-9]{0,5}", re.ASCII)
SIZE = re.compile(r"([<>])([0-9]{1,6})", re.ASCII)

Filter = Callable[[Hand, int], bool]
"""Takes a hand and the picture's height, returns whether a word applies."""
FILTERS: Mapping[str, Filter] = {
    ALL: lambda hand, height: True,
    "left": lambda hand, height: hand.handedness == "left",
    "right": lambda hand, height: hand.handedness == "right",
    "upper": lambda hand, height: _middle_y(hand) < height / 2,
    "lower": lambda hand, height: _middle_y(hand) >= height / 2,
}
EXTREMES: Mapping[str, Callable[[Hand], float]] = {
    "largest": lambda hand: -hand.size_px,
    "smallest": lambda hand: hand.size_px,
    "leftmost": lambda hand: float(hand.landmarks[:, 0].min()),
    "rightmost": lambda hand: -float(hand.landmarks[:, 0].max()),
    "topmost": lambda hand: float(hand.landmarks[:, 1].min()),
    "bottommost": lambda hand: -float(hand.landmarks[:, 1].max()),
}
"""Word -> a number that is smallest for the hand it means."""


@dataclass(frozen=True)
class Part:
    """Words that must all apply. excludes: the hands they match are not repainted."""

    words: tuple[str, ...]
    excludes: bool = False

    def select(self, hands: tuple[Hand, ...], height: int) -> frozenset[int]:
        """Return the numbers of the hands that match, in a picture `height` pixels high."""
        left = list(hands)
        for word in (w for w in self.words if w not in EXTREMES):
            left = [hand for hand in left if _applies(word, hand, height)]
        for word in (w for w in self.words if w in EXTREMES):
            left = sorted(left, key=EXTREMES[word])[:1]
        return frozenset(hand.number for hand in left)


def parse_hands(text: str) -> tuple[Part, ...]:
    """Parse the parameter `hands`; an empty text means all.

    Raises InvalidParameter, which shows the right form.
    """
    written = re.sub(r"([<>-])\s+", r"\1", text.strip().lower()) or ALL
    return tuple(_parse_part(part.strip(), text) for part in written.split(","))


def _parse_part(part: str, text: str) -> Part:
    excludes = part.startswith("-")
    words = tuple(part.removeprefix("-").split())
    numbers = [word for word in words if NUMBER.fullmatch(word)]
    known = [word for word in words if word in FILTERS or word in EXTREMES or SIZE.fullmatch(word)]
    if not words or len(numbers) + len(known) < len(words) or len(numbers) > 1:
        raise InvalidParameter(
            f"hands = {show(text)} is not possible; it must be words separated by commas, such as "
            f"'all,-2' or 'left >120, largest': numbers of hands counted from the left, >pixels, "
            f"<pixels, {', '.join((*FILTERS, *EXTREMES))}; a minus excludes hands."
        )
    return Part(words, excludes)


def choose_hands(detection: Detection, hands: str, height: int) -> Detection:
    """Number the hands from 1, and move those that `hands` does not choose to the refused ones.

    Arguments:
        height: of the picture, pixels.
    """
    numbered = tuple(replace(hand, number=n) for n, hand in enumerate(detection.hands, start=1))
    chosen = select(numbered, parse_hands(hands), height)
    left_out = (_refuse(hand, hands) for hand in numbered if hand.number not in chosen)
    kept = tuple(hand for hand in numbered if hand.number in chosen)
    return replace(detection, hands=kept, refused=(*detection.refused, *left_out))


def select(hands: tuple[Hand, ...], parts: Sequence[Part], height: int) -> frozenset[int]:
    """Return the numbers of the hands that are meant, in a picture `height` pixels high."""
    wanted, unwanted = (
        frozenset[int]().union(
            *(part.select(hands, height) for part in parts if part.excludes is excludes)
        )
        for excludes in (False, True)
    )
    if all(part.excludes for part in parts):
        wanted = frozenset(hand.number for hand in hands)
    return wanted - unwanted


def _applies(word: str, hand: Hand, height: int) -> bool:
    if word in FILTERS:
        return FILTERS[word](hand, height)
    size = SIZE.fullmatch(word)
    if size is None:
        return hand.number == int(word)
    limit = int(size[2])
    return hand.size_px > limit if size[1] == ">" else hand.size_px < limit


def _middle_y(hand: Hand) -> float:
    return float(hand.landmarks[:, 1].min() + hand.landmarks[:, 1].max()) / 2


def _refuse(hand: Hand, hands: str) -> Refusal:
    reason = f"This {hand.handedness} hand is not among those chosen by hands {hands}."
    return Refusal(hand.box, reason, hand.number)
