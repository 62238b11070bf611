"""The open hand: a right hand with joint angles and shape numbers, posed by linear blend skinning.

In the frame of the rest pose the origin is the wrist joint, the fingers point up (-y), the back of
the hand faces the viewer (-z), and the thumb is on the left (-x); metres. A hand is 185 mm from
wrist to middle fingertip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.transforms import cross_matrix
from handrefiner_ext.topology import INDEX_MCP, LITTLE_MCP, MIDDLE_MCP, WRIST
from handrefiner_ext.types import Faces, FloatArray

FINGER_COUNT, LEVEL_COUNT, AXIS_COUNT = 5, 3, 3
ANGLES_SHAPE = (FINGER_COUNT, LEVEL_COUNT, AXIS_COUNT)
"""Joint angles, radians: finger x (MCP, PIP, DIP; thumb: CMC, MCP, IP) x (flexion, abduction,
twist), zero in the rest pose. Flexion bends to the palm, abduction turns to the thumb's side."""

FLEXION, ABDUCTION, TWIST = range(AXIS_COUNT)
ALL_VERTICES = slice(None)

LANDMARK_OFFSETS = 1e-3 * np.array(
    [
        [2.5, -14.8, 1.8],
        *([-5.8, 2.8, 12.8], [-3.3, -8.1, 2.5], [4.8, -0.9, -0.3], [3.1, 3.7, -3.0]),
        *([3.3, 7.7, 4.2], [1.1, 0.4, 5.7], [-0.3, -0.3, 2.9], [0.2, 6.2, -4.8]),
        *([-0.8, 6.6, 7.4], [-1.4, 0.9, 4.0], [-0.7, 2.8, 2.0], [-1.1, 7.8, -3.9]),
        *([-0.9, 6.4, 7.8], [-0.9, 0.8, 4.2], [-0.7, 1.9, 3.0], [-3.5, 7.4, -2.7]),
        *([-2.9, 5.3, 4.5], [-1.0, 1.3, 2.5], [-0.3, 0.1, 1.9], [-2.2, 4.8, -0.8]),
    ]
)
"""The open hand's `landmark_offsets`, measured by tools/calibrate_landmarks.py."""


@dataclass(frozen=True)
class Skeleton:
    """The joints of a shape at rest, in the hand's frame.

    bases: (5, 3) first joint of each finger. bones: (5, 3, 3) from each joint to the next.
    """

    bases: FloatArray
    bones: FloatArray


@dataclass(frozen=True)
class PosedSkeleton:
    """A skeleton with its angles applied, in the hand's frame.

    joints: (21, 3), where the bones turn. landmarks: (21, 3), where detectors see the joints.
    rotations: (5, 3, 3, 3), of each bone from its rest pose. hinges: (5, 3, 3, 3), the axis (last
    dimension) of each angle.
    """

    joints: FloatArray
    landmarks: FloatArray
    rotations: FloatArray
    hinges: FloatArray


@dataclass(frozen=True)
class OpenHand:
    """The model's arrays.

    vertices: (n, 3) m. faces: (m, 3). joints: (21, 3) m. weights: (n, 16) skinning weights: palm,
    then three bones for each finger. axes: (5, 3 axes, 3) unit hinge axes in the rest pose.
    shape_vertices: (k, n, 3) and shape_joints: (k, 21, 3) m, what each of `shape_names` adds;
    1.0 changes the named measure by 10 %.
    landmark_offsets: (21, 3) m from the joints to where a detector sees them, in the rest frame
    of the bone that ends there.
    """

    vertices: FloatArray
    faces: Faces
    joints: FloatArray
    weights: FloatArray
    axes: FloatArray
    shape_names: tuple[str, ...]
    shape_vertices: FloatArray
    shape_joints: FloatArray
    landmark_offsets: FloatArray

    @property
    def shape_count(self) -> int:
        """Number of shape numbers (k)."""
        return len(self.shape_names)

    def skeleton(self, shape: FloatArray) -> Skeleton:
        """Return the skeleton of a shape (k,)."""
        return Skeleton(*split_joints(self.joints + np.tensordot(shape, self.shape_joints, 1)))

    def pose_skeleton(self, skeleton: Skeleton, angles: FloatArray) -> PosedSkeleton:
        """Apply angles (5, 3, 3), radians, to a skeleton."""
        turns = _turns(self.axes, angles)
        first = turns[:, :, 0]
        second = first @ turns[:, :, 1]
        local = second @ turns[:, :, 2]
        knuckle = local[:, 0]
        middle = knuckle @ local[:, 1]
        rotations = np.stack([knuckle, middle, middle @ local[:, 2]], axis=1)
        above = np.stack([np.broadcast_to(np.eye(3), knuckle.shape), knuckle, middle], axis=1)
        abduction, flexion, twist = self.axes[:, 1], self.axes[:, 0], self.axes[:, 2]
        hinges = np.stack(
            [
                above @ np.matmul(first, flexion[:, None, :, None]),
                above @ abduction[:, None, :, None],
                above @ np.matmul(second, twist[:, None, :, None]),
            ],
            axis=2,
        )[..., 0]
        steps = np.matmul(rotations, skeleton.bones[..., None])[..., 0]
        chain = np.concatenate([skeleton.bases[:, None], steps], axis=1).cumsum(axis=1)
        joints = np.concatenate([np.zeros((1, 3)), chain.reshape(-1, 3)])
        landmarks = joints + self.landmark_offsets
        tips = self.landmark_offsets[1:].reshape(FINGER_COUNT, 4, 3)[:, 1:]
        moved = np.matmul(rotations, tips[..., None])[..., 0]
        chain_landmarks = landmarks[1:].reshape(FINGER_COUNT, 4, 3)
        chain_landmarks[:, 1:] += moved - tips
        return PosedSkeleton(joints, landmarks, rotations, hinges)

    def skin(
        self,
        shape: FloatArray,
        posed: PosedSkeleton,
        numbers: NDArray[np.intp] | slice = ALL_VERTICES,
    ) -> FloatArray:
        """Return (n, 3) vertices in the hand's frame, by linear blend skinning.

        Arguments:
            shape: (k,) shape numbers.
            posed: the skeleton of this shape in its pose.
            numbers: the vertices wanted, all by default.
        """
        rest = self.vertices[numbers] + np.tensordot(shape, self.shape_vertices[:, numbers], 1)
        heads_rest = _bone_heads(self.joints + np.tensordot(shape, self.shape_joints, 1))
        rotations = posed.rotations.reshape(-1, 3, 3)
        shifts = _bone_heads(posed.joints) - np.matmul(rotations, heads_rest[..., None])[..., 0]
        transforms = np.concatenate([rotations, shifts[..., None]], axis=2)
        weights = self.weights[numbers]
        blended = weights[:, 1:] @ transforms.reshape(-1, 12)
        blended += weights[:, :1] * np.eye(3, 4).ravel()
        blended = blended.reshape(-1, 3, 4)
        return np.asarray(np.matmul(blended[..., :3], rest[..., None])[..., 0] + blended[..., 3])


