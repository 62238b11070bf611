"""Routes of the hand editor. FastAPI reads their annotations at run time."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import Response

from handrefiner_ext.api.body import (
    Problem,
    Request,
    check_names,
    decode_picture,
    read_json,
    read_parameters,
    to_text,
)
from handrefiner_ext.api.bounds import Gate
from handrefiner_ext.api.worker import Worker
from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.hands.editing import Size, describe_edited, edit
from handrefiner_ext.hands.gestures import load_gestures
from handrefiner_ext.hands.posed import find_pose, parse_pose
from handrefiner_ext.hands.records import read_hand
from handrefiner_ext.mesh.open_hand.model import load_open_hand
from handrefiner_ext.mesh.open_hand.posing import ANGLE_NAMES
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import draw_mask, encode_map, take_picture
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.report import list_panel_lines
from handrefiner_ext.topology import BONES, JOINT_NAMES
from handrefiner_ext.types import Given, Hints

VERSION = 1
FINGER_BONES = 3
MAX_STEP_BYTES = 1 << 20
MOST_SIDE_PX = 16384
"""Of a picture whose size alone is told."""
PREVIEW_PX = 4096
STEP, MAPS, FIND = (
    ("width", "height", "hand", "do", "number", "packed"),
    ("image", "width", "height", "pose", "params", "preview"),
    ("image", "params", "packed"),
)


class EditorRoutes:
    """The endpoints. A step needs no picture and no turn; the others wait as /hints does."""

    def __init__(self, worker: Worker, gate: Gate, most_pixels: Callable[[], int]) -> None:
        self.worker, self.gate, self.most_pixels = worker, gate, most_pixels

    def about(self) -> Response:
        """Return what a page needs once: faces and names."""
        model = load_open_hand()
        said = {
            "version": VERSION,
            "faces": model.faces.tolist(),
            "face_fingers": _list_fingers(),
            "joint_names": list(JOINT_NAMES),
            "bones": [list(bone) for bone in BONES],
            "angle_names": list(ANGLE_NAMES),
            "gestures": list(load_gestures()),
        }
        return answer(said)

    def find(self, body: bytes) -> Response:
        """Return the hands of a picture, or those of the pose among the parameters."""
        return self.gate.run(lambda: self._find(body))

    def _find(self, body: bytes) -> Response:
        values = read_members(body, FIND)
        packed = read_packed(values)
        request = self._read_picture(values, read_params(values.get("params")))
        height, width = size = request.picture.image.shape[:2]
        hints = self.worker.hints(request)
        try:
            edited = [edit(find_pose(mesh), {}, size) for mesh in hints.meshes]
        except InvalidParameter as error:
            if not request.params.pose:
                raise
            reason = f"pose, in a picture of {width} x {height} pixels: {error}"
            raise InvalidParameter(reason) from error
        hands = [
            describe_edited(made, size, mesh.hand.number, packed)
            for made, mesh in zip(edited, hints.meshes, strict=True)
        ]
        said = {"width": width, "height": height, "hands": hands, "notes": list_panel_lines(hints)}
        return answer(said)

    def step(self, body: bytes) -> Response:
        """Return a hand after one edit."""
        if len(body) > MAX_STEP_BYTES:
            raise Problem(413, f"The body is longer than {MAX_STEP_BYTES >> 20} MB.")
        values = read_members(body, STEP)
        size = read_size(values)
        said = values.get("hand")
        pose = None if said is None else read_hand(said, "hand")
        number = values.get("number", 0)
        if not isinstance(number, int) or not 0 <= number <= 10**6:
            raise InvalidParameter(f"number = {show(number)} is not possible; it must be a count.")
        packed = read_packed(values)
        edited = edit(pose, values.get("do", {}), size)
        # The WebUI would compress it as far as it can, in half the time of an edit.
        as_it_is = {"Content-Encoding": "identity"} if packed else {}
        return answer(describe_edited(edited, size, int(number), packed), as_it_is)

    def maps(self, body: bytes) -> Response:
        """Return depth and mask of a pose, and the picture with its hands if one is sent."""
        return self.gate.run(lambda: self._maps(body))

    def _maps(self, body: bytes) -> Response:
        values = read_members(body, MAPS)
        pose = values.get("pose")
        params = read_params(values.get("params"))
        said = pose if isinstance(pose, str) else json.dumps(pose)
        parse_pose(said)
        params = replace(params, pose=said)
        if values.get("image") is not None:
            request = self._read_picture(values, params)
        else:
            request = _empty_picture(values, params)
        hints = self.worker.hints(request)
        return answer(_describe_maps(request, hints, values.get("image") is not None))

    def _read_picture(self, values: Mapping[str, Any], params: RefineParams) -> Request:
        if values.get("image") is None:
            raise Problem(422, "image is missing; send the picture itself as base64.")
        picture = decode_picture(values["image"], "image", self.most_pixels())
        return Request(picture, params, Given(), frozenset())


def _list_fingers() -> list[int]:
    """Return for each face 0 for palm and wrist, 1 to 5 for thumb to little finger."""
    model = load_open_hand()
    weights = model.weights[model.faces].sum(axis=1)
    return [-(-int(bone) // FINGER_BONES) for bone in weights.argmax(axis=1)]


def _describe_maps(request: Request, hints: Hints, draws: bool) -> dict[str, Any]:
    said = {
        "depth": to_text(encode_map(hints.maps.control)),
        "mask": to_text(encode_map(draw_mask(hints.maps.mask))),
        "notes": list(hints.notes),
    }
    if draws:
        said["overlay"] = to_text(encode_map(draw_overlay(request.picture.image, hints)))
    return said


def _empty_picture(values: Mapping[str, Any], params: RefineParams) -> Request:
    """Return a black picture of the size that is told, scaled down to `preview` pixels."""
    height, width = read_size(values)
    preview = values.get("preview", PREVIEW_PX)
    if not isinstance(preview, int) or not 16 <= preview <= PREVIEW_PX:
        raise InvalidParameter(
            f"preview = {show(preview)} is not possible; it must be 16 to {PREVIEW_PX} pixels."
        )
    shrink = min(1.0, preview / max(height, width))
    shape = (max(1, round(height * shrink)), max(1, round(width * shrink)), 3)
    padding = round(params.padding_bbox * shrink)
    picture = take_picture(np.zeros(shape, dtype=np.uint8))
    return Request(picture, replace(params, padding_bbox=padding), Given(), frozenset())


def read_members(body: bytes, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the members of a JSON object; Problem where one is not among `names`."""
    values = read_json(body)
    for name in values:
        if name not in names:
            raise Problem(422, f"{show(name)} is not known here; it must be one of {names}.")
    return values


