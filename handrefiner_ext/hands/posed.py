"""Hands from a file instead of a detector: our own record of poses, or OpenPose's keypoints.

Our JSON:

    {"handrefiner_pose": 1, "width": 512, "height": 768, "hands": [
      {"side": "right", "wrist": [x, y], "scale": pixels for a metre, "turn": [x, y, z],
       "angles": {"index_mcp_flexion": 12.0, …}, "shapes": {"finger_length": 0.1, …}}]}

Lengths are pixels of a picture of that size and are scaled to the one in work; `records` says what
a hand may hold. A picture without hands has an empty list. OpenPose's JSON has "people" with
"hand_left_keypoints_2d" and "hand_right_keypoints_2d", 21 times x, y and certainty, in pixels or,
up to 1, as shares of the picture. The two are told apart by their content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.hands.meshing import Meshes
from handrefiner_ext.hands.records import describe_hand, read_hand, read_numbers
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.mesh.open_hand.posing import build_mesh, fit_pose
from handrefiner_ext.params import RefineParams
from handrefiner_ext.topology import BONES, JOINT_COUNT
from handrefiner_ext.types import (
    Detection,
    FloatArray,
    Hand,
    Handedness,
    HandMesh,
    HandPose,
    Image,
)

VERSION_KEY, VERSION = "handrefiner_pose", 1
OPENPOSE_VERSION = 1.3
PEOPLE = "people"
KEYPOINTS: Mapping[Handedness, str] = {
    "left": "hand_left_keypoints_2d",
    "right": "hand_right_keypoints_2d",
}
LEAST_CERTAINTY = 0.05
"""ControlNet's preprocessors draw no point that is less certain."""
LEAST_POINTS = 8
"""Known points of a hand; with fewer, priors alone would say how it lies."""
MOST_HANDS = 64
SMALLEST_PX = 4.0


@dataclass(frozen=True)
class Keypoints:
    """One hand as OpenPose gives it. points: (21, 2). seen: (21,) bool."""

    handedness: Handedness
    points: FloatArray
    seen: np.ndarray


@dataclass(frozen=True)
class PosedHands:
    """The hands of a file. size: (width, height) they refer to; None = the picture's own.

    shares: whether keypoints are given as shares of the picture.
    """

    hands: tuple[HandPose | Keypoints, ...]
    size: tuple[float, float] | None = None
    shares: bool = False

    def build(self, height: int, width: int) -> tuple[Detection, tuple[HandMesh, ...]]:
        """Return the hands of a picture as if they had been seen, from left to right; meshes."""
        size = (1.0, 1.0) if self.shares else self.size or (width, height)
        factor = np.array([width / size[0], height / size[1]])
        meshes = [build_mesh(_place(hand, factor), (height, width)) for hand in self.hands]
        meshes.sort(key=lambda mesh: (mesh.hand.box.x0, mesh.hand.box.y0))
        return Detection(tuple(mesh.hand for mesh in meshes)), tuple(meshes)


def take_meshes(meshes: Sequence[HandMesh], hands: Sequence[Hand]) -> Meshes:
    """Return the meshes of the hands that were chosen, by their numbers. meshes: of all hands."""
    found = (replace(meshes[hand.number - 1], hand=hand) for hand in hands)
    return Meshes(tuple(found), (), ())


def _place(hand: HandPose | Keypoints, factor: FloatArray) -> HandPose:
    """Return a hand in the picture. factor: (2,) pixels for each unit of the file."""
    if isinstance(hand, HandPose):
        wrist = (hand.wrist[0] * factor[0], hand.wrist[1] * factor[1])
        scale = hand.scale * float(np.sqrt(factor.prod()))
        old = hand.old and tuple((np.reshape(hand.old, (2, 2)) * factor).ravel().tolist())
        return replace(hand, wrist=wrist, scale=scale, old=old)
    points = hand.points * factor
    if np.ptp(points[hand.seen], axis=0).max() < SMALLEST_PX:
        raise InvalidParameter("pose has a hand whose keypoints all lie in one place; remove it.")
    return fit_pose(points, hand.seen, hand.handedness)


# --- reading


