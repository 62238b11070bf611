"""One hand of a pose as JSON: read with errors that help, written at length or short.

    {"side": "right", "wrist": [x, y], "scale": pixels for a metre, "turn": [x, y, z],
     "angles": {"index_mcp_flexion": 12.0, …}, "shapes": {"finger_length": 0.1, …},
     "wrist_length": 1.5, "old": [x0, y0, x1, y1]}

Angles are degrees beyond the rest pose, and `turn` is a rotation vector in degrees. Angles and
shapes may also be lists of numbers, in the order of ANGLE_NAMES and `list_shapes`, of which the
last may be missing: so the hand editor writes them, to keep infotext short. `wrist_length` is a
factor. A hand that has `old` was posed by somebody and is painted as it is, not judged; `old` is
the box of the hand that lay there before, whose fingers are repainted too, or [] where none lay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.mesh.open_hand.posing import ANGLE_NAMES, list_shapes
from handrefiner_ext.types import HandPose

SIDES = ("left", "right")
MOST_SCALE = 1e6
WRIST_LENGTHS = (0.2, 6.0)
"""Shorter, the hand would have no wrist; longer, the stub of the forearm would be thin."""
OLD = "old"


def read_hand(said: Any, where: str) -> HandPose:
    """Return the hand of a record; InvalidParameter says what is wrong. where: its name."""
    if not isinstance(said, dict) or said.get("side") not in SIDES:
        raise InvalidParameter(f'{where} needs "side", left or right.')
    wrist = read_numbers(said.get("wrist"), 2, f"{where}, wrist")
    turn = [math.radians(v) for v in read_numbers(said.get("turn", (0, 0, 0)), 3, f"{where}, turn")]
    (scale,) = read_numbers([said.get("scale")], 1, f"{where}, scale")
    if not 0.0 < scale < MOST_SCALE:
        raise InvalidParameter(f"{where}, scale must be pixels per metre, greater than 0.")
    angles = _read_named(said.get("angles", {}), ANGLE_NAMES, f"{where}, angles")
    return HandPose(
        said["side"],
        (wrist[0], wrist[1]),
        scale,
        (turn[0], turn[1], turn[2]),
        {name: math.radians(value) for name, value in angles.items()},
        _read_named(said.get("shapes", {}), list_shapes(), f"{where}, shapes"),
        wrist_length=_read_wrist_length(said.get("wrist_length", 1.0), where),
        old=_read_old(said[OLD], where) if OLD in said else None,
    )


def _read_wrist_length(said: Any, where: str) -> float:
    least, most = WRIST_LENGTHS
    (length,) = read_numbers([said], 1, f"{where}, wrist_length")
    if not least <= length <= most:
        raise InvalidParameter(
            f"{where}, wrist_length = {show(said)} is not possible; it must be a factor from "
            f"{least:g} to {most:g}."
        )
    return length


def _read_old(said: Any, where: str) -> tuple[float, ...]:
    if said == []:
        return ()
    x0, y0, x1, y1 = read_numbers(said, 4, f"{where}, old")
    if x1 <= x0 or y1 <= y0:
        raise InvalidParameter(f"{where}, old must be x0, y0, x1, y1 of a box, or empty.")
    return x0, y0, x1, y1


def _read_named(said: Any, names: Sequence[str], where: str) -> dict[str, float]:
    if isinstance(said, list):
        if len(said) > len(names):
            raise InvalidParameter(f"{where} has {len(said)} numbers; it may have {len(names)}.")
        said = dict(zip(names, said, strict=False))
    if not isinstance(said, dict):
        raise InvalidParameter(f"{where} must be names with numbers.")
    for name in said:
        if name not in names:
            raise InvalidParameter(f"{where}: {show(name)} is not one of {', '.join(names)}.")
    values = read_numbers(list(said.values()), len(said), where)
    return dict(zip(said, values, strict=True))


def read_numbers(said: Any, count: int, where: str) -> list[float]:
    """Return a list of that many finite numbers; InvalidParameter where it is none."""
    is_list = isinstance(said, (list, tuple)) and len(said) == count
    if not is_list or not all(_is_number(value) for value in said):
        raise InvalidParameter(f"{where} must be {count} finite numbers.")
    return [float(value) for value in said]


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) < 1e9


def describe_hand(pose: HandPose) -> dict[str, Any]:
    """Return the record of a hand as people read it, with every angle named."""
    return {
        "side": pose.handedness,
        "wrist": [round(value, 3) for value in pose.wrist],
        "scale": round(pose.scale, 3),
        "turn": [round(math.degrees(value), 3) for value in pose.turn],
        "angles": {name: round(math.degrees(value), 3) for name, value in pose.angles.items()},
        "shapes": {name: round(value, 4) for name, value in pose.shapes.items()},
        **_describe_more(pose),
    }


def shorten_hand(pose: HandPose) -> dict[str, Any]:
    """Return the record of a hand in few characters: lists, and no more digits than are seen."""
    return {
        "side": pose.handedness,
        "wrist": [_short(value, 2) for value in pose.wrist],
        "scale": _short(pose.scale, 2),
        "turn": [_short(math.degrees(value), 2) for value in pose.turn],
        "angles": _list(pose.angles, ANGLE_NAMES, 180.0 / math.pi, 2),
        "shapes": _list(pose.shapes, list_shapes(), 1.0, 3),
        **_describe_more(pose),
    }


def _describe_more(pose: HandPose) -> dict[str, Any]:
    """Return what only hands have that somebody posed."""
    more: dict[str, Any] = {}
    if pose.wrist_length != 1.0:
        more["wrist_length"] = _short(pose.wrist_length, 3)
    if pose.old is not None:
        more[OLD] = [_short(value, 1) for value in pose.old]
    return more


def _list(
    values: Mapping[str, float], names: Sequence[str], factor: float, digits: int
) -> list[float]:
    """Return the values in the order of the names, without the zeros at the end."""
    listed = [_short(values.get(name, 0.0) * factor, digits) for name in names]
    while listed and not listed[-1]:
        listed.pop()
    return listed


def _short(value: float, digits: int) -> float:
    """Return a number that JSON writes short: 12, not 12.0."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded
