"""Retry where a hand seems misread: other readings of it are fitted, and the best one is kept.

A landmark network that misses a finger of a strange drawing often sees it through a slightly
turned or wider window, and another detector has other windows. Well-read hands are not asked twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handrefiner_ext.params import RefineParams
from handrefiner_ext.search.sides import fits_other_side, take_for_other_side
from handrefiner_ext.search.spares import Backends
from handrefiner_ext.types import (
    Detector,
    Hand,
    HandMesh,
    Image,
    Refusal,
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
