"""Take one picture through all stages: detect, reconstruct, render, paint, judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.detect.flow import CachingDetector, find_others_in_box, parse_boxes
from handrefiner_ext.detect.people import list_heads
from handrefiner_ext.errors import InvalidParameter, PictureError, show
from handrefiner_ext.hands.choosing import choose_hands, parse_hands
from handrefiner_ext.hands.gestures import give_gestures, parse_gestures
from handrefiner_ext.hands.mapped import (
    EMPTY_DEPTH,
    MappedHands,
    Sight,
    describe_origin,
    find_mapped_hands,
)
from handrefiner_ext.hands.meshing import Meshes
from handrefiner_ext.hands.painted import add_painted_hands, keep_touched
from handrefiner_ext.hands.posed import find_pose, parse_pose, take_meshes
from handrefiner_ext.judge.agreement import NOT_FOUND
from handrefiner_ext.params import DRAWN, RefineParams
from handrefiner_ext.render.maps import build_maps, check_order, parse_order
from handrefiner_ext.render.masks import spare
from handrefiner_ext.repaint.policies import carry_out
from handrefiner_ext.repaint.task import Task
from handrefiner_ext.report import EMPTY_POSE, number_meshes
from handrefiner_ext.stages import Stages
from handrefiner_ext.types import (
    Agreement,
    Box,
    ControlMaps,
    Detection,
    Hand,
    HandMesh,
    HandPose,
    Hints,
    Image,
    Mask,
    Quality,
    RefineResult,
)

EMPTY_MASK = "The drawn mask is empty, so nothing may change."
NO_GESTURE = "No hand takes on a gesture: gesture = {} means none of those that are repainted."


def check_values(params: RefineParams) -> None:
    """Raise InvalidParameter for values that fit no picture, before any is opened.

    Those are lists that cannot be parsed, and values that are valid alone but not together.
    """
    if params.guidance_start > params.guidance_end:
        raise InvalidParameter(
            f"guidance_start = {params.guidance_start:g} lies after guidance_end = "
            f"{params.guidance_end:g}; it must not be greater."
        )
    parse_hands(params.hands)
    parse_order(params.occlusion_order)
    if params.boxes:
        parse_boxes(params.boxes)
    if params.pose:
        parse_pose(params.pose)
    parse_gestures(params.gesture)


def hints(
    image: Image,
    params: RefineParams,
    stages: Stages,
    drawn_mask: Mask | None = None,
    depth_in: NDArray[np.uint8] | None = None,
) -> Hints:
    """Return everything known before painting: hands, meshes, depth and mask.

    Arguments:
        image: (H, W, 3) uint8 RGB.
        stages: the backends, from `stages.build_stages`.
        drawn_mask: (H, W) bool, the mask drawn by hand; used if `params.uses_drawing`.
        depth_in: (H, W) uint8, a depth map of the user's own instead of a search: near is bright, 0
            where there is no hand. It becomes the control image as it is.
    """
    _check_picture(image, drawn_mask)
    _check_depth(image, params, depth_in)
    given: tuple[HandMesh, ...] | None = None
    others: tuple[Hand, ...] = ()
    if depth_in is not None:
        mapped = _map_hands(image, params, stages, depth_in)
        everything, given, others = mapped.detection, mapped.meshes, mapped.others
    elif params.pose:
        everything, given = parse_pose(params.pose).build(*image.shape[:2])
    else:
        everything = stages.detector.detect(image, params)
        if drawn_mask is not None and params.uses_drawing:
            everything = add_painted_hands(image, everything, drawn_mask, stages.detector, params)
    check_order(params.occlusion_order, len(everything.hands))
    detection = choose_hands(everything, params.hands, image.shape[0])
    said: tuple[str, ...] = ()
    if drawn_mask is not None and params.mask == DRAWN:
        detection = keep_touched(detection, drawn_mask, params)
        said = () if drawn_mask.any() else (EMPTY_MASK,)
    if given is not None:
        meshes = take_meshes(given, detection.hands)
        said = said if given or depth_in is not None else (*said, EMPTY_POSE)
    else:
        meshes = stages.mesher(image, detection.hands, stages.backends, params)
    size = (image.shape[0], image.shape[1])
    if params.gesture:
        posed = give_gestures(meshes.found, parse_gestures(params.gesture), size)
        meshes = replace(meshes, found=posed)
        if posed and not any(mesh.gesture for mesh in posed):
            said = (*said, NO_GESTURE.format(show(params.gesture)))
    maps = build_maps(
        meshes.found, size, stages.renderer, params, drawn_mask=drawn_mask, image=image
    )
    if depth_in is not None:
        origin = describe_origin(meshes.found) if depth_in.any() else (EMPTY_DEPTH,)
        meshes = replace(meshes, notes=origin)
    meshes = replace(meshes, notes=(*said, *meshes.notes))
    notes = meshes.notes
    if params.guards:
        left = [hand.box for hand in others]
        maps, notes = _spare(maps, meshes, everything, detection, left)
    return Hints(detection, meshes.found, meshes.refused, maps, notes)


NO_HAND = "No hand was found in this picture; take one in which it is larger and seen whole."


def read_fingers(image: Image, params: RefineParams, stages: Stages) -> HandPose:
    """Return the pose of a picture's hand, whose fingers can be given to others as a gesture.

    `params.hands` says which hand; of several, the largest. PictureError where none is found.
    """
    plain = replace(params, pose="", gesture="", mask="box")
    meshes = hints(image, plain, stages).meshes
    if not meshes:
        raise PictureError(NO_HAND)
    return find_pose(max(meshes, key=lambda mesh: mesh.size_px))


def _map_hands(
    image: Image, params: RefineParams, stages: Stages, depth_in: NDArray[np.uint8]
) -> MappedHands:
    sight = Sight(stages.backends, stages.mesher, stages.renderer, params)
    return find_mapped_hands(image, depth_in, sight)


def _spare(
    maps: ControlMaps,
    meshes: Meshes,
    everything: Detection,
    chosen: Detection,
    others: Sequence[Box],
) -> tuple[ControlMaps, tuple[str, ...]]:
    """Keep heads and the hands that are not repainted out of the masks, and say so.

    others: boxes of hands that are not among those of `everything`.
    """
    kept = {hand.number for hand in chosen.hands}
    left_out = [hand.box for n, hand in enumerate(everything.hands, start=1) if n not in kept]
    refused = [refusal.box for refusal in meshes.refused]
    smallest = min((mesh.size_px for mesh in meshes.found), default=0.0)
    heads = list_heads(everything.faces, smallest)
    notes = meshes.notes
    for what, places in (("a face", heads), ("another hand", (*left_out, *refused, *others))):
        maps, changed = spare(maps, meshes.found, places)
        numbers = number_meshes(meshes.found)
        said = [f"The mask leaves out {what} beside hand {numbers[n]}." for n in changed]
        notes = (*notes, *said)
    return maps, notes


def refine(
    image: Image,
    params: RefineParams,
    stages: Stages,
    drawn_mask: Mask | None = None,
    depth_in: NDArray[np.uint8] | None = None,
) -> RefineResult:
    """Return `image` with its hands repainted, and a decision with a reason for every hand.

    Arguments as for `hints`. The result's image is the object `image` itself if nothing changed;
    pixels outside the mask are always those of `image`.
    """
    return repaint(image, hints(image, params, stages, drawn_mask, depth_in), params, stages)


def repaint(
    image: Image, seen: Hints, params: RefineParams, stages: Stages, evaluates: bool = False
) -> RefineResult:
    """Repaint the hands of `seen`, which can be reused for any number of paintings.

    Arguments:
        image: (H, W, 3) uint8 RGB, the picture that `seen` was found in.
        evaluates: measure the hands' quality even if nothing is decided by it.
    """
    if not seen.meshes:
        return RefineResult(image, seen)
    places = tuple(mesh.hand for mesh in seen.meshes)
    stages = replace(stages, detector=CachingDetector(stages.detector, stages.detector.name))
    task = Task(
        image,
        seen,
        params,
        stages.inpainter,
        measure=partial(_measure, stages, image, seen.meshes, params),
        rate=lambda picture: stages.meter.measure(stages.detector, picture, places, params),
        rate_afresh=partial(_rate_afresh, stages, seen, params),
        evaluates=evaluates,
    )
    outcome = carry_out(task)
    return RefineResult(
        outcome.image,
        seen,
        outcome.decisions,
        outcome.notes,
        outcome.candidates,
        outcome.control_model,
        outcome.tried,
    )


def _measure(
    stages: Stages,
    original: Image,
    meshes: tuple[HandMesh, ...],
    params: RefineParams,
    picture: Image,
) -> tuple[Agreement, ...]:
    """Return how each mesh agrees with `picture`."""
    measured = stages.judge(stages.detector, picture, meshes, params)
    if picture is not original:
        return measured
    # An assumed hand was not seen in the original, even if something lies near its mesh there.
    return tuple(
        NOT_FOUND if mesh.hand.assumed else agreement
        for mesh, agreement in zip(meshes, measured, strict=True)
    )


def _rate_afresh(
    stages: Stages, seen: Hints, params: RefineParams, picture: Image, number: int
) -> Quality | None:
    """Return the quality of the hand found in the mask of a mesh; None if there is none.

    A malformed hand is often read as half a hand, or turned the wrong way. The hand painted in its
    place is then too far from that reading to be found near it.
    """
    box, _ = seen.maps.hand_masks[number]
    others = [mesh.hand for n, mesh in enumerate(seen.meshes) if n != number]
    own = find_others_in_box(stages.detector, picture, box, others, params)
    if not own:
        return None
    (quality,) = stages.meter.measure(stages.detector, picture, (own[0],), params)
    return quality


def _check_picture(image: Image, drawn_mask: Mask | None) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise PictureError(
            f"A picture must be an array (height, width, 3) of uint8; this one is {image.shape} "
            f"of {image.dtype}."
        )
    if 0 in image.shape:
        raise PictureError(f"A picture needs pixels; this one is {image.shape}.")
    if drawn_mask is not None and drawn_mask.shape != image.shape[:2]:
        raise PictureError(
            f"The drawn mask has {_size(drawn_mask)} pixels but the picture has {_size(image)}; "
            "draw the mask at the picture's size."
        )


def _check_depth(image: Image, params: RefineParams, depth_in: NDArray[np.uint8] | None) -> None:
    if depth_in is None:
        return
    for name in ("pose", "gesture"):
        if getattr(params, name):
            raise InvalidParameter(f"{name} and depth_in exclude each other; give one of them.")
    if depth_in.shape != image.shape[:2] or depth_in.dtype != np.uint8:
        raise PictureError(
            f"The depth map is {depth_in.shape} of {depth_in.dtype}; it must be "
            f"{image.shape[:2]} of uint8, like the picture."
        )


def _size(array: Image | Mask) -> str:
    return " × ".join(str(n) for n in reversed(array.shape[:2]))
