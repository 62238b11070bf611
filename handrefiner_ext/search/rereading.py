"""Retry where a hand seems misread: other readings of it are fitted, and the best one is kept.

A landmark network that misses a finger of a strange drawing often sees it through a slightly
turned or wider window. Well-read hands are not asked twice.
"""

from __future__ import annotations

from dataclasses import replace

from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Detector, Hand, HandMesh, Image, Reconstructor, Refusal

DOUBTFUL_ERROR = 0.04
DOUBTFUL_DISAGREEMENT = 0.25
"""Of the well-formed rendered hands, one in ten lies above one of these."""

DISAGREEMENT_WEIGHT = 0.1
TRIED_IN_FULL = 2
"""Readings whose quick fit looks best are fitted with the outline's evidence, too."""


def reconstruct_well(
    image: Image,
    hand: Hand,
    detector: Detector,
    reconstructor: Reconstructor,
    params: RefineParams,
) -> HandMesh | Refusal:
    """The mesh of `hand`, or of another reading of it that explains the picture better."""
    first = reconstructor.reconstruct(image, hand, params)
    if not is_doubtful(first):
        return first
    quick = replace(params, outline=False)
    readings = detector.reread(image, hand, params)
    fits = [reconstructor.reconstruct(image, reading, quick) for reading in readings]
    meshes = [fit for fit in fits if isinstance(fit, HandMesh)]
    promising = sorted(meshes, key=lambda mesh: mesh.reprojection_error)[:TRIED_IN_FULL]
    others = [reconstructor.reconstruct(image, mesh.hand, params) for mesh in promising]
    return min([first, *others], key=doubt)


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
