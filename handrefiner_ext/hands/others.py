"""List the clearly different meshes of a hand, best fit first, for the parameter `another`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from handrefiner_ext.hands.assumed import list_variants, reconstruct_assumed
from handrefiner_ext.hands.readings import Backends, doubt, take_for_other_side
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import BatchReconstructor, Reconstructor
from handrefiner_ext.types import FloatArray, Hand, HandMesh, Image, Refusal

DIFFERENT = 0.12
"""Two meshes differ if the joints of one finger lie this far apart on average, hand sizes."""


def find_others(
    image: Image, hand: Hand, best: HandMesh | Refusal, backends: Backends, params: RefineParams
) -> tuple[HandMesh, ...]:
    """Return the best mesh and every other one that differs from all before it, best fit first.

    The order is the same each time, so that a number always means the same mesh.
    """
    first = [best] if isinstance(best, HandMesh) else []
    if hand.assumed:
        found = [reconstruct_assumed(image, other, params) for other in list_variants(hand)]
    else:
        found = _fit_readings(image, hand, backends, params)
    meshes = [mesh for mesh in found if isinstance(mesh, HandMesh)]
    return keep_different([*first, *(meshes if hand.assumed else sorted(meshes, key=doubt))])


def _fit_readings(
    image: Image, hand: Hand, backends: Backends, params: RefineParams
) -> list[HandMesh | Refusal]:
    """Fit every reading, with the chosen reconstructor and with the fallbacks."""
    detectors = (backends.detector, *backends.fallbacks.detectors)
    readings = [hand, *(other for d in detectors for other in d.reread(image, hand, params))]
    readings += [take_for_other_side(hand), mirror_depth(hand)]
    found: list[HandMesh | Refusal] = []
    for reconstructor in (backends.reconstructor, *backends.fallbacks.reconstructors):
        found += _fit_all(image, readings, reconstructor, params)
    return found


def _fit_all(
    image: Image, readings: list[Hand], reconstructor: Reconstructor, params: RefineParams
) -> list[HandMesh | Refusal]:
    """Fit the readings quickly, then fit those that differ again with all evidence."""
    if isinstance(reconstructor, BatchReconstructor):
        by_side = {reading.handedness: reading for reading in reversed(readings)}
        return list(reconstructor.reconstruct_all([(image, h) for h in by_side.values()], params))
    quick = replace(params, outline=False)
    fits = [reconstructor.reconstruct(image, reading, quick) for reading in readings]
    meshes = sorted((mesh for mesh in fits if isinstance(mesh, HandMesh)), key=doubt)
    return [reconstructor.reconstruct(image, mesh.hand, params) for mesh in keep_different(meshes)]


def mirror_depth(hand: Hand) -> Hand:
    """Return the hand of the other side that looks the same: near and far are swapped."""
    return replace(
        take_for_other_side(hand),
        landmark_depth=-hand.landmark_depth,
        world_landmarks=hand.world_landmarks * (1.0, 1.0, -1.0),
    )


def keep_different(meshes: list[HandMesh]) -> tuple[HandMesh, ...]:
    """Return each mesh that differs from all kept before it."""
    kept: list[HandMesh] = []
    for mesh in meshes:
        if all(distance(mesh, other) >= DIFFERENT for other in kept):
            kept.append(mesh)
    return tuple(kept)


def distance(a: HandMesh, b: HandMesh) -> float:
    """Return how far apart two meshes are, hand sizes: the mean over the worst finger or palm."""
    apart = np.linalg.norm(_joints_px(a) - _joints_px(b), axis=1) / max(a.hand.size_px, 1e-6)
    fingers = apart[1:].reshape(5, 4)
    palm = np.append(fingers[:, 0], apart[0])
    return float(max(palm.mean(), fingers.mean(axis=1).max()))


def _joints_px(mesh: HandMesh) -> FloatArray:
    """Return the (21, 3) joints in pixels; depth is measured from the middle of the hand."""
    depth = mesh.camera.scale * (mesh.joints[:, 2] - mesh.joints[:, 2].mean())
    return np.column_stack([mesh.joints_2d, depth])


def pick_mesh(number: int, meshes: tuple[HandMesh, ...], hand: int) -> tuple[HandMesh, str]:
    """Return mesh `number` of hand number `hand`, and a note on how many meshes it has.

    0 is the best fit; past the last mesh the count wraps around.
    """
    place = number % len(meshes)
    count = f"{len(meshes)} different meshes" if len(meshes) > 1 else "no other mesh"
    if number < len(meshes):
        said = f"Hand {hand} has {count}; this is number {place}, and 0 is the best fit."
    else:
        said = f"Hand {hand} has {count}; another = {number} wraps around to number {place}."
    return meshes[place], said