def parse_pose(text: str) -> PosedHands:
    """Return the hands of our JSON or OpenPose's; InvalidParameter says what is wrong."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"pose is not JSON ({error}).") from error
    if isinstance(said, list) and len(said) == 1:  # as ControlNet's API answers
        said = said[0]
    if isinstance(said, dict) and VERSION_KEY in said:
        return _read_own(said)
    if isinstance(said, dict) and isinstance(said.get(PEOPLE), list):
        return _read_openpose(said)
    raise InvalidParameter(
        f'pose is neither a pose of HandRefiner (with "{VERSION_KEY}") nor OpenPose\'s JSON (with '
        f'"{PEOPLE}").'
    )


def _read_own(said: Mapping[str, Any]) -> PosedHands:
    if said[VERSION_KEY] != VERSION:
        raise InvalidParameter(
            f"pose has version {show(said[VERSION_KEY])}; this HandRefiner reads {VERSION}."
        )
    hands = said.get("hands")
    if not isinstance(hands, list) or len(hands) > MOST_HANDS:
        raise InvalidParameter(f'pose needs "hands", a list of at most {MOST_HANDS}.')
    size = _read_size(said, "width", "height")
    return PosedHands(
        tuple(read_hand(hand, f"pose, hand {n}") for n, hand in enumerate(hands, start=1)), size
    )


def _read_size(said: Mapping[str, Any], *names: str) -> tuple[float, float] | None:
    if not all(name in said for name in names):
        return None
    width, height = read_numbers([said[name] for name in names], 2, f"pose, {' and '.join(names)}")
    if width < 1 or height < 1:
        raise InvalidParameter(
            f"pose, {' and '.join(names)} must be those of a picture, at least 1 pixel."
        )
    return width, height


def _read_openpose(said: Mapping[str, Any]) -> PosedHands:
    hands = []
    for person in said[PEOPLE]:
        for side, key in KEYPOINTS.items():
            points = person.get(key) if isinstance(person, dict) else None
            if points:
                hands.append(_read_keypoints(points, side, f"pose, {key}"))
    known = tuple(hand for hand in hands if hand.seen.sum() >= LEAST_POINTS)
    if hands and not known:
        raise InvalidParameter(
            f"pose has no hand of which {LEAST_POINTS} keypoints are known; give more of them."
        )
    if len(known) > MOST_HANDS:
        raise InvalidParameter(f"pose has more than {MOST_HANDS} hands.")
    shares = bool(known) and max(hand.points[hand.seen].max() for hand in known) <= 1.0
    return PosedHands(known, _read_size(said, "canvas_width", "canvas_height"), shares)


def _read_keypoints(said: Any, side: Handedness, where: str) -> Keypoints:
    numbers = read_numbers(said, 3 * JOINT_COUNT, where)
    values = np.array(numbers).reshape(JOINT_COUNT, 3)
    seen = (values[:, 2] >= LEAST_CERTAINTY) & (values[:, :2] != 0.0).any(axis=1)
    return Keypoints(side, values[:, :2], seen)


# --- writing


@dataclass(frozen=True)
class Poses:
    """The hands of a picture for other programs.

    pose: our JSON. openpose: OpenPose's. drawn: (H, W, 3), as ControlNet's openpose models know it.
    """

    pose: Mapping[str, Any]
    openpose: Mapping[str, Any]
    drawn: Image

    @classmethod
    def of(cls, meshes: Sequence[HandMesh], height: int, width: int) -> Poses:
        """Return the meshes of a picture of that size in all three forms."""
        size = (height, width)
        return cls(
            describe_poses(meshes, *size),
            describe_openpose(meshes, *size),
            draw_openpose(meshes, *size),
        )


def describe_poses(meshes: Sequence[HandMesh], height: int, width: int) -> dict[str, Any]:
    """Return the meshes as our JSON; what was no open hand is fitted by one."""
    poses = [find_pose(mesh) for mesh in meshes]
    return {
        VERSION_KEY: VERSION,
        **{"width": width, "height": height},
        "hands": [describe_hand(pose) for pose in poses],
    }


def find_pose(mesh: HandMesh) -> HandPose:
    """Return the open hand's record of a mesh; what was no open hand is fitted by one."""
    if mesh.pose is not None:
        return mesh.pose
    joints = mesh.joints_2d
    hand = replace(
        mesh.hand,
        handedness=mesh.handedness,
        landmarks=joints,
        landmark_depth=mesh.camera.scale * (mesh.joints[:, 2] - mesh.joints[0, 2]),
        world_landmarks=mesh.joints - mesh.joints.mean(axis=0),
    )
    nothing = np.zeros((1, 1, 3), dtype=np.uint8)
    fitted = OpenHandReconstructor().reconstruct(nothing, hand, RefineParams(outline=False))
    if isinstance(fitted, HandMesh) and fitted.pose is not None:
        return fitted.pose
    return fit_pose(joints, np.ones(JOINT_COUNT, dtype=bool), mesh.handedness)


def describe_openpose(meshes: Sequence[HandMesh], height: int, width: int) -> dict[str, Any]:
    """Return the meshes' joints in OpenPose's form, each person with at most one hand a side."""
    hands: dict[Handedness, list[HandMesh]] = {"left": [], "right": []}
    for mesh in meshes:
        hands[mesh.handedness].append(mesh)
    people = []
    for number in range(max(map(len, hands.values()))):
        person: dict[str, Any] = {"pose_keypoints_2d": [], "face_keypoints_2d": []}
        for side, key in KEYPOINTS.items():
            shown = hands[side][number : number + 1]
            person[key] = [value for mesh in shown for value in _list_keypoints(mesh)]
        people.append(person)
    return {
        "version": OPENPOSE_VERSION,
        PEOPLE: people,
        **{"canvas_width": width, "canvas_height": height},
    }


def _list_keypoints(mesh: HandMesh) -> list[float]:
    places = mesh.joints_2d.tolist()
    return [value for x, y in places for value in (round(x, 3), round(y, 3), 1.0)]


def draw_openpose(meshes: Sequence[HandMesh], height: int, width: int) -> Image:
    """Return the hands as ControlNet's openpose models know them, (H, W, 3).

    On black, each bone has a colour of its own round the colour wheel, and joints are blue dots.
    """
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    thickness = max(1, round(2 * max(height, width) / 512))
    for mesh in meshes:
        points = np.clip(np.rint(mesh.joints_2d - 0.5), -(2**14), 2**14).astype(int).tolist()
        for number, (start, end) in enumerate(BONES):
            hue = np.array([[[round(180 * number / len(BONES)), 255, 255]]], dtype=np.uint8)
            colour = [int(value) for value in cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]]
            cv2.line(canvas, points[start], points[end], colour, thickness)
        for point in points:
            cv2.circle(canvas, point, 2 * thickness, (0, 0, 255), cv2.FILLED)
    return canvas
