"""What became of every hand: its number, its record, and the sentences that say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handrefiner_ext.types import (
    Agreement,
    Decision,
    FloatArray,
    HandMesh,
    Hints,
    Image,
    Quality,
    Refusal,
)


def number_meshes(meshes: Sequence[HandMesh]) -> tuple[int, ...]:
    """Their numbers as users count hands; by their places where the hands were not counted."""
    return tuple(mesh.hand.number or place for place, mesh in enumerate(meshes, start=1))


def number_of(mesh: int, hints: Hints) -> int:
    """The user's number of a mesh, from its place among the meshes."""
    return number_meshes(hints.meshes)[mesh]


def describe_hands(image: Image, hints: Hints) -> dict[str, Any]:
    """The picture's size, its hands, and those that are left alone with the reason."""
    height, width = image.shape[:2]
    return {
        "width": width,
        "height": height,
        "hands": [
            _describe_hand(mesh, number)
            for mesh, number in zip(hints.meshes, number_meshes(hints.meshes), strict=True)
        ],
        "skipped": [_describe_refusal(r) for r in (*hints.detection.refused, *hints.refused)],
    }


def _describe_hand(mesh: HandMesh, number: int) -> dict[str, Any]:
    return {
        "number": number,
        "handedness": mesh.handedness,
        "assumed": mesh.hand.assumed,
        "score": round(float(mesh.hand.score), 6),
        "box": [int(v) for v in mesh.hand.box],
        "landmarks": _points(mesh.hand.landmarks),
        "joints_2d": _points(mesh.joints_2d),
        "reprojection_error": round(float(mesh.reprojection_error), 6),
        "mesh": mesh.backend,
    }


def _describe_refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "number": refusal.number or None,
        "box": [int(v) for v in refusal.box],
        "reason": refusal.reason,
    }


def _points(points: FloatArray) -> list[list[float]]:
    return [[round(float(x), 3), round(float(y), 3)] for x, y in points]


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
