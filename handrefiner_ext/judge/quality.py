"""How well formed a hand looks, regardless of the mesh that is wanted in its place.

The score is the form: what a small network (`judge.form`) says that compares the picture with the
mesh fitted to the hand. A thorough measurement uses more windows and reports three more parts, each
0..1. They do not count, because on rendered hands they add nothing to the form:

- presence: the landmark network's score for the place, mean over several views.
- steadiness: whether the landmarks stay in place when the window is turned, enlarged and mirrored.
  On malformed hands the readings drift apart.
- anatomy: how near the open hand, with its limits and priors, can come to these landmarks.

The score sees the hand alone, not what it holds or how it meets the arm. It was trained and
measured on rendered hands (benchmarks/judge.py); how it ranks painted and photographed ones is
known from single pictures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from handrefiner_ext.geometry.probability import logistic
from handrefiner_ext.judge.form import (
    INPUT_PX,
    STRAIGHT,
    FormNetwork,
    Jitter,
    load_form_network,
    make_planes,
)
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector, Reconstructor
from handrefiner_ext.types import FloatArray, Hand, HandMesh, Image, Quality, View

MALFORMED_BELOW = 0.5
"""Quality from which a hand counts as well formed."""

MIDDLE, SLOPE = -2.5, 0.5
"""The form's log-odds at which the quality is one half, and how steeply it rises; fitted by
tools/calibrate_quality.py."""

TURN = float(np.radians(25.0))
VIEWS = (
    *(View(TURN), View(-TURN), View(0.0, 1.2)),
    *(View(TURN, mirrored=True), View(-TURN, mirrored=True), View(0.0, 1.2, mirrored=True)),
)
QUICK_WINDOWS = (STRAIGHT, Jitter(turn=0.12, size=1.06))
THOROUGH_WINDOWS = (
    *QUICK_WINDOWS,
    *(Jitter(turn=-0.12, size=1.06), Jitter(size=0.94), Jitter(shift_x=0.03), Jitter(shift_y=0.03)),
)
STEADY, NEAR = 0.05, 0.05
"""Drift and misfit, hand sizes, at which steadiness and anatomy have fallen to 1/e."""

UNSEEN = Quality(0.0, {"presence": 0.0})


class HandQuality:
    """Measures the quality of hands; `reconstructor` fits the mesh that each is compared with."""

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
        """Measure the hand that is seen in the place of each of `hands`; 0 where none is seen."""
        seen = detector.redetect(image, hands, params)
        return tuple(
            UNSEEN if hand is None else self._rate(detector, image, hand, params, thorough)
            for hand in seen
        )

    def measure_form(
        self, image: Image, hand: Hand, params: RefineParams, thorough: bool
    ) -> tuple[float, float] | None:
        """Return the log-odds that `hand` is well formed, and the mesh's misfit in hand sizes.

        None if the open hand cannot be fitted.
        """
        mesh = self._reconstructor.reconstruct(image, hand, replace(params, outline=False))
        if not isinstance(mesh, HandMesh):
            return None
        windows = THOROUGH_WINDOWS if thorough else QUICK_WINDOWS
        return self._run_network(image, mesh, windows), mesh.reprojection_error

    def _rate(
        self, detector: Detector, image: Image, hand: Hand, params: RefineParams, thorough: bool
    ) -> Quality:
        found = self.measure_form(image, hand, params, thorough)
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

    def _run_network(self, image: Image, mesh: HandMesh, windows: Sequence[Jitter]) -> float:
        network = self._network or load_form_network()
        logits = np.mean(
            [network.run(make_planes(image, mesh, INPUT_PX, jitter)) for jitter in windows], axis=0
        )
        return float(logits[0] - np.logaddexp.reduce(logits[1:]))


def measure_drift(readings: Sequence[Hand]) -> float:
    """Return the mean distance of the readings' landmarks from their median, in hand sizes."""
    landmarks = np.array([reading.landmarks for reading in readings])
    median = np.median(landmarks, axis=0)
    apart: FloatArray = np.linalg.norm(landmarks - median, axis=2)
    return float(apart.mean()) / max(float(np.ptp(median, axis=0).max()), 1e-6)
