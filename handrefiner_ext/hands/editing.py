"""What the hand editor does to a hand: each edit takes a pose and returns another.

An edit is written as JSON with one name and its value:

    {"drag": {"joint": "index_tip", "to": [x, y]}}    pulls a joint there, by inverse kinematics
    {"drag_all": {"index_tip": [x, y], …}}            pulls several joints
    {"move": [dx, dy]}                                pixels
    {"scale": factor}                                 about the middle of the palm
    {"spin": degrees}                                 in the picture's plane, about the wrist
    {"roll": degrees}                                 about the arm
    {"tilt": degrees}                                 fingertips towards the viewer
    {"flip": true}                                    the other side of the hand faces the viewer
    {"side": "left" | "right"}                        the mirror image, if it is another hand
    {"gesture": name}
    {"wrist_length": factor}
    {"add": {"at": [x, y], "size": pixels, "side": …}}   a relaxed hand; needs no pose
    {}                                                   nothing, to see a pose

Points and lengths are pixels. What cannot be done is done as far as a hand can, and said.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.geometry.boxes import bounding_box
from handrefiner_ext.geometry.transforms import (
    MIRROR,
    rotation_about,
    rotation_from_vector,
    vector_from_rotation,
)
from handrefiner_ext.hands.gestures import find_gesture
from handrefiner_ext.hands.records import (
    SIDES,
    WRIST_LENGTHS,
    read_hand,
    read_numbers,
    shorten_hand,
)
from handrefiner_ext.mesh.open_hand.anatomy import RELAXED_DEGREES
from handrefiner_ext.mesh.open_hand.kinematics import Pose, load_kinematics
from handrefiner_ext.mesh.open_hand.posing import ANGLE_NAMES, build_mesh, list_shapes
from handrefiner_ext.mesh.open_hand.pulling import pull_joints
from handrefiner_ext.topology import JOINT_NAMES, MIDDLE_MCP, PALM, WRIST
from handrefiner_ext.types import FloatArray, HandMesh, HandPose

Size = tuple[int, int]
"""(height, width) of the picture."""
MISSED_PX, MISSED = 2.0, 0.01
"""A joint that ends farther off than this, in pixels and in hand sizes, was held back."""
SMALLEST_PX, LARGEST = 8.0, 4.0
"""Hand sizes, in pixels and in the picture's longer sides, between which a hand may be scaled."""
FARTHEST = 2.0
"""How far outside the picture a wrist may lie, in its longer sides."""
FINENESS = 60000
"""Into how many parts the extent of packed points is divided, which fit into int16."""
LEAST_ARM = 1e-3
"""Metres; an arm that is seen shorter points at the viewer."""


@dataclass(frozen=True)
class Edited:
    """A hand after an edit. clamped: more was asked for than a hand can do."""

    pose: HandPose
    clamped: bool = False


def edit(pose: HandPose | None, said: Any, size: Size) -> Edited:
    """Return the pose after the edit that the JSON `said` describes.

    The box of the hand as it was is remembered with the first edit, so that a mask covers it.
    """
    if not isinstance(said, dict) or len(said) > 1 or not set(said) <= {*EDITS, ADD}:
        raise InvalidParameter(
            f"do = {show(said)} is not possible; it must be an object with one of "
            f'{", ".join((*EDITS, ADD))}, such as {{"spin": 15}}.'
        )
    if ADD in said:
        return _tidy(add_hand(said[ADD], size))
    if pose is None:
        raise InvalidParameter("hand is missing; only add needs none.")
    if not said:
        return _tidy(Edited(pose))
    mesh = build_mesh(pose, size)
    [(name, value)] = said.items()
    before = replace(mesh.pose or pose, old=_old_of(mesh))
    edited = EDITS[name](_Hand(before, mesh, size), value)
    return _tidy(_keep_near(edited, size))


def _old_of(mesh: HandMesh) -> tuple[float, ...]:
    """Return where the hand lay before anybody posed it."""
    if mesh.pose is not None and mesh.pose.old is not None:
        return mesh.pose.old
    points = np.concatenate([mesh.joints_2d, mesh.camera.project(mesh.vertices)])
    return tuple(float(value) for value in bounding_box(points))


