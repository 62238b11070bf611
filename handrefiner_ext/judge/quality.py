"""How well formed a hand looks, regardless of the mesh that is wanted in its place.

The score is a logistic sum of four cues with round weights:

- presence: how sure the landmark network is, over several views, that here is a hand. It orders
  real pictures best: what it has not seen in photographs is hardly a hand to it.
- form: the least of what a small network (`judge.form`) says that compares the picture with the
  mesh fitted to the hand, over several windows. It orders renderings best. It counts down to a
  floor only, because its answer to a hand unlike those it has learnt may be far off.
- certainty: how alike its answers are in these windows. Where it has learnt what it sees, a small
  shift changes nothing.
- soundness: what the landmark network says of the picture alone after it was taught to tell
  well-formed from malformed twins (`judge.soundness`). It knows real hands and needs no mesh.
  Where LiteRT cannot be used it is left out.

Two more parts are reported but do not count, because they add nothing to these: steadiness (how
far the landmarks drift between the views) and anatomy (how near the open hand comes to them).

A hand between malformed and well formed is one of which the judge cannot tell: its quality has a
score, and a doubt. The same picture always has the same quality, before and after painting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from handrefiner_ext.geometry.probability import log_odds, logistic
from handrefiner_ext.judge.form import (
    INPUT_PX,
    STRAIGHT,
    FormNetwork,
    Jitter,
    load_form_network,
    make_planes,
)
from handrefiner_ext.judge.soundness import load_soundness_network
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector, Reconstructor
from handrefiner_ext.types import FloatArray, Hand, HandMesh, Image, Quality, View

MALFORMED_BELOW = 0.5
"""Quality from which a hand counts as well formed."""
UNSURE_FROM = 0.47
"""From here to MALFORMED_BELOW the judge cannot tell. The band is narrow because a hand in it stays
as it is, while one above it may still be improved."""

PRESENCE_WEIGHT, FORM_WEIGHT, CERTAINTY_WEIGHT, OFFSET = 0.5, 0.5, 0.7, -0.35
SOUNDNESS_WEIGHT = 1.0
"""Of the log-odds of presence, the form's least log-odds, minus the logarithm of their spread, and
the log-odds of soundness; chosen on real pictures and renderings alike (docs/judge.md)."""
UNSEEN_OFFSET = -1.0
"""In place of OFFSET where presence alone counts."""
LEAST_SCORE, EDGE = 0.05, 0.01
"""Presence of a view in which no hand is seen, and how near to 1 a presence counts."""
FORM_FLOOR = -3.0
"""Form's log-odds below which a hand counts no worse. Of hands unlike those that it has learnt the
network may say anything: it gives some good generated hands -9, as it does malformed ones. With the
floor the AUC of the labelled real hands is 0.85 instead of 0.83, and that of renderings no less."""
SOUNDNESS_CEILING = 0.1
"""Log-odds of soundness above which a hand counts no better. Clean renderings look sound to the
network, whatever is wrong with their fingers; with the ceiling their AUC is 0.92 instead of 0.89,
and that of real hands no less."""
LEAST_SPREAD = 0.1
"""Spread of the form's log-odds that says no more than none."""

TURN = float(np.radians(25.0))
VIEWS = (
    *(View(TURN), View(-TURN), View(0.0, 1.2)),
    *(View(TURN, mirrored=True), View(-TURN, mirrored=True), View(mirrored=True)),
)
WINDOWS = (
    *(STRAIGHT, Jitter(turn=0.12, size=1.06), Jitter(turn=-0.12, size=1.06)),
    *(Jitter(size=0.94), Jitter(shift_x=0.03), Jitter(shift_y=0.03)),
)
STEADY, NEAR = 0.05, 0.05
"""Drift and misfit, hand sizes, at which steadiness and anatomy have fallen to 1/e."""

NO_HAND = "nothing like a hand is seen in its place"
BETWEEN = "it lies between malformed and well-formed hands"
NO_FIT = "no mesh can be fitted to it"