def read_size(values: Mapping[str, Any]) -> Size:
    """Return (height, width)."""
    for name in ("width", "height"):
        value: Any = values.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not 1 <= value <= MOST_SIDE_PX:
            raise InvalidParameter(
                f"{name} = {show(value)} is not possible; it must be the picture's, 1 to "
                f"{MOST_SIDE_PX} pixels."
            )
    return values["height"], values["width"]


def read_params(said: Any) -> RefineParams:
    """Return the parameters that a page sent along; those that need a drawing are left out."""
    if said is None:
        return RefineParams()
    if not isinstance(said, dict):
        raise InvalidParameter("params must be an object with HandRefiner's parameters.")
    params = read_parameters(check_names(said, tuple(RefineParams.__dataclass_fields__)))
    return replace(params, mask="box") if params.uses_drawing else params


def read_packed(values: Mapping[str, Any]) -> bool:
    """Return whether vertices are wanted as base64."""
    packed = values.get("packed", False)
    if not isinstance(packed, bool):
        raise InvalidParameter(
            f"packed = {show(packed)} is not possible; it must be true or false."
        )
    return packed


def answer(said: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    # FastAPI's own encoder takes longer for 5,000 numbers than everything else.
    text = json.dumps(said, separators=(",", ":"))
    return Response(text, media_type="application/json", headers=dict(headers or {}))