def _tidy(edited: Edited) -> Edited:
    """Return the pose with the digits that its record has, so that the record says all."""
    return replace(edited, pose=read_hand(shorten_hand(edited.pose), "hand"))


def _keep_near(edited: Edited, size: Size) -> Edited:
    """Return the pose with its wrist not too far outside the picture."""
    pose, room = edited.pose, FARTHEST * max(size)
    x, y = (min(max(v, -room), side + room) for v, side in zip(pose.wrist, size[::-1], strict=True))
    held = (x, y) != pose.wrist
    return Edited(replace(pose, wrist=(x, y)), edited.clamped or held)


@dataclass(frozen=True)
class _Hand:
    """A hand that is edited: its pose, the mesh of that pose, and the picture's size."""

    pose: HandPose
    mesh: HandMesh
    size: Size

    @property
    def mirror(self) -> FloatArray:
        """(3,) factors that make the points of this hand those of a right one."""
        return MIRROR if self.pose.handedness == "left" else np.ones(3)

    @property
    def arm(self) -> FloatArray:
        """(3,) unit vector from the wrist to the middle finger, in camera space."""
        along = self.mesh.joints[MIDDLE_MCP] - self.mesh.joints[WRIST]
        return np.asarray(along / np.linalg.norm(along))

    def across(self) -> FloatArray:
        """Return the (3,) unit vector in the picture's plane that is at right angles to the arm."""
        x, y, _ = self.arm
        length = math.hypot(x, y)
        flat = math.dist(self.mesh.joints[WRIST, :2], self.mesh.joints[MIDDLE_MCP, :2])
        return np.array([1.0, 0.0, 0.0] if flat < LEAST_ARM else [-y / length, x / length, 0.0])

    def turned(self, turn: FloatArray, anchor: tuple[int, ...]) -> HandPose:
        """Return the hand turned in camera space, (3, 3); the middle of `anchor` stays."""
        middle = self.mesh.joints[list(anchor)].mean(axis=0)
        shift = self.pose.scale * (middle - turn @ middle)[:2]
        rotation = np.diag(self.mirror) @ turn @ np.diag(self.mirror)
        wrist = (self.pose.wrist[0] + float(shift[0]), self.pose.wrist[1] + float(shift[1]))
        whole = rotation @ rotation_from_vector(np.array(self.pose.turn))
        return replace(self.pose, turn=vector_from_rotation(whole), wrist=wrist)


# --- the edits


def drag(hand: _Hand, value: Any) -> Edited:
    """Pull one joint to a point."""
    if not isinstance(value, dict) or set(value) != {"joint", "to"}:
        raise InvalidParameter('drag needs "joint", a name, and "to", [x, y].')
    return drag_all(hand, {str(value["joint"]): value["to"]})


def drag_all(hand: _Hand, value: Any) -> Edited:
    """Pull several joints, each to its point."""
    if not isinstance(value, dict) or not value:
        raise InvalidParameter("drag_all must be names of joints with [x, y].")
    pins, mirror = {}, hand.mirror[:2]
    for name, place in value.items():
        if name not in JOINT_NAMES:
            raise InvalidParameter(
                f"joint = {show(name)} does not exist; it must be one of {', '.join(JOINT_NAMES)}."
            )
        pins[JOINT_NAMES.index(name)] = np.array(read_numbers(place, 2, f"{name}, to")) * mirror
    pose = hand.pose
    start = Pose(
        rotation_from_vector(np.array(pose.turn)),
        pose.scale,
        np.array(pose.wrist) * mirror,
        0.0,
        np.array([pose.angles[name] for name in ANGLE_NAMES]),
        np.array([pose.shapes[name] for name in list_shapes()]),
    )
    size_px = max(hand.mesh.size_px, 1.0)
    pulled, missed = pull_joints(start, pins, size_px)
    x, y = pulled.shift * mirror
    angles = dict(zip(ANGLE_NAMES, map(float, pulled.free_angles), strict=True))
    moved = replace(
        pose, turn=vector_from_rotation(pulled.rotation), wrist=(float(x), float(y)), angles=angles
    )
    resized = _resize(hand, moved, pulled.scale)
    held = missed > max(MISSED_PX, MISSED * size_px)
    return replace(resized, clamped=resized.clamped or held)


