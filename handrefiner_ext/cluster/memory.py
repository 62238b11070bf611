"""What workers that find hands hand over to workers that paint them.

Detections and meshes travel, a hundred kilobytes for a picture, not its pixels: the painter reads
the file again and renders depth and mask itself. It runs the same pipeline as everywhere else,
with a detector and a reconstructor that remember their answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from handrefiner_ext.detect.flow import DetectorWrapper
from handrefiner_ext.hands.choosing import choose_hands
from handrefiner_ext.hands.meshing import Meshes, find_meshes
from handrefiner_ext.hands.readings import Backends
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import BatchReconstructor
from handrefiner_ext.stages import Stages
from handrefiner_ext.types import Detection, Hand, HandMesh, Image, Refusal


@dataclass(frozen=True)
class Handover:
    """All hands of one picture, those that were chosen, and their meshes or why there are none.

    boxes: the parameter `boxes` with which the picture was searched.
    """

    detection: Detection
    boxes: str
    hands: tuple[Hand, ...]
    meshes: Meshes


def find_hands(images: Sequence[Image], params: RefineParams, stages: Stages) -> list[Handover]:
    """Detect and reconstruct the hands of pictures, of all at once where the backend can."""
    detections = [stages.detector.detect(image, params) for image in images]
    chosen = [
        choose_hands(detection, params.hands, image.shape[0]).hands
        for detection, image in zip(detections, images, strict=True)
    ]
    given = _ask_for_all(images, chosen, params, stages)
    return [
        Handover(
            detection, params.boxes, hands, find_meshes(image, hands, stages.backends, params, some)
        )
        for image, detection, hands, some in zip(images, detections, chosen, given, strict=True)
    ]


def _ask_for_all(
    images: Sequence[Image],
    chosen: Sequence[tuple[Hand, ...]],
    params: RefineParams,
    stages: Stages,
) -> list[list[HandMesh | Refusal] | None]:
    """Return the meshes of each picture from a batch reconstructor, else None for each picture."""
    if not isinstance(stages.reconstructor, BatchReconstructor):
        return [None] * len(images)
    pairs = [(image, hand) for image, some in zip(images, chosen, strict=True) for hand in some]
    answers = iter(stages.reconstructor.reconstruct_all(pairs, params) if pairs else ())
    return [[next(answers) for _ in some] for some in chosen]


def recall(handover: Handover, stages: Stages) -> Stages:
    """Return stages that take one picture's hands from memory; they still judge for themselves."""
    detector = RecallingDetector(stages.detector, stages.detector.name, handover)
    return replace(stages, detector=detector, mesher=RecallingMesher(handover))


@dataclass
class RecallingDetector(DetectorWrapper):
    """Remembers a picture's detection; anything else it looks up in the picture."""

    handover: Handover

    def detect(self, image: Image, params: RefineParams) -> Detection:
        if params.boxes != self.handover.boxes:
            return super().detect(image, params)
        return self.handover.detection


@dataclass(frozen=True)
class RecallingMesher:
    """Remembers the meshes of a picture's hands; a hand that a drawn mask adds is fitted here."""

    handover: Handover

    def __call__(
        self, image: Image, hands: tuple[Hand, ...], backends: Backends, params: RefineParams
    ) -> Meshes:
        then = {hand.landmarks.tobytes(): hand.number for hand in self.handover.hands}
        known = {mesh.hand.number: mesh for mesh in self.handover.meshes.found}
        refused = {refusal.number: refusal for refusal in self.handover.meshes.refused}
        new = tuple(hand for hand in hands if hand.landmarks.tobytes() not in then)
        added = find_meshes(image, new, backends, params)
        meshes, refusals = list(added.found), list(added.refused)
        for hand in hands:
            number = then.get(hand.landmarks.tobytes())
            if number in known:
                mesh = known[number]
                meshes.append(replace(mesh, hand=replace(mesh.hand, number=hand.number)))
            elif number in refused:
                refusals.append(replace(refused[number], number=hand.number))
        return Meshes(
            tuple(sorted(meshes, key=lambda mesh: mesh.hand.number)),
            tuple(sorted(refusals, key=lambda refusal: refusal.number)),
            (*self.handover.meshes.notes, *added.notes),
        )
