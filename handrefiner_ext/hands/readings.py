"""Second readings of a hand whose first one explains the picture badly, or whose side is unsure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.probability import log_odds
from handrefiner_ext.hands.fallbacks import Backends
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector
from handrefiner_ext.types import OTHER_SIDE, Hand, HandMesh, Image, Refusal

SURE_SIDE = 0.95
"""Certainty from which the detector's side stands."""
LEAST_GAIN = 0.5
"""Strain that the other side must save for a second look to be worth while."""
MARGIN = 1.0
"""Odds (natural logarithm) that must speak for the other side. Of 400 rendered
hands of the validation split, half of them a foreign model's, 7 sides were mended and 3 spoilt."""
FEWEST_ODDS = 0.02


def take_for_other_side(hand: Hand) -> Hand:
    """The same points, taken for a hand of the other side."""
    return replace(hand, handedness=OTHER_SIDE[hand.handedness])


def fits_other_side(
    image: Image, hand: Hand, found: HandMesh | Refusal, backends: Backends, params: RefineParams
) -> bool:
    """Whether all evidence together says that `found` is of the wrong side."""
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
    odds = log_odds(hand.handedness_score, FEWEST_ODDS)
    odds += _mirror_odds(image, hand, backends, params)
    return gain > odds + MARGIN


def _mirror_odds(image: Image, hand: Hand, backends: Backends, params: RefineParams) -> float:
    """What the mirror image says for the hand's side, where the other side is expected."""
    mirrored = np.ascontiguousarray(image[:, ::-1])
    seen = backends.detector.redetect(mirrored, (mirror(hand, image),), params)[0]
    if seen is None:
        return 0.0
    agrees = seen.handedness != hand.handedness
    certainty = seen.handedness_score if agrees else 1.0 - seen.handedness_score
    return log_odds(certainty, FEWEST_ODDS)


def mirror(hand: Hand, image: Image) -> Hand:
    """The hand as it lies in the picture's mirror image."""
    height, width = image.shape[:2]
    landmarks = hand.landmarks * (-1.0, 1.0) + (float(width), 0.0)
    return replace(
        take_for_other_side(hand),
        landmarks=landmarks,
        box=clip(bounding_box(landmarks), height, width),
        world_landmarks=hand.world_landmarks * (-1.0, 1.0, 1.0),
    )


DOUBTFUL_ERROR = 0.04
DOUBTFUL_DISAGREEMENT = 0.25
"""Of the well-formed rendered hands, one in ten lies above one of these."""

DISAGREEMENT_WEIGHT = 0.1
CLEARLY_LESS = 0.85
"""Of the first doubt; on well-formed hands, readings that gain less are no nearer the truth, and
some are a good deal farther from it."""
TRIED_IN_FULL = 2
"""Readings whose quick fit looks best are fitted with the outline's evidence, too."""


def reconstruct_well(
    image: Image, hand: Hand, backends: Backends, params: RefineParams
) -> HandMesh | Refusal:
    """The mesh of `hand`, or of another reading of it that explains the picture better."""
    first = backends.reconstructor.reconstruct(image, hand, params)
    if fits_other_side(image, hand, first, backends, params):
        hand = take_for_other_side(hand)
        first = backends.reconstructor.reconstruct(image, hand, params)
    if not is_doubtful(first):
        return first
    best = _better(first, _read_again(image, hand, (backends.detector,), backends, params))
    if is_doubtful(best):
        others = _read_again(image, hand, backends.spares.detectors, backends, params)
        best = _better(best, others)
    return best if isinstance(best, HandMesh) else step_in(image, hand, best, backends, params)


def _better(first: HandMesh | Refusal, others: Sequence[HandMesh]) -> HandMesh | Refusal:
    """The least doubtful of the others if that is clearly less so than the first, else that."""
    best = min(others, key=doubt, default=None)
    return first if best is None or doubt(best) >= CLEARLY_LESS * doubt(first) else best


def step_in(
    image: Image, hand: Hand, refusal: Refusal, backends: Backends, params: RefineParams
) -> HandMesh | Refusal:
    """What another reconstructor makes of a hand that was refused."""
    for reconstructor in backends.spares.reconstructors:
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
    """The most promising other readings, fitted with all evidence."""
    readings = [reading for d in detectors for reading in d.reread(image, hand, params)]
    quick = replace(params, outline=False)
    fits = [backends.reconstructor.reconstruct(image, reading, quick) for reading in readings]
    meshes = [mesh for mesh in fits if isinstance(mesh, HandMesh)]
    promising = sorted(meshes, key=doubt)[:TRIED_IN_FULL]
    full = [backends.reconstructor.reconstruct(image, mesh.hand, params) for mesh in promising]
    return [mesh for mesh in full if isinstance(mesh, HandMesh)]


def is_doubtful(found: HandMesh | Refusal) -> bool:
    if isinstance(found, Refusal):
        return True
    disagreement = found.outline_disagreement or 0.0
    return found.reprojection_error > DOUBTFUL_ERROR or disagreement > DOUBTFUL_DISAGREEMENT


def doubt(found: HandMesh | Refusal) -> float:
    """How badly a mesh explains the landmarks and the picture, in hand sizes; infinite for none."""
    if isinstance(found, Refusal):
        return float("inf")
    return found.reprojection_error + DISAGREEMENT_WEIGHT * (found.outline_disagreement or 0.0)
