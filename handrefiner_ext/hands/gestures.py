"""Gestures: named poses of the fingers, which a hand takes on where it is.

A file of gestures, ours (`assets/gestures.json`) or the user's own:

    {"handrefiner_gestures": 1, "gestures": {
      "victory": {"angles": {"index_mcp_flexion": -14, …}},
      "thumb up": {"angles": {…}, "thumb": "up"}}}

Angles are degrees beyond the rest pose, named as in a pose; those that are not named are 0. Place,
size and turn of the hand stay; where `thumb` is "up" or "down", the hand is rolled about its arm
until the thumb points there as far as it can.

    gestures = part {";" part}      part = [hands ":"] name

`hands` chooses as the parameter of that name does; without it, all hands are meant. The first part
that means a hand counts.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.geometry.transforms import MIRROR, rotation_from_vector, vector_from_rotation
from handrefiner_ext.hands.choosing import Part, parse_hands, select
from handrefiner_ext.hands.posed import find_pose
from handrefiner_ext.mesh.open_hand.posing import ANGLE_NAMES, build_mesh
from handrefiner_ext.pictures.disk import write_atomically
from handrefiner_ext.topology import FINGERS, MIDDLE_MCP, WRIST
from handrefiner_ext.types import FloatArray, Hand, HandMesh, HandPose

VERSION_KEY, VERSION = "handrefiner_gestures", 1
PLACE_VARIABLE = "HANDREFINER_GESTURES"
LONGEST_NAME, MOST_GESTURES = 40, 500
LARGEST_FILE = 4 * 2**20
"""Bytes; 500 gestures that name every angle have about 600,000."""
MOST_DEGREES = 360.0
MOST_WISHES = 100
"""Parts of the parameter; a picture has fewer hands."""
NAME = re.compile(r"[^\W_][^;:,\"]*")
Thumb = Literal["up", "down"]
_, THUMB_MCP, _, THUMB_TIP = FINGERS["thumb"]


@dataclass(frozen=True)
class Gesture:
    """A pose of the fingers. angles: radians beyond the rest pose, by name."""

    name: str
    angles: Mapping[str, float]
    thumb: Thumb | None = None

    def give_to(self, pose: HandPose) -> HandPose:
        """Return the pose with these fingers, and rolled if the thumb must point somewhere."""
        posed = replace(pose, angles=dict(self.angles))
        return posed if self.thumb is None else _roll(posed, self.thumb)


@dataclass(frozen=True)
class Wish:
    """One part of the parameter. parts: which hands are meant."""

    parts: tuple[Part, ...]
    gesture: Gesture


def parse_gestures(text: str) -> tuple[Wish, ...]:
    """Return what the parameter `gesture` asks for; InvalidParameter says what is wrong."""
    parts = [part.strip() for part in text.split(";", MOST_WISHES + 1)]
    if len(parts) > MOST_WISHES:
        raise InvalidParameter(f"gesture has more than {MOST_WISHES} parts; give fewer.")
    parts = [part for part in parts if part]
    known, wishes = load_gestures() if parts else {}, []
    for part in parts:
        hands, _, name = part.rpartition(":")
        wishes.append(Wish(parse_hands(hands), _find(name, known)))
    return tuple(wishes)


def find_gesture(name: str) -> Gesture:
    """Return a gesture, whether ours or the user's own, however its name is spelled."""
    return _find(name, load_gestures())


def _find(name: str, known: Mapping[str, Gesture]) -> Gesture:
    wanted = spell(name)
    if wanted not in known:
        raise InvalidParameter(
            f"gesture = {show(name.strip())} does not exist; it must be one of {', '.join(known)}, "
            'for certain hands such as "1: victory; left: fist".'
        )
    return known[wanted]


def spell(name: str) -> str:
    """Return a name as it is compared: "Thumb_Up" is "thumb up"."""
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def give_gestures(
    meshes: Sequence[HandMesh], wishes: Sequence[Wish], size: tuple[int, int]
) -> tuple[HandMesh, ...]:
    """Return the meshes with the fingers that were asked for.

    The hand that was seen stays in the record, so that the mask covers the old fingers as well.

    Arguments:
        size: (height, width) of the picture.
    """
    hands = tuple(mesh.hand for mesh in meshes)
    return tuple(_give(mesh, hands, wishes, size) for mesh in meshes)


def _give(
    mesh: HandMesh, hands: tuple[Hand, ...], wishes: Sequence[Wish], size: tuple[int, int]
) -> HandMesh:
    for wish in wishes:
        if mesh.hand.number not in select(hands, wish.parts, size[0]):
            continue
        built = build_mesh(wish.gesture.give_to(find_pose(mesh)), size)
        return replace(built, hand=mesh.hand, gesture=wish.gesture.name)
    return mesh


def _roll(pose: HandPose, thumb: Thumb) -> HandPose:
    """Return the hand turned about its arm until the thumb points up or down in the picture.

    The thumb's direction, turned by an angle about the arm a, has the height
    (t·a)(a·u) + cos(angle) (t·u − (t·a)(a·u)) + sin(angle) (a×t)·u, which is greatest at
    atan2(sine's factor, cosine's factor).
    """
    joints = build_mesh(pose, (1, 1)).joints
    arm = _unit(joints[MIDDLE_MCP] - joints[WRIST])
    towards = joints[THUMB_TIP] - joints[THUMB_MCP]
    up = np.array([0.0, -1.0 if thumb == "up" else 1.0, 0.0])  # y grows downwards in pictures
    along = (towards @ arm) * (arm @ up)
    angle = math.atan2(float(np.cross(arm, towards) @ up), float(towards @ up - along))
    # A record's turn is that of a right hand's own frame; a left one is its mirror image.
    mirror = MIRROR if pose.handedness == "left" else np.ones(3)
    roll = np.diag(mirror) @ rotation_from_vector(arm * angle) @ np.diag(mirror)
    return replace(
        pose, turn=vector_from_rotation(roll @ rotation_from_vector(np.array(pose.turn)))
    )


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


