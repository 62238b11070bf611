"""From hands to meshes: one hand's failure costs no other, and each keeps its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from handrefiner_ext.hands.assumed import reconstruct_assumed
from handrefiner_ext.hands.fallbacks import Backends
from handrefiner_ext.hands.others import find_others, pick
from handrefiner_ext.hands.readings import reconstruct_well, step_in
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import BatchReconstructor
from handrefiner_ext.types import Hand, HandMesh, Image, Refusal


@dataclass(frozen=True)
class Meshes:
    """Meshes and refusals in the order of the hands, and what else is worth knowing."""

    found: tuple[HandMesh, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...]


class Mesher(Protocol):
    """Finds the meshes of a picture's hands."""

    def __call__(
        self, image: Image, hands: tuple[Hand, ...], backends: Backends, params: RefineParams
    ) -> Meshes: ...


def find_meshes(
    image: Image,
    hands: tuple[Hand, ...],
    backends: Backends,
    params: RefineParams,
    given: Sequence[HandMesh | Refusal | None] | None = None,
) -> Meshes:
    """A mesh for every hand: the one that explains the picture best, or another one if asked.

    given: for each hand, what a reconstructor has said that takes the hands of many pictures.
    """
    meshes: list[HandMesh] = []
    refused: list[Refusal] = []
    notes: list[str] = []
    firsts = _ask_for_all(image, hands, backends, params) if given is None else given
    for hand, first in zip(hands, firsts, strict=True):
        found, said = _find_mesh(image, hand, first, backends, params)
        notes += said
        if isinstance(found, HandMesh):
            meshes.append(replace(found, hand=replace(found.hand, number=hand.number)))
        else:
            refused.append(replace(found, number=hand.number))
    return Meshes(tuple(meshes), tuple(refused), tuple(notes))


def _ask_for_all(
    image: Image, hands: tuple[Hand, ...], backends: Backends, params: RefineParams
) -> list[HandMesh | Refusal | None]:
    """What a reconstructor says that takes all hands at once; None where one by one is better."""
    if not isinstance(backends.reconstructor, BatchReconstructor):
        return [None] * len(hands)
    seen = [(image, hand) for hand in hands if not hand.assumed]
    answers = iter(backends.reconstructor.reconstruct_all(seen, params))
    return [None if hand.assumed else next(answers) for hand in hands]


def _find_mesh(
    image: Image,
    hand: Hand,
    first: HandMesh | Refusal | None,
    backends: Backends,
    params: RefineParams,
) -> tuple[HandMesh | Refusal, list[str]]:
    """The mesh or refusal of one hand whose numbers may break down, and notes."""
    try:
        found = _find_best(image, hand, first, backends, params)
        notes = [] if isinstance(found, Refusal) else _notes(hand, first, found, backends)
        if params.another:
            others = find_others(image, hand, found, backends, params)
            if others:
                found, said = pick(params.another, others, hand.number)
                notes.append(said)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        return Refusal(hand.box, f"Its mesh could not be computed ({error})."), []
    if isinstance(found, HandMesh) and not _is_finite(found):
        return Refusal(hand.box, "Its mesh has coordinates that are not finite numbers."), []
    return found, notes


def _find_best(
    image: Image,
    hand: Hand,
    first: HandMesh | Refusal | None,
    backends: Backends,
    params: RefineParams,
) -> HandMesh | Refusal:
    if hand.assumed:
        return reconstruct_assumed(image, hand, params)
    if first is None:
        return reconstruct_well(image, hand, backends, params)
    # It looks at the picture itself: other readings would not help it, another model may.
    return step_in(image, hand, first, backends, params) if isinstance(first, Refusal) else first


def _notes(
    hand: Hand, first: HandMesh | Refusal | None, found: HandMesh, backends: Backends
) -> list[str]:
    notes = []
    if not hand.assumed and found.backend != backends.reconstructor.name:
        why = f": {first.reason}" if isinstance(first, Refusal) else "."
        notes.append(
            f"Hand {hand.number}: {found.backend} stepped in for {backends.reconstructor.name}, "
            f"which refused it{why}"
        )
    if found.handedness != hand.handedness:
        notes.append(
            f"Hand {hand.number}: it looked like a {hand.handedness} hand, but a "
            f"{found.handedness} one fits better."
        )
    return notes


def _is_finite(mesh: HandMesh) -> bool:
    with np.errstate(all="ignore"):
        arrays = (mesh.vertices, mesh.joints_2d, mesh.reprojection_error)
    return all(bool(np.isfinite(array).all()) for array in arrays)
