"""Bodies of requests, read into pictures and parameters, and of answers, written from results.

What is wrong with a request is raised as a `Problem`.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from handrefiner_ext.api.arguments import DRAWN_MASK, check_names, read_parameters
from handrefiner_ext.errors import HandRefinerError, InvalidParameter, PictureError
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import Picture, encode_picture, encode_png, read_picture, to_mask
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.report import describe_decision, describe_found
from handrefiner_ext.types import Hints, Image, Mask, RefineResult

IMAGE = "image"
MAX_BODY_BYTES = 128 << 20
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""First bytes of a PNG and of a JPEG file."""
ADDRESSES = ("http:", "https:", "ftp:", "file:", "//", "\\\\")
INSTEAD = "send the picture itself, PNG or JPEG, as base64"
PARAMETERS = tuple(f.name for f in fields(RefineParams))


class Problem(HandRefinerError):
    """A request that cannot be answered: HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Request:
    """named: the parameters that the body names."""

    picture: Picture
    params: RefineParams
    drawn_mask: Mask | None
    named: frozenset[str]


def read_request(body: bytes) -> Request:
    """The JSON body of /hints and /refine."""
    values = _read_json(body)
    if values.get(IMAGE) is None:
        raise Problem(422, f"image is missing; {INSTEAD}.")
    picture = decode_picture(values[IMAGE], IMAGE)
    height, width = picture.image.shape[:2]
    drawn = values.get(DRAWN_MASK)
    try:
        check_names(values, (IMAGE, *PARAMETERS, DRAWN_MASK))
        params = read_parameters({name: values[name] for name in PARAMETERS if name in values})
        mask = None if drawn is None else to_mask(decode_picture(drawn, DRAWN_MASK), height, width)
    except (InvalidParameter, PictureError) as error:
        raise Problem(422, str(error)) from error
    return Request(picture, params, mask, frozenset(values) & frozenset(PARAMETERS))


def decode_picture(text: object, name: str) -> Picture:
    """base64, with or without `data:image/...;base64,` in front, of a PNG or JPEG file."""
    if not isinstance(text, str):
        raise Problem(422, f"{name} is not text; {INSTEAD}.")
    if text.lstrip()[:8].lower().startswith(ADDRESSES):
        raise Problem(422, f"{name} is an address, and addresses are not opened; {INSTEAD}.")
    head, comma, tail = text.partition(",")
    if text.startswith("data:") and comma and head.endswith(";base64"):
        text = tail
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data.startswith(SIGNATURES):
        raise Problem(
            422,
            f"{name} is neither a PNG nor a JPEG file in base64, and file paths are not opened; "
            f"{INSTEAD}.",
        )
    try:
        return read_picture(data, Path(name))
    except PictureError as error:
        raise Problem(422, str(error)) from error


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(422, f"The body is not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise Problem(422, 'The body must be a JSON object, such as {"image": "…"}.')
    return values


def answer_hints(image: Image, hints: Hints) -> dict[str, Any]:
    """Return the answer to /hints. image: (H, W, 3), the picture asked about."""
    mask = np.where(hints.maps.mask, 255, 0).astype(np.uint8)
    return {
        **describe_found(image, hints),
        "notes": list(hints.notes),
        "depth": to_text(encode_png(hints.maps.control)),
        "mask": to_text(encode_png(mask)),
        "overlay": to_text(encode_png(draw_overlay(image, hints))),
    }


def answer_refine(picture: Picture, result: RefineResult) -> dict[str, Any]:
    """Return the answer to /refine."""
    return {
        **describe_found(picture.image, result.hints),
        "image": to_text(encode_picture(picture, result.image)),
        "decisions": [describe_decision(decision, result.hints) for decision in result.decisions],
        "notes": [*picture.notes, *result.hints.notes, *result.notes],
        "candidates": [to_text(encode_png(candidate)) for candidate in result.candidates],
    }


def to_text(data: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(data).decode("ascii")
