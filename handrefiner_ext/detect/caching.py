"""Detectors that wrap another detector: one to derive from, and one that caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_

from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector
from handrefiner_ext.types import Detection, Hand, Image, View


@dataclass
class DetectorWrapper:
    """Passes every call on to `detector`; subclasses override what they change."""

    detector: Detector
    name: str

    def detect(self, image: Image, params: RefineParams) -> Detection:
        return self.detector.detect(image, params)

    def redetect(
        self, image: Image, hands: tuple[Hand, ...], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        return self.detector.redetect(image, hands, params)

    def reread(self, image: Image, hand: Hand, params: RefineParams) -> tuple[Hand, ...]:
        return self.detector.reread(image, hand, params)

    def examine(
        self, image: Image, hand: Hand, views: Sequence[View], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        return self.detector.examine(image, hand, views, params)


@dataclass
class CachingDetector(DetectorWrapper):
    """Caches the last result of `redetect`, so that agreement and quality share one detection.

    Pictures and hands are compared by identity: comparing pixels would cost more than it saves.
    """

    last: tuple[Image, tuple[Hand, ...], tuple[Hand | None, ...]] | None = None

    def redetect(
        self, image: Image, hands: tuple[Hand, ...], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        """Find the hands near their old places; the same picture and hands are looked at once."""
        if self.last is not None:
            picture, asked, seen = self.last
            if picture is image and len(asked) == len(hands) and all(map(is_, asked, hands)):
                return seen
        seen = self.detector.redetect(image, hands, params)
        self.last = image, hands, seen
        return seen
