"""The files that say what was found: depth, mask, overlay, JSON, meshes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.naming import plain_name
from handrefiner_ext.numbering import number_meshes
from handrefiner_ext.overlay import draw_overlay
from handrefiner_ext.pictures import encode_png, write_atomically
from handrefiner_ext.pictures.png_chunks import Chunk
from handrefiner_ext.types import (
    FloatArray,
    HandMesh,
    Hints,
    Image,
    Mask,
    Refusal,
)

TO_GLTF = np.array([1.0, -1.0, -1.0])
"""Camera space (x right, y down, z away) -> glTF (x right, y up, z to the viewer): half a turn."""


def write_depth(path: Path, control: NDArray[np.uint8], mark: Chunk) -> None:
    """(H, W) control image."""
    write_atomically(path, encode_png(control, (mark,)))


def write_mask(path: Path, mask: Mask, mark: Chunk) -> None:
    """255 wherever a pixel may change."""
    write_atomically(path, encode_png(np.where(mask, 255, 0).astype(np.uint8), (mark,)))


def write_overlay(path: Path, image: Image, hints: Hints, mark: Chunk) -> None:
    write_atomically(path, encode_png(draw_overlay(image, hints), (mark,)))


def write_hands(path: Path, source: Path, image: Image, hints: Hints) -> None:
    """The hands as JSON; lengths in pixels, boxes half-open, pixel centres at halves."""
    said = describe(source, image, hints)
    text = json.dumps(said, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, text.encode("utf-8"))


def describe(source: Path, image: Image, hints: Hints) -> dict[str, Any]:
    """What `name_hands.json` says."""
    return {"image": plain_name(source), **describe_hands(image, hints)}


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


def write_mesh(path: Path, mesh: HandMesh) -> None:
    """One hand as binary glTF, metres, its wrist at the origin."""
    import trimesh

    hand: Any = trimesh.Trimesh(mesh.vertices * TO_GLTF, mesh.faces, process=False)
    data: bytes = hand.export(file_type="glb")
    write_atomically(path, data)


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
