"""How well formed a hand looks, whatever mesh is wanted in its place.

The score is the form: a small network's view of the picture beside the mesh that was fitted to the
hand (`judge.form_network`), trained on rendered hands, well-formed ones and such with one fault.
A thorough look takes more windows, and says three parts more, each as 0..1; on rendered hands they
add nothing to what the network sees, so that they do not count:

- presence: the landmark network's score for the place, seen from several sides.
- steadiness: whether it puts the landmarks to the same places when the window is turned, enlarged
  and mirrored. On what is no proper hand the readings drift apart.
- anatomy: how near the open hand, with its limits and priors, can come to these landmarks.

It sees the hand only, not what the hand holds or how it meets the arm. It has been trained and
measured on rendered hands (benchmarks/judge.py); how it ranks painted and photographed ones is
known from single pictures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from handrefiner_ext.geometry.probability import logistic
from handrefiner_ext.judge.form import SIDE, STRAIGHT, FormNetwork, Jitter, load_form_network, look
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector, Reconstructor
from handrefiner_ext.types import FloatArray, Hand, HandMesh, Image, Quality, View

MALFORMED_BELOW = 0.5
"""Quality from which a hand counts as well formed."""

MIDDLE, SLOPE = -2.5, 0.5
"""The network's logarithm of the odds at which the quality is one half, and how steeply it rises;
from tools/calibrate_quality.py."""

TURN = float(np.radians(25.0))
VIEWS = (
    *(View(TURN), View(-TURN), View(0.0, 1.2)),
    *(View(TURN, mirrored=True), View(-TURN, mirrored=True), View(0.0, 1.2, mirrored=True)),
)
QUICK_LOOKS = (STRAIGHT, Jitter(turn=0.12, size=1.06))
THOROUGH_LOOKS = (
    *QUICK_LOOKS,
    *(Jitter(turn=-0.12, size=1.06), Jitter(size=0.94), Jitter(shift_x=0.03), Jitter(shift_y=0.03)),
)
STEADY, NEAR = 0.05, 0.05
"""Drift and misfit, hand sizes, at which steadiness and anatomy have fallen to 1/e."""

UNSEEN = Quality(0.0, {"presence": 0.0})


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

    def ask_form(
        self, image: Image, hand: Hand, params: RefineParams, thorough: bool
    ) -> tuple[float, float] | None:
        """The network's logarithm of the odds that `hand` is well formed, and the mesh's misfit.

        The misfit is in hand sizes. None where no open hand fits.
        """
        mesh = self._reconstructor.reconstruct(image, hand, replace(params, outline=False))
        if not isinstance(mesh, HandMesh):
            return None
        looks = THOROUGH_LOOKS if thorough else QUICK_LOOKS
        return self._ask_network(image, mesh, looks), mesh.reprojection_error

    def _rate(
        self, detector: Detector, image: Image, hand: Hand, params: RefineParams, thorough: bool
    ) -> Quality:
        found = self.ask_form(image, hand, params, thorough)
        if found is None:
            return UNSEEN
        form, misfit = found
        score = logistic(SLOPE * (form - MIDDLE))
        parts = {"form": score, "anatomy": float(np.exp(-misfit / NEAR))}
        if thorough:
            seen = detector.examine(image, hand, VIEWS, params)
            readings = [hand, *(reading for reading in seen if reading is not None)]
            parts["presence"] = sum(reading.score for reading in readings) / (1 + len(VIEWS))
            parts["steadiness"] = float(np.exp(-measure_drift(readings) / STEADY))
        return Quality(score, parts)

    def _ask_network(self, image: Image, mesh: HandMesh, looks: Sequence[Jitter]) -> float:
        network = self._network or load_form_network()
        logits = np.mean([network.run(look(image, mesh, SIDE, jitter)) for jitter in looks], axis=0)
        return float(logits[0] - np.logaddexp.reduce(logits[1:]))


def measure_drift(readings: Sequence[Hand]) -> float:
    """Mean distance of the readings' landmarks from their median, hand sizes."""
    landmarks = np.array([reading.landmarks for reading in readings])
    median = np.median(landmarks, axis=0)
    apart: FloatArray = np.linalg.norm(landmarks - median, axis=2)
    return float(apart.mean()) / max(float(np.ptp(median, axis=0).max()), 1e-6)
