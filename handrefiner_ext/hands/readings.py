"""Read a hand again if its first mesh explains the picture badly or its side is uncertain.

A detector reads landmarks off a picture, and a reconstructor fits a mesh to them; a second reading
is another set of landmarks for the same hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.geometry.probability import log_odds
from handrefiner_ext.geometry.transforms import mirror_hand
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector, Reconstructor
from handrefiner_ext.registry import DETECTORS, RECONSTRUCTORS, Registry
from handrefiner_ext.types import OTHER_SIDE, Hand, HandMesh, Image, Refusal

SURE_SIDE = 0.95
"""Certainty from which the detector's side is taken as it is."""
LEAST_GAIN = 0.5
"""By how much the other side must lower the strain for a second look to be worth its time."""
MARGIN = 1.0
"""Log-odds by which the evidence for the other side must win. Of 400 rendered hands of the
validation split, half of them not from our model, 7 sides were corrected and 3 spoilt."""
LEAST_CERTAINTY = 0.02
"""A certainty nearer to 0 or 1 than this counts as this, so that none decides alone."""
DOUBTFUL_ERROR = 0.04
DOUBTFUL_DISAGREEMENT = 0.25
"""A mesh is doubtful above one of these; one in ten well-formed rendered hands is."""
DISAGREEMENT_WEIGHT = 0.1
CLEARLY_LESS = 0.85
"""Another mesh replaces the first if its doubt is below this share of the first one's. On
well-formed hands, readings that gain less are no nearer the truth and some much farther from it."""
TRIED_IN_FULL = 2
"""Number of readings, those with the best quick fits, that are fitted again with all evidence."""


@dataclass(eq=False)
class Fallbacks:
    """Backends that are asked only if the chosen ones explain a hand badly.

    Each is built when it is first needed, and left out if it cannot be built here. build: takes a
    registry and a name, returns the backend; it is required because `Registry.build` alone would
    ignore the user's models folder and device.
    """

    detector_names: tuple[str, ...]
    reconstructor_names: tuple[str, ...]
    build: Callable[[Registry, str], Any]

    @cached_property
    def detectors(self) -> tuple[Detector, ...]:
        return tuple(self._build_available(DETECTORS, self.detector_names))

    @cached_property
    def reconstructors(self) -> tuple[Reconstructor, ...]:
        return tuple(self._build_available(RECONSTRUCTORS, self.reconstructor_names))

    def _build_available(self, registry: Registry, names: tuple[str, ...]) -> list[Any]:
        built = []
        for name in names:
            try:
                built.append(self.build(registry, name))
            except BackendUnavailable:
                continue
        return built


NO_FALLBACKS = Fallbacks((), (), Registry.build)


@dataclass(frozen=True)
class Backends:
    """What reads and fits a hand; the fallbacks help only where the first two explain it badly."""

    detector: Detector
    reconstructor: Reconstructor
    fallbacks: Fallbacks = NO_FALLBACKS


def take_for_other_side(hand: Hand) -> Hand:
    """Return the same landmarks as a hand of the other side."""
    return replace(hand, handedness=OTHER_SIDE[hand.handedness])


def fits_other_side(
    image: Image, hand: Hand, found: HandMesh | Refusal, backends: Backends, params: RefineParams
) -> bool:
    """Whether all evidence together says that the mesh `found` is of the wrong side.

    The evidence is the detector's certainty, the strain of both fits and the mirror image.
    """
    if hand.handedness_score >= SURE_SIDE or isinstance(found, Refusal) or found.strain is None:
        return False
    other = backends.reconstructor.reconstruct(
        image, take_for_other_side(hand), replace(params, outline=False)
    )
    if isinstance(other, Refusal) or other.strain is None:
        return False
    gain = found.strain - other.strain
    if gain < LEAST_GAIN:
        return False
    odds = log_odds(hand.handedness_score, LEAST_CERTAINTY)
    odds += _mirror_odds(image, hand, backends, params)
    return gain > odds + MARGIN


