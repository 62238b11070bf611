"""A hand that the project has no part in: any skinned right hand with WebXR's 25 joint names.

For example the generic hand of the npm package `@webxr-input-profiles/assets` (MIT):
`npm pack @webxr-input-profiles/assets`, then dist/profiles/generic-hand/right.glb. Scoring with the
mesh that made the pictures proves little; this one has other proportions, joints and skin.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.plain import HandModel
from handrefiner_ext.mesh.open_hand.model import OpenHand, hinge_axes, rest_frame
from handrefiner_ext.types import FloatArray

TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
LONG_FINGERS = ("index-finger", "middle-finger", "ring-finger", "pinky-finger")
SEGMENTS = ("phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")
JOINT_NAMES = (
    "wrist",
    *(f"thumb-{part}" for part in ("metacarpal", SEGMENTS[0], SEGMENTS[2], SEGMENTS[3])),
    *(f"{finger}-{part}" for finger in LONG_FINGERS for part in SEGMENTS),
)
HAND_LENGTH_M = 0.185


@dataclass(frozen=True)
class Glb:
    """A binary glTF file: its JSON and its buffer."""

    tree: dict[str, Any]
    buffer: bytes

    @classmethod
    def read(cls, path: str) -> Glb:
        data = Path(path).read_bytes()
        (length,) = struct.unpack_from("<I", data, 12)
        return cls(json.loads(data[20 : 20 + length]), data[28 + length :])

    def array(self, number: int) -> NDArray[Any]:
        """(count, components) of an accessor."""
        accessor = self.tree["accessors"][number]
        view = self.tree["bufferViews"][accessor["bufferView"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        kind, width = np.dtype(TYPES[accessor["componentType"]]), COMPONENTS[accessor["type"]]
        stride = view.get("byteStride", 0) or width * kind.itemsize
        rows = [
            np.frombuffer(self.buffer, kind, width, start + row * stride)
            for row in range(accessor["count"])
        ]
        return np.stack(rows)


def load_foreign_hand(path: str) -> HandModel:
    """The hand in the frame and with the bones of the open hand; it has one shape only."""
    glb = Glb.read(path)
    primitive = glb.tree["meshes"][0]["primitives"][0]
    arrays = {name: glb.array(number) for name, number in primitive["attributes"].items()}
    places = {node.get("name"): node.get("translation", [0, 0, 0]) for node in glb.tree["nodes"]}
    joints = np.array([places[name] for name in JOINT_NAMES])
    skin = [glb.tree["nodes"][n]["name"] for n in glb.tree["skins"][0]["joints"]]
    weights = _bone_weights(skin, arrays["JOINTS_0"], arrays["WEIGHTS_0"])
    axes = rest_frame(joints)
    scale = HAND_LENGTH_M / float(
        np.linalg.norm(np.diff(joints[[0, 9, 10, 11, 12]], axis=0), axis=1).sum()
    )
    vertices = (arrays["POSITION"] - joints[0]) @ axes.T * scale
    joints = (joints - joints[0]) @ axes.T * scale
    kept, number = _weld(vertices)
    faces = number[glb.array(primitive["indices"]).reshape(-1, 3)]
    names = ("finger_length", "thumb_length", "finger_thickness", "finger_spread", "palm_width")
    model = OpenHand(
        vertices=vertices[kept],
        faces=faces.astype(np.int32),
        joints=joints,
        weights=weights[kept],
        axes=hinge_axes(joints, _flexion_axes(joints)),
        shape_names=names,
        shape_vertices=np.zeros((len(names), len(kept), 3)),
        shape_joints=np.zeros((len(names), len(joints), 3)),
        landmark_offsets=np.zeros_like(joints),
    )
    return HandModel(model, has_cap=False)


def _bone_weights(skin: list[str], bones: NDArray[Any], weights: NDArray[np.float32]) -> FloatArray:
    """(n, 16): palm, then three bones for each finger; a tip goes with the bone before it."""
    columns = []
    for name in skin:
        number = JOINT_NAMES.index(name) if name in JOINT_NAMES else 0
        finger, place = divmod(number - 1, 4)
        columns.append(0 if number == 0 else 1 + 3 * finger + min(place, 2))
    total = np.zeros((len(weights), 16))
    for slot in range(weights.shape[1]):
        np.add.at(
            total, (np.arange(len(weights)), np.array(columns)[bones[:, slot]]), weights[:, slot]
        )
    return total / total.sum(axis=1, keepdims=True)


def _flexion_axes(joints: FloatArray) -> FloatArray:
    """(5, 3) hinges: the thumb's from its bend, the long fingers' across the palm, fanned out."""
    bones = np.diff(joints[1:5], axis=0)
    thumb = np.cross(bones[0], bones[1]) + np.cross(bones[1], bones[2])
    across = [[-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [-1.0, -0.15, 0.0], [-1.0, -0.3, 0.0]]
    return np.concatenate([[thumb / np.linalg.norm(thumb)], across])


def _weld(vertices: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of the vertices to keep, and the new number of each old one: seams are closed."""
    rounded = np.round(vertices * 1e6).astype(np.int64)
    _, kept, number = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    return kept, number.ravel()
