"""What the workers that find hands hand over to those that paint them.

Detections and meshes travel, a hundred kilobytes for a picture, not its pixels: the painter reads
the file again and renders depth and mask itself. It runs the same pipeline as everywhere else,
with a detector and a reconstructor that remember their answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from handrefiner_ext import pipeline
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import Stages
from handrefiner_ext.search.choosing import choose_hands
from handrefiner_ext.types import (
    BatchReconstructor,
    Detection,
    Detector,
    Hand,
    HandMesh,
    Image,
    Refusal,
    View,
)


@dataclass(frozen=True)
class Seen:
    """The hands of one picture, and for each that was chosen its mesh or why there is none."""

    detection: Detection
    found: tuple[HandMesh | Refusal, ...]


def see(images: Sequence[Image], params: RefineParams, stages: Stages) -> list[Seen]:
    """Detect and reconstruct; the hands of all pictures at once where the backend can."""
    detections = [stages.detector.detect(image, params) for image in images]
    hands = [choose_hands(detection, params.hands).hands for detection in detections]
    if not isinstance(stages.reconstructor, BatchReconstructor):
        found = [
            pipeline.reconstruct_all(stages, image, chosen, params)
            for image, chosen in zip(images, hands, strict=True)
        ]
        return [Seen(d, tuple(f)) for d, f in zip(detections, found, strict=True)]
    pairs = [(image, hand) for image, some in zip(images, hands, strict=True) for hand in some]
    answers = iter(stages.reconstructor.reconstruct_all(pairs, params) if pairs else ())
    return [
        Seen(detection, tuple(next(answers) for _ in chosen))
        for detection, chosen in zip(detections, hands, strict=True)
    ]


def recall(seen: Seen, stages: Stages) -> Stages:
    """`stages` that answer for one picture from memory what was seen, and judge anew."""
    detector = RecallingDetector(stages.detector, seen.detection, stages.detector.name)
    return replace(stages, detector=detector, reconstructor=RecallingReconstructor(seen.found))


@dataclass
class RecallingDetector:
    """Remembers a picture's detection; what is asked about other pictures it looks at."""

    detector: Detector
    detection: Detection
    name: str

    def detect(self, image: Image, params: RefineParams) -> Detection:
        return self.detection

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
class RecallingReconstructor:
    """Remembers the meshes of a picture's hands, in their order."""

    found: tuple[HandMesh | Refusal, ...]
    name: str = "recalled"

    def reconstruct(self, image: Image, hand: Hand, params: RefineParams) -> HandMesh | Refusal:
        (answer,) = self.reconstruct_all([(image, hand)], params)
        return answer

    def reconstruct_all(
        self, hands: Sequence[tuple[Image, Hand]], params: RefineParams
    ) -> tuple[HandMesh | Refusal, ...]:
        if len(hands) != len(self.found):
            raise ValueError(f"{len(self.found)} hands are remembered, not {len(hands)}.")
        return self.found
