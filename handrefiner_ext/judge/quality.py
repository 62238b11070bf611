"""How well formed a hand looks, whatever mesh is wanted in its place.

What is looked at, each as a part of 0..1 of the score:

- presence: whether the landmark network takes the place for a hand, seen from several sides.
- steadiness: whether it puts the landmarks to the same places when the window is turned, enlarged
  and mirrored. On what is no proper hand the readings drift apart.
- anatomy: how near the open hand, with its limits and priors, can come to these landmarks.
- form: a small network's view of the picture beside the mesh that was fitted to it; it was trained
  on rendered hands, well-formed ones and such with one fault (`judge.form_network`).

It sees the hand only, not what the hand holds or how it meets the arm. It has been trained and
measured on rendered hands (benchmarks/judge.py); how it ranks painted and photographed ones is
known from single pictures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from handrefiner_ext.judge.form_network import SIDE, FormNetwork, load_form_network
from handrefiner_ext.judge.window import STRAIGHT, Jitter, look
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import (
    Detector,
    FloatArray,
    Hand,
    Handedness,
    HandMesh,
    Image,
    Quality,
    Reconstructor,
    View,
)

MALFORMED_BELOW = 0.5
"""Quality from which a hand counts as well formed."""

TURN = float(np.radians(25.0))
QUICK_VIEWS = (View(TURN), View(-TURN, mirrored=True))
THOROUGH_VIEWS = (
    *QUICK_VIEWS,
    *(View(-TURN, 1.2), View(TURN, 1.2, mirrored=True), View(0.0, 1.2), View(0.0, mirrored=True)),
    *(View(-TURN), View(TURN, mirrored=True)),
)
QUICK_LOOKS = (STRAIGHT, Jitter(turn=0.12, size=1.06))
THOROUGH_LOOKS = (
    *QUICK_LOOKS,
    *(Jitter(turn=-0.12, size=1.06), Jitter(size=0.94), Jitter(shift_x=0.03), Jitter(shift_y=0.03)),
)

UNSEEN = Quality(0.0, {"presence": 0.0})


@dataclass(frozen=True)
class Calibration:
    """Weights of a logistic regression over `Evidence`, and its offset."""

    presence: float
    drift: float
    misfit: float
    form: float
    offset: float

    def score(self, evidence: Evidence) -> float:
        sum_ = (
            self.offset
            + self.presence * evidence.presence
            + self.drift * evidence.drift
            + self.misfit * evidence.misfit
            + self.form * evidence.form
        )
        return _logistic(sum_)


@dataclass(frozen=True)
class Evidence:
    """What was measured on one hand.

    presence: mean score, 0..1. drift: mean distance of the readings' landmarks from their median,
    hand sizes. misfit: mean distance of the fitted joints from the median, hand sizes. form: the
    network's logarithm of the odds that the hand is well formed.
    """

    presence: float
    drift: float
    misfit: float
    form: float

    def parts(self) -> dict[str, float]:
        """Each of the four as a number of 0..1, 1 is well."""
        return {
            "presence": self.presence,
            "steadiness": float(np.exp(-self.drift / 0.05)),
            "anatomy": float(np.exp(-self.misfit / 0.05)),
            "form": _logistic(self.form),
        }


QUICK = Calibration(presence=0.0, drift=0.0, misfit=0.0, form=1.0, offset=0.0)
THOROUGH = Calibration(presence=0.0, drift=0.0, misfit=0.0, form=1.0, offset=0.0)


class HandQuality:
    """Measures the quality of hands; `reconstructor` fits the mesh that they are seen beside."""

    def __init__(self, reconstructor: Reconstructor, network: FormNetwork | None = None) -> None:
        self._reconstructor = reconstructor
        self._network = network

    def measure(
        self,
        detector: Detector,
        image: Image,
        hands: tuple[Hand, ...],
        params: RefineParams,
        thorough: bool,
    ) -> tuple[Quality, ...]:
        """Quality of what is seen in the place of each hand; 0 where no hand is seen."""
        seen = detector.redetect(image, hands, params)
        return tuple(
            UNSEEN if hand is None else self._rate(detector, image, hand, params, thorough)
            for hand in seen
        )

    def gather(
        self, detector: Detector, image: Image, hand: Hand, params: RefineParams, thorough: bool
    ) -> Evidence | None:
        """What is to be seen of a hand; None where no open hand fits it."""
        views = THOROUGH_VIEWS if thorough else QUICK_VIEWS
        found = detector.examine(image, hand, views, params)
        readings = [hand, *(reading for reading in found if reading is not None)]
        # Of few readings: the median of many puts the mesh onto a malformed hand, too.
        near = [reading for reading in found[: len(QUICK_VIEWS)] if reading is not None]
        consensus = agree_on([hand, *near])
        mesh = self._reconstructor.reconstruct(image, consensus, replace(params, outline=False))
        if not isinstance(mesh, HandMesh):
            return None
        looks = THOROUGH_LOOKS if thorough else QUICK_LOOKS
        return Evidence(
            presence=sum(reading.score for reading in readings) / (1 + len(views)),
            drift=measure_drift(readings, consensus),
            misfit=mesh.reprojection_error,
            form=self._ask_network(image, mesh, looks),
        )

    def _rate(
        self, detector: Detector, image: Image, hand: Hand, params: RefineParams, thorough: bool
    ) -> Quality:
        evidence = self.gather(detector, image, hand, params, thorough)
        if evidence is None:
            return UNSEEN
        calibration = THOROUGH if thorough else QUICK
        return Quality(calibration.score(evidence), evidence.parts())

    def _ask_network(self, image: Image, mesh: HandMesh, looks: Sequence[Jitter]) -> float:
        network = self._network or load_form_network()
        logits = np.mean([network.run(look(image, mesh, SIDE, jitter)) for jitter in looks], axis=0)
        return float(logits[0] - np.logaddexp.reduce(logits[1:]))


def agree_on(readings: Sequence[Hand]) -> Hand:
    """The median of several readings of one hand, of the side that most of them see."""
    rights = [
        r.handedness_score if r.handedness == "right" else 1.0 - r.handedness_score
        for r in readings
    ]
    right = sum(rights) / len(rights)
    side: Handedness = "right" if right >= 0.5 else "left"
    return replace(
        readings[0],
        handedness=side,
        handedness_score=max(right, 1.0 - right),
        landmarks=np.median([r.landmarks for r in readings], axis=0),
        landmark_depth=np.median([r.landmark_depth for r in readings], axis=0),
    )


def measure_drift(readings: Sequence[Hand], consensus: Hand) -> float:
    """Mean distance of the readings' landmarks from the consensus, hand sizes."""
    apart: FloatArray = np.linalg.norm(
        np.array([r.landmarks for r in readings]) - consensus.landmarks, axis=2
    )
    return float(apart.mean()) / max(consensus.size_px, 1e-6)


def _logistic(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0))))