def _mirror_odds(image: Image, hand: Hand, backends: Backends, params: RefineParams) -> float:
    """Return the log-odds for the hand's side from reading the mirror image.

    A detector that prefers one side answers the same there, where the other side is right.
    """
    mirrored = np.ascontiguousarray(image[:, ::-1])
    seen = backends.detector.redetect(mirrored, (mirror_hand(hand, *image.shape[:2]),), params)[0]
    if seen is None:
        return 0.0
    agrees = seen.handedness != hand.handedness
    certainty = seen.handedness_score if agrees else 1.0 - seen.handedness_score
    return log_odds(certainty, LEAST_CERTAINTY)


def reconstruct_well(
    image: Image, hand: Hand, backends: Backends, params: RefineParams
) -> HandMesh | Refusal:
    """Return the mesh of `hand`, or of another reading of it that explains the picture better.

    Arguments:
        image: (H, W, 3) uint8 RGB.
        hand: the hand as the detector read it.

    Returns a refusal only if no reading and no fallback gives a mesh.
    """
    first = backends.reconstructor.reconstruct(image, hand, params)
    if fits_other_side(image, hand, first, backends, params):
        hand = take_for_other_side(hand)
        first = backends.reconstructor.reconstruct(image, hand, params)
    if not is_doubtful(first):
        return first
    best = _better(first, _read_again(image, hand, (backends.detector,), backends, params))
    if is_doubtful(best):
        others = _read_again(image, hand, backends.fallbacks.detectors, backends, params)
        best = _better(best, others)
    if isinstance(best, HandMesh):
        return best
    return ask_fallbacks(image, hand, best, backends, params)


def _better(first: HandMesh | Refusal, others: Sequence[HandMesh]) -> HandMesh | Refusal:
    """Return the least doubtful of the others if it clearly beats the first, else the first."""
    best = min(others, key=doubt, default=None)
    return first if best is None or doubt(best) >= CLEARLY_LESS * doubt(first) else best


def ask_fallbacks(
    image: Image, hand: Hand, refusal: Refusal, backends: Backends, params: RefineParams
) -> HandMesh | Refusal:
    """Return the mesh of the first fallback that can fit a refused hand, else `refusal`."""
    for reconstructor in backends.fallbacks.reconstructors:
        found = reconstruct_well(image, hand, Backends(backends.detector, reconstructor), params)
        if isinstance(found, HandMesh):
            return found
    return refusal


def _read_again(
    image: Image,
    hand: Hand,
    detectors: Sequence[Detector],
    backends: Backends,
    params: RefineParams,
) -> list[HandMesh]:
    """Return the meshes of the most promising other readings, fitted with all evidence."""
    readings = [reading for d in detectors for reading in d.reread(image, hand, params)]
    quick = replace(params, outline=False)
    fits = [backends.reconstructor.reconstruct(image, reading, quick) for reading in readings]
    meshes = [mesh for mesh in fits if isinstance(mesh, HandMesh)]
    promising = sorted(meshes, key=doubt)[:TRIED_IN_FULL]
    full = [backends.reconstructor.reconstruct(image, mesh.hand, params) for mesh in promising]
    return [mesh for mesh in full if isinstance(mesh, HandMesh)]


def is_doubtful(found: HandMesh | Refusal) -> bool:
    """Whether a mesh explains the hand so badly that it is worth reading again."""
    if isinstance(found, Refusal):
        return True
    disagreement = found.outline_disagreement or 0.0
    return found.reprojection_error > DOUBTFUL_ERROR or disagreement > DOUBTFUL_DISAGREEMENT


def doubt(found: HandMesh | Refusal) -> float:
    """Return how badly a mesh explains landmarks and picture, in hand sizes; infinite for none."""
    if isinstance(found, Refusal):
        return float("inf")
    return found.reprojection_error + DISAGREEMENT_WEIGHT * (found.outline_disagreement or 0.0)
