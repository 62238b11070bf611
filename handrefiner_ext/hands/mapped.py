"""Hands of a depth map that the user gave: one for each connected part, with the depth as it is.

The joints, by which a new hand is judged, are those of a mesh that fits the part: read in the map
itself, which detectors see like a grey hand on black, or in the picture below it. Where neither
fits, or no hand is seen in the picture, the part is painted all the same and the judge abstains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import area, bounding_box, clip, intersect, slices_within
from handrefiner_ext.geometry.relief import build_surface
from handrefiner_ext.hands.assumed import PaintedPart, assume, reconstruct_assumed
from handrefiner_ext.hands.meshing import Mesher
from handrefiner_ext.hands.painted import list_parts, refuse_small
from handrefiner_ext.hands.readings import Backends
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Renderer
from handrefiner_ext.render.masks import draw_hand
from handrefiner_ext.report import DEPTH_IN, number_meshes
from handrefiner_ext.types import (
    Box,
    Detection,
    Hand,
    HandLayer,
    HandMesh,
    Image,
    Refusal,
    Relief,
)

EMPTY_DEPTH = "The depth map is empty, so nothing may change."
MOST_PARTS = 16
LEAST_OVERLAP = 0.6
"""Intersection over union of a part and a mesh from which they show the same hand; control images
of our own, read in themselves, have 0.89 to 0.96."""
LIES_ON = 0.3
"""Share of a drawn hand from which a part was given for it."""
USUAL_DEPTH = 0.35
"""Depth of a hand that nothing is known of, hand sizes from its nearest to its farthest grey."""


@dataclass(frozen=True)
class MappedHands:
    """The hands of a depth map, and those of the picture that it leaves alone.

    detection: its hands from left to right, in the order of `meshes`.
    """

    detection: Detection
    meshes: tuple[HandMesh, ...]
    others: tuple[Hand, ...]


@dataclass(frozen=True)
class Sight:
    """What looks at a picture and at a depth map of it."""

    backends: Backends
    mesher: Mesher
    renderer: Renderer
    params: RefineParams

    def fit(self, image: Image, hands: tuple[Hand, ...]) -> tuple[HandMesh, ...]:
        return self.mesher(image, hands, self.backends, self.params).found if hands else ()

    def read(self, image: Image, box: Box) -> tuple[Hand, ...]:
        """Return the hand that is seen in a box."""
        here = replace(self.params, boxes=",".join(map(str, box)))
        return self.backends.detector.detect(image, here).hands[:1]

    def overlap(self, mesh: HandMesh, part: PaintedPart, size: tuple[int, int]) -> float:
        """Return the intersection over union of a mesh and a part."""
        layer = self.renderer.render(mesh, *size)
        both = _count_common(layer, part)
        either = int(np.isfinite(layer.depth).sum()) + int(part.inside.sum()) - both
        return both / either if either else 0.0


def find_mapped_hands(image: Image, grey: NDArray[np.uint8], sight: Sight) -> MappedHands:
    """Return a hand for each part of a depth map.

    Arguments:
        image: (H, W, 3) uint8 RGB.
        grey: (H, W) uint8, near is bright, 0 where empty.
    """
    sight = replace(sight, params=replace(sight.params, another=0))
    params = sight.params
    seen = sight.backends.detector.detect(image, params)
    parts = list_parts(grey > 0)
    large = [part for part in parts if max(part.inside.shape) >= params.min_hand_size]
    small = [part.box for part in parts if max(part.inside.shape) < params.min_hand_size]
    refused = [refuse_small(small, params, *_WORDS)] if small else []
    refused += [Refusal(part.box, _TOO_MANY) for part in large[MOST_PARTS:]]
    owners = _find_owners(seen.hands, large[:MOST_PARTS])
    meshes = []
    for number, part in enumerate(large[:MOST_PARTS]):
        mesh = _find_mesh(image, grey, part, owners.get(number), sight)
        if isinstance(mesh, Refusal):
            refused.append(mesh)
        else:
            meshes.append(mesh)
    meshes.sort(key=_place)
    hands = tuple(mesh.hand for mesh in meshes)
    taken = set(map(id, owners.values()))
    others = tuple(hand for hand in seen.hands if id(hand) not in taken)
    return MappedHands(Detection(hands, tuple(refused), seen.faces), tuple(meshes), others)


_WORDS = "A part of the depth map", "parts of the depth map"
_TOO_MANY = f"At most {MOST_PARTS} parts of a depth map are painted, the largest ones."


def _place(mesh: HandMesh) -> tuple[int, int]:
    assert mesh.relief is not None
    return mesh.relief.box.x0, mesh.relief.box.y0


def _find_owners(hands: Sequence[Hand], parts: Sequence[PaintedPart]) -> dict[int, Hand]:
    """Return number of a part -> the hand of the picture that it was given for."""
    owners: dict[int, tuple[float, Hand]] = {}
    for hand in hands:
        shares = [_share(hand, part) for part in parts]
        best = max(shares, default=0.0)
        number = shares.index(best) if shares else 0
        if best >= LIES_ON and best > owners.get(number, (0.0, hand))[0]:
            owners[number] = best, hand
    return {number: hand for number, (_, hand) in owners.items()}


def _share(hand: Hand, part: PaintedPart) -> float:
    """Return how much of the smaller of a drawn hand and a part the two have in common."""
    box = bounding_box(hand.landmarks)
    if not 0 < area(box) < 2**28:
        return 0.0
    shape = np.zeros((box.height, box.width), dtype=np.uint8)
    draw_hand(shape, hand.landmarks - (box.x0, box.y0), hand.size_px)
    depth = np.where(shape > 0, np.float32(0.0), np.float32(np.inf)).astype(np.float32)
    smaller = min(int(shape.sum()), int(part.inside.sum()))
    return _count_common(HandLayer(box, depth), part) / max(smaller, 1)


def _count_common(layer: HandLayer, part: PaintedPart) -> int:
    common = intersect(layer.box, part.box)
    if not area(common):
        return 0
    shown = np.isfinite(layer.depth[slices_within(common, layer.box)])
    return int((shown & part.inside[slices_within(common, part.box)]).sum())


def _find_mesh(
    image: Image, grey: NDArray[np.uint8], part: PaintedPart, old: Hand | None, sight: Sight
) -> HandMesh | Refusal:
    """Return the part as a mesh. old: the hand of the picture that it was given for."""
    size = (image.shape[0], image.shape[1])
    alone = np.zeros(size, dtype=np.uint8)
    alone[part.box.slices] = np.where(part.inside, grey[part.box.slices], 0)
    drawing = alone[..., None].repeat(3, axis=2)
    found = [
        *sight.fit(drawing, sight.read(drawing, part.box)),
        *sight.fit(image, () if old is None else (old,)),
    ]
    overlaps = [sight.overlap(mesh, part, size) for mesh in found]
    fits = max(overlaps, default=0.0) >= LEAST_OVERLAP
    if fits:
        joints: HandMesh | Refusal = found[overlaps.index(max(overlaps))]
    else:
        guess = assume(image, part, () if old is None else (old,))
        joints = reconstruct_assumed(image, guess, sight.params)
    if isinstance(joints, Refusal):
        return joints
    hand = replace(joints.hand, assumed=True)  # no detector saw it in the picture
    if old is not None:  # where the old hand is, so that all of it is repainted
        hand = replace(old, handedness=hand.handedness if fits else old.handedness)
    shown = alone[part.box.slices]
    depth_m = _measure_depth(joints, shown, size, sight.renderer if fits else None)
    relief = Relief(part.box, shown, depth_m, fits)
    vertices, faces = build_surface(relief, joints.camera)
    return replace(
        joints,
        hand=replace(hand, box=clip(bounding_box(hand.landmarks), *size)),
        vertices=vertices,
        faces=faces,
        backend=DEPTH_IN,
        outline_disagreement=None,
        strain=None,
        relief=relief,
    )


def _measure_depth(
    joints: HandMesh,
    shown: NDArray[np.uint8],
    size: tuple[int, int],
    renderer: Renderer | None,
) -> float:
    """Return the metres between grey 255 and 0. renderer: None where the mesh does not fit."""
    greys = shown[shown > 0]
    levels = max(int(greys.max()) - int(greys.min()), 1)
    deep = USUAL_DEPTH * joints.size_px / joints.camera.scale
    if renderer is not None:
        depth = renderer.render(joints, *size).depth
        deep = float(np.ptp(depth[np.isfinite(depth)]))
    return deep * 255 / levels


def describe_origin(meshes: Sequence[HandMesh]) -> tuple[str, ...]:
    """Return sentences on where the depth of the chosen hands comes from."""
    if not meshes:
        return ()
    numbers = number_meshes(meshes)
    notes = [f"{_name(numbers)}: the depth is that of depth_in, as it is."]
    unseen = [n for n, mesh in zip(numbers, meshes, strict=True) if mesh.hand.assumed]
    unfit = [
        number
        for number, mesh in zip(numbers, meshes, strict=True)
        if not mesh.is_known and number not in unseen
    ]
    if unseen:
        notes.append(f"{_name(unseen)}: {_UNSEEN}, so the judge abstains.")
    if unfit:
        notes.append(f"{_name(unfit)}: {_UNFIT}, so the judge abstains.")
    return tuple(notes)


_UNSEEN = "no hand is seen there in the picture"
_UNFIT = "no mesh of a hand fits depth_in there"


def _name(numbers: Sequence[int]) -> str:
    return f"Hand{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