def move(hand: _Hand, value: Any) -> Edited:
    """Move the hand by pixels."""
    dx, dy = read_numbers(value, 2, "move")
    x, y = hand.pose.wrist
    return Edited(replace(hand.pose, wrist=(x + dx, y + dy)))


def scale(hand: _Hand, value: Any) -> Edited:
    """Make the hand larger or smaller; the middle of its palm stays."""
    factor = _number(value, "scale")
    if factor <= 0.0:
        raise InvalidParameter(f"scale = {show(value)} is not possible; it must be above 0.")
    resized = _resize(hand, hand.pose, hand.pose.scale * factor)
    middle = hand.mesh.joints[list(PALM), :2].mean(axis=0)
    x, y = np.array(hand.pose.wrist) + (hand.pose.scale - resized.pose.scale) * middle
    return replace(resized, pose=replace(resized.pose, wrist=(float(x), float(y))))


def _resize(hand: _Hand, pose: HandPose, wanted: float) -> Edited:
    """Return the pose with the scale that is wanted, as far as a hand may be small or large."""
    unit = max(hand.mesh.size_px / hand.pose.scale, 1e-9)
    least, most = SMALLEST_PX / unit, LARGEST * max(hand.size) / unit
    # A hand that is smaller or larger already may stay so.
    least, most = min(least, hand.pose.scale), max(most, hand.pose.scale)
    allowed = min(max(wanted, least), most)
    return Edited(replace(pose, scale=allowed), allowed != wanted)


def spin(hand: _Hand, value: Any) -> Edited:
    """Turn the hand clockwise in the picture, about its wrist."""
    return Edited(hand.turned(_about(np.array([0.0, 0.0, 1.0]), _number(value, "spin")), (WRIST,)))


def roll(hand: _Hand, value: Any) -> Edited:
    """Turn the hand about its arm; the middle of the palm stays."""
    return Edited(hand.turned(_about(hand.arm, _number(value, "roll")), PALM))


def tilt(hand: _Hand, value: Any) -> Edited:
    """Turn the fingertips towards the viewer; the middle of the palm stays."""
    return Edited(hand.turned(_about(hand.across(), _number(value, "tilt")), PALM))


def _about(axis: FloatArray, degrees: float) -> FloatArray:
    return rotation_about(axis, np.array(math.radians(math.fmod(degrees, 360.0))))


def flip(hand: _Hand, value: Any) -> Edited:
    """Show the palm instead of the back, or the back instead of the palm."""
    if value is not True:
        raise InvalidParameter(f"flip = {show(value)} is not possible; it must be true.")
    return roll(hand, 180.0)


def side(hand: _Hand, value: Any) -> Edited:
    """Make it a left or a right hand: its mirror image at the arm as the picture shows it."""
    if value not in SIDES:
        raise InvalidParameter(f"side = {show(value)} is not possible; it must be left or right.")
    pose = hand.pose
    if value == pose.handedness:
        return Edited(pose)
    across = hand.across()
    reflection = np.eye(3) - 2.0 * np.outer(across, across)
    other = np.ones(3) if pose.handedness == "left" else MIRROR
    rotation = np.diag(other) @ reflection @ np.diag(hand.mirror)
    middle = hand.mesh.joints[list(PALM)].mean(axis=0)
    x, y = np.array(pose.wrist) + pose.scale * (middle - reflection @ middle)[:2]
    turn = vector_from_rotation(rotation @ rotation_from_vector(np.array(pose.turn)))
    return Edited(replace(pose, handedness=value, turn=turn, wrist=(float(x), float(y))))


def gesture(hand: _Hand, value: Any) -> Edited:
    """Give the fingers a gesture, and turn the hand about its arm if the gesture says so."""
    if not isinstance(value, str):
        raise InvalidParameter(f"gesture = {show(value)} is not possible; it must be a name.")
    return Edited(find_gesture(value).give_to(hand.pose))


