""" "Give me another": all really different meshes of a hand, from the best fit down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from handrefiner_ext.hands.assumed import reconstruct_assumed, vary
from handrefiner_ext.hands.fallbacks import Backends
from handrefiner_ext.hands.readings import doubt, take_for_other_side
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import BatchReconstructor, Reconstructor
from handrefiner_ext.types import FloatArray, Hand, HandMesh, Image, Refusal

DIFFERENT = 0.12
"""Mean distance of one finger's joints in space, hand sizes, from which two meshes differ."""


def find_others(
    image: Image, hand: Hand, best: HandMesh | Refusal, backends: Backends, params: RefineParams
) -> tuple[HandMesh, ...]:
    """The best mesh and every other one that differs from all before it, best fit first."""
    first = [best] if isinstance(best, HandMesh) else []
    if hand.assumed:
        found = [reconstruct_assumed(image, other, params) for other in vary(hand)]
    else:
        found = _fit_readings(image, hand, backends, params)
    meshes = [mesh for mesh in found if isinstance(mesh, HandMesh)]
    return keep_different([*first, *(meshes if hand.assumed else sorted(meshes, key=doubt))])


def _fit_readings(
    image: Image, hand: Hand, backends: Backends, params: RefineParams
) -> list[HandMesh | Refusal]:
    """Every reading by the chosen reconstructor, and by the spare ones."""
    detectors = (backends.detector, *backends.spares.detectors)
    readings = [hand, *(other for d in detectors for other in d.reread(image, hand, params))]
    readings += [take_for_other_side(hand), mirror_depth(hand)]
    found: list[HandMesh | Refusal] = []
    for reconstructor in (backends.reconstructor, *backends.spares.reconstructors):
        found += _fit_all(image, readings, reconstructor, params)
    return found


def _fit_all(
    image: Image, readings: list[Hand], reconstructor: Reconstructor, params: RefineParams
) -> list[HandMesh | Refusal]:
    """With all evidence, those that differ after a quick fit."""
    if isinstance(reconstructor, BatchReconstructor):
        by_side = {reading.handedness: reading for reading in reversed(readings)}
        return list(reconstructor.reconstruct_all([(image, h) for h in by_side.values()], params))
    quick = replace(params, outline=False)
    fits = [reconstructor.reconstruct(image, reading, quick) for reading in readings]
    meshes = sorted((mesh for mesh in fits if isinstance(mesh, HandMesh)), key=doubt)
    return [reconstructor.reconstruct(image, mesh.hand, params) for mesh in keep_different(meshes)]


def mirror_depth(hand: Hand) -> Hand:
    """The hand of the other side that looks the same in the picture, its depth turned round."""
    return replace(
        take_for_other_side(hand),
        landmark_depth=-hand.landmark_depth,
        world_landmarks=hand.world_landmarks * (1.0, 1.0, -1.0),
    )


def keep_different(meshes: list[HandMesh]) -> tuple[HandMesh, ...]:
    """Each mesh that differs from all that were kept before it."""
    kept: list[HandMesh] = []
    for mesh in meshes:
        if all(distance(mesh, other) >= DIFFERENT for other in kept):
            kept.append(mesh)
    return tuple(kept)


def distance(a: HandMesh, b: HandMesh) -> float:
    """Mean distance of the joints of that finger, or palm, which differs most, in hand sizes."""
    apart = np.linalg.norm(_joints_px(a) - _joints_px(b), axis=1) / max(a.hand.size_px, 1e-6)
    fingers = apart[1:].reshape(5, 4)
    palm = np.append(fingers[:, 0], apart[0])
    return float(max(palm.mean(), fingers.mean(axis=1).max()))


def _joints_px(mesh: HandMesh) -> FloatArray:
    """(21, 3) joints in pixels, their depth from the middle of the hand."""
    depth = mesh.camera.scale * (mesh.joints[:, 2] - mesh.joints[:, 2].mean())
    return np.column_stack([mesh.joints_2d, depth])


def pick(number: int, meshes: tuple[HandMesh, ...], hand: int) -> tuple[HandMesh, str]:
    """Mesh `number` of a hand (0 is the best), counting round, and a sentence about how many."""
    place = number % len(meshes)
    count = f"{len(meshes)} different meshes" if len(meshes) > 1 else "no other mesh"
    if number < len(meshes):
        said = f"Hand {hand} has {count}; this is number {place}, and 0 is the best fit."
    else:
        said = f"Hand {hand} has {count}; another = {number} counts round to number {place}."
    return meshes[place], said