@dataclass(frozen=True)
class Form:
    """What the form network says of one hand.

    least, spread: of the log-odds that it is well formed, over the windows. misfit: of the mesh it
    was compared with, hand sizes.
    """

    least: float
    spread: float
    misfit: float


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
    ) -> tuple[Quality, ...]:
        """Measure what is seen in the place of each of `hands`."""
        seen = detector.redetect(image, hands, params)
        return tuple(
            self._rate_unseen(detector, image, old, params)
            if hand is None
            else self._rate(detector, image, hand, params)
            for old, hand in zip(hands, seen, strict=True)
        )

    def measure_form(self, image: Image, hand: Hand, params: RefineParams) -> Form | None:
        """Compare `hand` with the mesh fitted to it; None if the open hand cannot be fitted."""
        mesh = self._reconstructor.reconstruct(image, hand, replace(params, outline=False))
        if not isinstance(mesh, HandMesh):
            return None
        network = self._network or load_form_network()
        logits = [network.run(make_planes(image, mesh, INPUT_PX, window)) for window in WINDOWS]
        odds = np.array([each[0] - np.logaddexp.reduce(each[1:]) for each in logits])
        return Form(float(odds.min()), float(odds.std()), mesh.reprojection_error)

    def _rate(self, detector: Detector, image: Image, hand: Hand, params: RefineParams) -> Quality:
        views = detector.examine(image, hand, VIEWS, params)
        readings = [hand, *(reading for reading in views if reading is not None)]
        parts = {
            "presence": sum(reading.score for reading in readings) / (1 + len(VIEWS)),
            "steadiness": float(np.exp(-measure_drift(readings) / STEADY)),
        }
        form = self.measure_form(image, hand, params)
        if form is None:
            return Quality(MALFORMED_BELOW, parts, NO_FIT)
        parts["form"] = logistic(form.least)
        parts["certainty"] = LEAST_SPREAD / (form.spread + LEAST_SPREAD)
        parts["anatomy"] = float(np.exp(-form.misfit / NEAR))
        soundness = 0.0
        if (network := load_soundness_network()) is not None:
            soundness = network.rate(image, hand, (View(), *VIEWS))
            parts["soundness"] = logistic(soundness)
        score = logistic(
            OFFSET
            + PRESENCE_WEIGHT * sum_up_presence([hand, *views])
            + FORM_WEIGHT * max(form.least, FORM_FLOOR)
            - CERTAINTY_WEIGHT * float(np.log(form.spread + LEAST_SPREAD))
            + SOUNDNESS_WEIGHT * min(soundness, SOUNDNESS_CEILING)
        )
        doubt = BETWEEN if UNSURE_FROM <= score < MALFORMED_BELOW else ""
        return Quality(score, parts, doubt)

    def _rate_unseen(
        self, detector: Detector, image: Image, old: Hand, params: RefineParams
    ) -> Quality:
        """Rate a place at which no hand is found again, by presence alone."""
        views = detector.examine(image, old, (View(), *VIEWS), params)
        presence = sum(view.score for view in views if view is not None) / len(views)
        if not any(views):
            return Quality(0.0, {"presence": presence}, NO_HAND)
        score = logistic(UNSEEN_OFFSET + PRESENCE_WEIGHT * sum_up_presence(views))
        return Quality(min(score, UNSURE_FROM), {"presence": presence})


def sum_up_presence(readings: Sequence[Hand | None]) -> float:
    """Return the mean log-odds of the readings' presence."""
    scores = [LEAST_SCORE if hand is None else hand.score for hand in readings]
    return float(np.mean([log_odds(max(score, LEAST_SCORE), EDGE) for score in scores]))


def measure_drift(readings: Sequence[Hand]) -> float:
    """Return the mean distance of the readings' landmarks from their median, in hand sizes."""
    landmarks = np.array([reading.landmarks for reading in readings])
    median = np.median(landmarks, axis=0)
    apart: FloatArray = np.linalg.norm(landmarks - median, axis=2)
    return float(apart.mean()) / max(float(np.ptp(median, axis=0).max()), 1e-6)
