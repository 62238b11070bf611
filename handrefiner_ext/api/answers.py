"""Results -> JSON."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from handrefiner_ext.pictures import Picture, encode_picture, encode_png
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.report import describe_decision, describe_hands
from handrefiner_ext.types import Hints, Image, RefineResult


def describe_hints(image: Image, hints: Hints) -> dict[str, Any]:
    """What was found, and depth, mask and overlay."""
    mask = np.where(hints.maps.mask, 255, 0).astype(np.uint8)
    return {
        **_describe_found(image, hints),
        "notes": list(hints.notes),
        "depth": to_text(encode_png(hints.maps.control)),
        "mask": to_text(encode_png(mask)),
        "overlay": to_text(encode_png(draw_overlay(image, hints))),
    }


def describe_result(picture: Picture, result: RefineResult) -> dict[str, Any]:
    """What was found, the picture, and what was decided."""
    return {
        **_describe_found(picture.image, result.hints),
        "image": to_text(encode_picture(picture, result.image)),
        "decisions": [describe_decision(decision, result.hints) for decision in result.decisions],
        "notes": [*picture.notes, *result.hints.notes, *result.notes],
        "candidates": [to_text(encode_png(candidate)) for candidate in result.candidates],
    }


def _describe_found(image: Image, hints: Hints) -> dict[str, Any]:
    found = describe_hands(image, hints)
    for said, mesh in zip(found["hands"], hints.meshes, strict=True):
        said["handedness_score"] = round(float(mesh.hand.handedness_score), 6)
    return found


def to_text(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode("ascii")
