"""Find a mesh for each hand; a hand that fails costs no other, and each keeps its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from handrefiner_ext.hands.assumed import reconstruct_assumed
from handrefiner_ext.hands.others import find_others, pick_mesh
from handrefiner_ext.hands.readings import Backends, ask_fallbacks, reconstruct_well
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import BatchReconstructor
from handrefiner_ext.types import Hand, HandMesh, Image, Refusal


@dataclass(frozen=True)
class Meshes:
    """Meshes and refusals in the order of the hands. notes: sentences for the user."""

    found: tuple[HandMesh, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...]


class Mesher(Protocol):
    """Finds the meshes of a picture's hands."""

    def __call__(
        self, image: Image, hands: tuple[Hand, ...], backends: Backends, params: RefineParams
    ) -> Meshes:
        """Return a mesh or a refusal for each of `hands`, which were found in `image`."""
        ...


def find_meshes(
    image: Image,
    hands: tuple[Hand, ...],
    backends: Backends,
    params: RefineParams,
    given: Sequence[HandMesh | Refusal | None] | None = None,
) -> Meshes:
    """Return for each hand the mesh that explains the picture best, or the one the user asked for.

    Arguments:
        image: (H, W, 3) uint8 RGB.
        given: the answer for each hand if a batch reconstructor was asked already, with the hands
            of many pictures at once.
    """
    meshes: list[HandMesh] = []
    refused: list[Refusal] = []
    notes: list[str] = []
    firsts = _reconstruct_together(image, hands, backends, params) if given is None else given
    for hand, first in zip(hands, firsts, strict=True):
        found, said = _find_mesh(image, hand, first, backends, params)
        notes += said
        if isinstance(found, HandMesh):
            meshes.append(replace(found, hand=replace(found.hand, number=hand.number)))
        else:
            refused.append(replace(found, number=hand.number))
    return Meshes(tuple(meshes), tuple(refused), tuple(notes))


def _reconstruct_together(
    image: Image, hands: tuple[Hand, ...], backends: Backends, params: RefineParams
) -> list[HandMesh | Refusal | None]:
    """Return a batch reconstructor's answer for each hand; None where hands go one by one."""
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
    """Return the mesh or refusal of one hand, and notes; a numerical failure becomes a refusal."""
    try:
        found = _find_best(image, hand, first, backends, params)
        notes = [] if isinstance(found, Refusal) else _notes(hand, first, found, backends)
        if params.another:
            others = find_others(image, hand, found, backends, params)
            if others:
                found, said = pick_mesh(params.another, others, hand.number)
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
    # A batch reconstructor reads the picture itself: other landmarks would not help it, but
    # another model may.
    if isinstance(first, Refusal):
        return ask_fallbacks(image, hand, first, backends, params)
    return first


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
