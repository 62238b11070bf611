"""Results -> JSON."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from handrefiner_ext.hint_files import describe_hands
from handrefiner_ext.numbering import number_of
from handrefiner_ext.overlay import draw_overlay
from handrefiner_ext.pictures import Picture, encode_picture, encode_png
from handrefiner_ext.types import Agreement, Decision, Hints, Image, Quality, RefineResult


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


def describe_decision(decision: Decision, hints: Hints) -> dict[str, Any]:
    """What became of one hand."""
    after = decision.after or Agreement(None, None)
    return {
        "number": number_of(decision.number, hints),
        "refined": decision.refined,
        "reason": decision.reason,
        "distance_before": decision.before.mpjpe,
        "distance_after": after.mpjpe,
        "distance_px_before": decision.before.mpjpe_px,
        "distance_px_after": after.mpjpe_px,
        "pck_before": decision.before.pck,
        "pck_after": after.pck,
        "strength": decision.strength,
        "candidate": None if decision.candidate is None else decision.candidate + 1,
        "quality_before": _describe_quality(decision.quality_before),
        "quality_after": _describe_quality(decision.quality_after),
    }


def _describe_quality(quality: Quality | None) -> dict[str, Any] | None:
    """The score, and the parts that it was made from by name."""
    if quality is None:
        return None
    parts = {name: round(value, 4) for name, value in quality.parts.items()}
    return {"score": round(quality.score, 4), "parts": parts}


def to_text(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode("ascii")