def wrist_length(hand: _Hand, value: Any) -> Edited:
    """Make the stub of the forearm longer or shorter; 1 is the model's own length."""
    wanted, (least, most) = _number(value, "wrist_length"), WRIST_LENGTHS
    allowed = min(max(wanted, least), most)
    return Edited(replace(hand.pose, wrist_length=allowed), allowed != wanted)


ADD = "add"
EDITS: Mapping[str, Callable[[_Hand, Any], Edited]] = {
    "drag": drag,
    "drag_all": drag_all,
    "move": move,
    "scale": scale,
    "spin": spin,
    "roll": roll,
    "tilt": tilt,
    "flip": flip,
    "side": side,
    "gesture": gesture,
    "wrist_length": wrist_length,
}


def add_hand(value: Any, size: Size) -> Edited:
    """Return a relaxed hand that shows its back, with the middle of its palm at a point."""
    if not isinstance(value, dict) or not {"at", "size"} <= set(value) <= {"at", "size", "side"}:
        raise InvalidParameter('add needs "at", [x, y], and "size", pixels; "side" is optional.')
    at = np.array(read_numbers(value["at"], 2, "at"))
    wanted, which = _number(value["size"], "size"), value.get("side", "right")
    if wanted <= 0.0 or which not in SIDES:
        raise InvalidParameter("add needs a size above 0, and the side left or right.")
    anatomy = load_kinematics().anatomy
    places = list(zip(*(part.tolist() for part in anatomy.where), strict=True))
    relaxed = [math.radians(RELAXED_DEGREES.get(place, 0.0)) for place in places]
    angles = dict(zip(ANGLE_NAMES, relaxed, strict=True))
    pose = HandPose(which, (0.0, 0.0), 1000.0, (0.0, 0.0, 0.0), angles, old=())
    hand = _Hand(pose, build_mesh(pose, size), size)
    sized = _resize(hand, pose, pose.scale * wanted / hand.mesh.size_px)
    middle = sized.pose.scale * hand.mesh.joints[list(PALM), :2].mean(axis=0)
    wrist = (float(at[0] - middle[0]), float(at[1] - middle[1]))
    return _keep_near(replace(sized, pose=replace(sized.pose, wrist=wrist)), size)


def _number(value: Any, name: str) -> float:
    (number,) = read_numbers([value], 1, name)
    return number


# --- what is answered


def describe_edited(
    edited: Edited, size: Size, number: int, packed: bool = False
) -> dict[str, Any]:
    """Return a hand for the editor: its record, and where everything of it lies, in pixels.

    packed: the vertices as `pack_points` gives them instead of lists.
    """
    mesh = build_mesh(edited.pose, size)
    points = np.column_stack([mesh.joints_2d, mesh.camera.scale * mesh.joints[:, 2]])
    vertices = np.column_stack(
        [mesh.camera.project(mesh.vertices), mesh.camera.scale * mesh.vertices[:, 2]]
    )
    return {
        "hand": shorten_hand(edited.pose),
        "joints": np.round(points[:, :2], 2).tolist(),
        "joint_depth": np.round(points[:, 2], 1).tolist(),
        "vertices": pack_points(vertices) if packed else np.round(vertices, 1).tolist(),
        "box": [int(value) for value in bounding_box(vertices[:, :2])],
        "number": number,
        "clamped": edited.clamped,
    }


def pack_points(points: FloatArray) -> dict[str, Any]:
    """Return (n, 3) points as whole numbers in base64: little-endian int16, times unit, plus from.

    As lists they take longer to write, to compress and to read than an edit takes.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    middle, unit = (low + high) / 2.0, max(float((high - low).max()), 1e-6) / FINENESS
    counts = np.round((points - middle) / unit).astype("<i2")
    return {
        "from": np.round(middle, 3).tolist(),
        "unit": unit,
        "int16": base64.b64encode(counts.tobytes()).decode("ascii"),
    }