def split_joints(joints: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Split (..., 21, 3) joints into (..., 5, 3) finger bases and (..., 5, 3, 3) bones."""
    fingers = joints[..., 1:, :].reshape(*joints.shape[:-2], FINGER_COUNT, 4, 3)
    return fingers[..., 0, :], np.diff(fingers, axis=-2)


def _bone_heads(joints: FloatArray) -> FloatArray:
    """Return (15, 3), where the fingers' bones begin, of (21, 3) joints."""
    return joints[1:].reshape(FINGER_COUNT, 4, 3)[:, :3].reshape(-1, 3)


def _turns(axes: FloatArray, angles: FloatArray) -> FloatArray:
    """Return (5, 3 levels, 3, 3, 3) rotations about abduction, flexion and twist axis."""
    order = [ABDUCTION, FLEXION, TWIST]
    K, K2 = _hinge_matrices(axes.tobytes())
    ordered = angles[..., order]
    sine, cosine = np.sin(ordered)[..., None, None], np.cos(ordered)[..., None, None]
    return np.asarray(np.eye(3) + sine * K[:, None] + (1.0 - cosine) * K2[:, None])


@cache
def _hinge_matrices(axes_bytes: bytes) -> tuple[FloatArray, FloatArray]:
    """Return K and K @ K of Rodrigues' formula; bytes, because arrays cannot be cached."""
    axes = np.frombuffer(axes_bytes).reshape(FINGER_COUNT, AXIS_COUNT, 3)
    K = cross_matrix(axes[:, [ABDUCTION, FLEXION, TWIST]])
    return K, K @ K


@cache
def load_open_hand() -> OpenHand:
    """Return the model that ships with the package; do not write to its arrays."""
    source = files("handrefiner_ext") / "assets" / "open_hand.npz"
    with source.open("rb") as stream, np.load(stream) as data:
        arrays = {name: data[name] for name in data.files}
    joints = arrays["joints"].astype(np.float64)
    return OpenHand(
        vertices=arrays["vertices"].astype(np.float64),
        faces=arrays["faces"].astype(np.int32),
        joints=joints,
        weights=arrays["weights"].astype(np.float64),
        axes=hinge_axes(joints, arrays["flexion_axes"].astype(np.float64)),
        shape_names=tuple(str(name) for name in arrays["shape_names"]),
        shape_vertices=arrays["shape_vertices"].astype(np.float64),
        shape_joints=arrays["shape_joints"].astype(np.float64),
        landmark_offsets=LANDMARK_OFFSETS,
    )


def rest_frame(joints: FloatArray) -> FloatArray:
    """Return (3, 3) axes of the rest pose's frame as rows: to little finger, wrist and palm.

    joints: (21, 3) of a right hand.
    """
    down = joints[WRIST] - joints[MIDDLE_MCP]
    down = down / np.linalg.norm(down)
    right = joints[LITTLE_MCP] - joints[INDEX_MCP]
    right = right - down * (right @ down)
    right = right / np.linalg.norm(right)
    return np.stack([right, down, np.cross(right, down)])


def hinge_axes(joints: FloatArray, flexion: FloatArray) -> FloatArray:
    """Return (5, 3, 3) flexion, abduction and twist axes, from joints and rough flexion axes.

    The twist axis lies along each finger's first bone; the others are made orthogonal to it.
    """
    _, bones = split_joints(joints)
    twist = bones[:, 0] / np.linalg.norm(bones[:, 0], axis=1, keepdims=True)
    flexion = flexion - twist * (flexion * twist).sum(axis=1, keepdims=True)
    flexion = flexion / np.linalg.norm(flexion, axis=1, keepdims=True)
    return np.stack([flexion, np.cross(twist, flexion), twist], axis=1)
