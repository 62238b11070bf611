"""What the last run painted, kept so that another candidate can be taken without painting again.

Of each picture there are the original, the result, and every candidate's pixels inside the masks.
Hands whose masks overlap are one region and are exchanged together, as when they were chosen. The
memory is bounded: the pictures that were kept first are dropped first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from threading import Lock
from typing import Any

import numpy as np

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.geometry.boxes import group_overlapping, slices_within
from handrefiner_ext.report import (
    DecisionReport,
    HandReport,
    QualityReport,
    report_decision,
    report_hands,
    report_quality,
    say_rest,
)
from handrefiner_ext.types import Box, Image, Mask, RefineResult

MOST_BYTES = 256 << 20
"""Memory for all pictures that are kept. One of 1024 x 1024 pixels with two hands and four
candidates takes about 10 MB."""
MARGIN = 0.1
"""Around a region in the pictures of its candidates, as a share of its longer side."""
GONE = (
    "Picture {} is not kept any more: only the last run is, as far as it fits into {} MB. "
    "Run it again to choose among its candidates."
)
ORIGINAL = 0
"""Number of the candidate that is the hand as it was."""


@dataclass(frozen=True)
class KeptRegion:
    """Hands that are exchanged together. numbers: as users count them.

    mask: (box.height, box.width). versions: the pixels of `box` as they were, then one for each
    candidate.
    """

    numbers: tuple[int, ...]
    box: Box
    mask: Mask
    versions: tuple[Image, ...]


@dataclass(frozen=True)
class KeptHand:
    """One hand. qualities: of each candidate; None where it was not measured."""

    report: HandReport
    decision: DecisionReport
    qualities: tuple[QualityReport | None, ...]

    @property
    def used(self) -> int:
        """Number of the candidate in the picture; 0 is the original."""
        return (self.decision.candidate or 1) if self.decision.refined else ORIGINAL


@dataclass(frozen=True)
class KeptPicture:
    """One picture of the last run. rest: what its infotext says beside the hands."""

    before: Image
    image: Image
    hands: tuple[KeptHand, ...]
    regions: tuple[KeptRegion, ...]
    rest: tuple[str, ...] = ()
    text: str = ""

    @property
    def arrays(self) -> list[Image | Mask]:
        """All that takes memory; a picture with another candidate taken shares most of it."""
        crops: list[Image | Mask] = []
        for region in self.regions:
            crops += [*region.versions, region.mask]
        return [self.before, self.image, *crops]

    @property
    def words(self) -> str:
        """What the infotext says of the hands."""
        said = [hand.decision.words(hand.report) for hand in self.hands]
        return "; ".join([*said, *self.rest])

    def find(self, hand: int, candidate: int) -> KeptRegion:
        """Return the region of a hand; InvalidParameter where hand or candidate does not exist."""
        for region in self.regions:
            if hand in region.numbers:
                most = len(region.versions) - 1
                if not 0 <= candidate <= most:
                    raise InvalidParameter(
                        f"candidate = {candidate} does not exist; it must be 1 to {most}, or 0 for "
                        "the original hand."
                    )
                return region
        known = ", ".join(str(number) for region in self.regions for number in region.numbers)
        raise InvalidParameter(f"hand = {hand} does not exist; it must be one of {known}.")

    def take(self, hand: int, candidate: int) -> KeptPicture:
        """Return the picture with that candidate of a hand, and of those in its region."""
        region = self.find(hand, candidate)
        image = self.image.copy()
        image[region.box.slices][region.mask] = region.versions[candidate][region.mask]
        hands = tuple(
            _decide(kept, candidate, len(region.versions) - 1)
            if kept.report.number in region.numbers
            else kept
            for kept in self.hands
        )
        return replace(self, image=image, hands=hands)

    def show(self, hand: int, candidate: int) -> Image:
        """Return what is around a hand with that candidate, (h, w, 3)."""
        region = self.find(hand, candidate)
        box, (height, width) = region.box, self.image.shape[:2]
        margin = round(MARGIN * max(box.width, box.height))
        outer = Box(
            *(max(0, box.x0 - margin), max(0, box.y0 - margin)),
            *(min(width, box.x1 + margin), min(height, box.y1 + margin)),
        )
        shown: Image = self.image[outer.slices].copy()
        shown[slices_within(box, outer)][region.mask] = region.versions[candidate][region.mask]
        return shown

    def describe(self) -> dict[str, Any]:
        """Return the picture as JSON, without pixels."""
        height, width = self.image.shape[:2]
        return {
            "width": width,
            "height": height,
            "infotext": self.text,
            "hands": [self._describe_hand(hand) for hand in self.hands],
        }

    def _describe_hand(self, hand: KeptHand) -> dict[str, Any]:
        decision, number = hand.decision, hand.report.number
        together = [region.numbers for region in self.regions if number in region.numbers]
        qualities = (decision.quality_before, *hand.qualities) if together else ()
        return {
            "number": number,
            "handedness": hand.report.handedness,
            "box": hand.report.box,
            "refined": decision.refined,
            "reason": decision.reason,
            "words": decision.words(hand.report),
            "quality_before": decision.quality_before and asdict(decision.quality_before),
            "quality_after": decision.quality_after and asdict(decision.quality_after),
            "together": list(together[0]) if together else [number],
            "candidates": [
                {
                    "number": place,
                    "quality": None if quality is None else quality.score,
                    "used": place == hand.used,
                }
                for place, quality in enumerate(qualities)
            ],
        }


def _decide(hand: KeptHand, candidate: int, most: int) -> KeptHand:
    """Return the hand with the decision that the user made."""
    said = f"You took candidate {candidate} of {most}." if candidate else "You took the original."
    decision = replace(
        hand.decision,
        refined=candidate != ORIGINAL,
        reason=said,
        candidate=candidate or None,
        quality_after=hand.qualities[candidate - 1] if candidate else hand.decision.quality_after,
    )
    return replace(hand, decision=decision)


def keep(before: Image, result: RefineResult) -> KeptPicture | None:
    """Return what is kept of a picture; None where nothing was painted in it."""
    if not result.tried:
        return None
    hands = report_hands(result.hints)
    numbers = [hand.number for hand in hands]
    masks = result.hints.maps.hand_masks
    pictures = (before, *(picture for picture, _ in result.tried))
    regions = []
    for group in group_overlapping(list(masks)):
        box, mask = _unite([masks[place] for place in group])
        if mask.any():
            # Copies, since a part of a picture would keep the whole of it in memory.
            versions = tuple(picture[box.slices].copy() for picture in pictures)
            regions.append(KeptRegion(tuple(numbers[p] for p in group), box, mask, versions))
    decided = {d.number: report_decision(d, result.hints) for d in result.decisions}
    kept = tuple(
        KeptHand(
            report,
            decided[place],
            tuple(report_quality(assessed[place].quality) for _, assessed in result.tried),
        )
        for place, report in enumerate(hands)
    )
    rest = tuple(say_rest(result.hints))
    return KeptPicture(before, np.ascontiguousarray(result.image), kept, tuple(regions), rest)


def _unite(masks: Sequence[tuple[Box, Mask]]) -> tuple[Box, Mask]:
    x0, y0, x1, y1 = zip(*(box for box, _ in masks), strict=True)
    whole = Box(min(x0), min(y0), max(x1), max(y1))
    united = np.zeros((whole.height, whole.width), dtype=bool)
    for box, mask in masks:
        united[slices_within(box, whole)] |= mask
    return whole, united


class LastRun:
    """The pictures of the last run, by number; it may be used from several threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._lock = Lock()
        self._numbers = count(1)
        self._pictures: OrderedDict[str, KeptPicture] = OrderedDict()

    def clear(self) -> None:
        """Drop every picture, because another run begins."""
        with self._lock:
            self._pictures.clear()

    def add(self, picture: KeptPicture) -> str:
        """Keep a picture, and drop the oldest ones that no longer fit; return its number."""
        with self._lock:
            number = str(next(self._numbers))
            self._pictures[number] = picture
            while self.size_bytes > self.most_bytes:
                self._pictures.popitem(last=False)
            return number

    def finish(self, number: str, image: Image, text: str) -> None:
        """Set what a picture of the run became in the end, and its infotext.

        One whose size changed after the hands were repainted is dropped.
        """
        with self._lock:
            kept = self._pictures.get(number)
            if kept is None:
                return
            if image.shape != kept.image.shape:
                del self._pictures[number]
            else:
                self._pictures[number] = replace(kept, image=image, text=text)

    def get(self, number: str) -> KeptPicture:
        """Return a picture; InvalidParameter where it is not kept."""
        with self._lock:
            if number not in self._pictures:
                raise InvalidParameter(GONE.format(number[:20], self.most_bytes >> 20))
            return self._pictures[number]

    def list(self) -> dict[str, KeptPicture]:
        """Return all pictures by number, those of the run's beginning first."""
        with self._lock:
            return dict(self._pictures)

    @property
    def size_bytes(self) -> int:
        arrays = {id(a): a.nbytes for kept in self._pictures.values() for a in kept.arrays}
        return sum(arrays.values())