# --- the library


def load_gestures() -> dict[str, Gesture]:
    """Return every gesture by its name: ours first, then the user's own."""
    return {**load_shipped(), **load_own()}


@cache
def load_shipped() -> dict[str, Gesture]:
    """Return the gestures that ship with the package."""
    source = files("handrefiner_ext") / "assets" / "gestures.json"
    return read_gestures(source.read_text("utf-8"), "the package's gestures")


def load_own() -> dict[str, Gesture]:
    """Return the user's own gestures; InvalidParameter where their file cannot be read."""
    place = own_place()
    if not place.is_file():
        return {}
    try:
        if place.stat().st_size > LARGEST_FILE:
            raise InvalidParameter(f"{place} is too large for a file of gestures.")
        # Editors of Windows put a byte order mark before the text.
        return read_gestures(place.read_text("utf-8-sig"), str(place))
    except OSError as error:
        raise InvalidParameter(f"{place} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"{place} is not text in UTF-8.") from error


def own_place(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Return the user's file of gestures, which the panel and the command line share."""
    named = environment.get(PLACE_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser()
    if platform == "win32" and environment.get("APPDATA"):
        folder = Path(environment["APPDATA"])
    elif platform == "darwin":
        folder = Path.home() / "Library" / "Application Support"
    else:
        given = environment.get("XDG_CONFIG_HOME", "").strip()
        folder = Path(given) if given else Path.home() / ".config"
    return folder / "handrefiner" / "gestures.json"


def read_gestures(text: str, where: str) -> dict[str, Gesture]:
    """Return the gestures of a file's text; InvalidParameter says what is wrong with it."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"{where} is not JSON ({error}).") from error
    listed = said.get("gestures") if isinstance(said, dict) else None
    if not isinstance(listed, dict) or said.get(VERSION_KEY) != VERSION:
        raise InvalidParameter(
            f'{where} is no file of gestures: it needs "{VERSION_KEY}": {VERSION} and "gestures".'
        )
    if len(listed) > MOST_GESTURES:
        raise InvalidParameter(f"{where} has more than {MOST_GESTURES} gestures.")
    found: dict[str, Gesture] = {}
    for name, entry in listed.items():
        gesture = _read(name, entry, where)
        if gesture.name in found:  # else the file would lose one when it is written again
            raise InvalidParameter(
                f"{where} has the gesture {gesture.name!r} twice (case, spaces, _ and - do not "
                "count); give one of them another name."
            )
        found[gesture.name] = gesture
    return found


def _read(name: str, said: Any, where: str) -> Gesture:
    angles = said.get("angles") if isinstance(said, dict) else None
    thumb = said.get("thumb") if isinstance(said, dict) else None
    if not isinstance(angles, dict) or thumb not in (None, "up", "down"):
        raise InvalidParameter(
            f'{where}, {show(name)} needs "angles", names with degrees; "thumb" may be up or down.'
        )
    for key, value in angles.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if key not in ANGLE_NAMES or not number or not abs(value) <= MOST_DEGREES:
            raise InvalidParameter(
                f"{where}, {show(name)}: {show(key)} = {show(value)} is not possible; it must be a "
                f"number of degrees, at most {MOST_DEGREES:g}, for one of {', '.join(ANGLE_NAMES)}."
            )
    radians = {key: math.radians(value) for key, value in angles.items()}
    try:
        return Gesture(check_name(name), radians, thumb)
    except InvalidParameter as error:
        raise InvalidParameter(f"{where}: {error}") from error


def check_name(name: str) -> str:
    """Return a name as it is shown; InvalidParameter for one that the parameter cannot hold."""
    shown = spell(name)
    if len(shown) > LONGEST_NAME or not NAME.fullmatch(shown) or not shown.isprintable():
        raise InvalidParameter(
            f"A gesture cannot be named {show(name)}: a name begins with a letter or digit, has at "
            f"most {LONGEST_NAME} characters, none of ; : , and quotes, and none that is invisible."
        )
    return shown


def save_gesture(name: str, pose: HandPose) -> Gesture:
    """Write the fingers of a pose into the user's own file under a name; return the gesture."""
    shown = check_name(name)
    if shown in load_shipped():
        raise InvalidParameter(
            f"The gesture {shown!r} ships with HandRefiner; choose another name."
        )
    made = Gesture(shown, dict(pose.angles))
    _write({**load_own(), shown: made})
    return made


def remove_gesture(name: str) -> None:
    """Take a gesture out of the user's own file; InvalidParameter where it is not in there."""
    own, shown = load_own(), spell(name)
    if own.pop(shown, None) is None:
        whose = "ships with HandRefiner" if shown in load_shipped() else "does not exist"
        raise InvalidParameter(f"The gesture {show(shown)} {whose}, so it cannot be removed.")
    _write(own)


def _write(gestures: Mapping[str, Gesture]) -> None:
    place = own_place().resolve()  # a link to a file that is kept elsewhere stays one
    listed = {name: _describe(gesture) for name, gesture in gestures.items()}
    text = json.dumps({VERSION_KEY: VERSION, "gestures": listed}, indent=1, ensure_ascii=False)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, (text + "\n").encode("utf-8"))


def _describe(gesture: Gesture) -> dict[str, Any]:
    degrees = {name: round(math.degrees(value), 1) for name, value in gesture.angles.items()}
    angles = {name: value for name, value in degrees.items() if value}
    return {"angles": angles, **({"thumb": gesture.thumb} if gesture.thumb else {})}
