"""How a hand lies in a part of the picture that somebody painted because a hand belongs there.

The painted part gives place, size and axis. The wrist is where the picture's edge cuts it off, else
where an arm seems to go on, else where it touches the edge, else at the lower end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.mesh.open_hand.relaxed import Lie, assume_hand
from handrefiner_ext.params import RefineParams
from handrefiner_ext.topology import MIDDLE_MCP, WRIST
from handrefiner_ext.types import (
    OTHER_SIDE,
    Box,
    FloatArray,
    Hand,
    Handedness,
    HandMesh,
    Image,
    Mask,
    Refusal,
)

ROOM = 0.9
"""Length of the hand in lengths of the part: people paint a little beyond a hand."""
HAND_ASPECT = 1.8
"""Length over breadth of a hand's landmarks; a longer part holds some of the arm, too."""
ROUND = 1.25
"""Length over breadth of a part up to which its axis says nothing."""
EDGE_SHARE = 0.01
"""So near the picture's edge, in long sides of the picture, a part counts as meeting it."""
CUT_OFF = 0.5
"""Share of the part's breadth at the picture's edge from which the edge surely cuts an arm off."""
ARM_CONTRAST, ARM_LEAD = 12.0, 1.5
"""Least difference (CIE Lab) of an arm from what is beside it, and least ratio to other ends."""
OUTWARDS = {"left": (-1.0, 0.0), "top": (0.0, -1.0), "right": (1.0, 0.0), "bottom": (0.0, 1.0)}


@dataclass(frozen=True)
class PaintedPart:
    """One connected part of a drawn mask. inside: (box.height, box.width) bool."""

    box: Box
    inside: Mask

    def points(self) -> FloatArray:
        """(n, 2) its pixels' centres, and those of holes in it."""
        shape = self.inside.astype(np.uint8)
        contours, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(shape, contours, -1, 1, cv2.FILLED)
        y, x = np.nonzero(filled)
        return np.asarray(np.column_stack([x + self.box.x0, y + self.box.y0]) + 0.5)


def assume(image: Image, part: PaintedPart, seen: tuple[Hand, ...]) -> Hand:
    """The relaxed hand for a painted part of a picture in which the hands `seen` were found.

    Its side is the other one beside a single hand, else that of a person who faces the viewer. A
    raised hand shows its palm, a hanging one its back, so that its thumb points to the body.
    """
    height, width = image.shape[:2]
    lie = find_lie(image, part)
    side: Handedness = "right" if lie.centre[0] < width / 2 else "left"
    if len(seen) == 1 and not seen[0].assumed:
        side = OTHER_SIDE[seen[0].handedness]
    return assume_hand(lie, side, bool(lie.towards[1] <= 0.0), (height, width))


def reconstruct_assumed(image: Image, hand: Hand, params: RefineParams) -> HandMesh | Refusal:
    """The open hand as it was assumed; the picture's outline is not asked about it."""
    return OpenHandReconstructor().reconstruct(image, hand, replace(params, outline=False))


def vary(hand: Hand) -> tuple[Hand, ...]:
    """The other ways in which an assumed hand may lie, from the likelier to the less likely.

    Of the other side in the same place with the same face, the other face of both, and all four
    pointing the other way.
    """
    same_way = (hand, _swap_side(hand), *map(_turn_face, (_swap_side(hand), hand)))
    return (*same_way, *map(_turn_round, same_way))


def _swap_side(hand: Hand) -> Hand:
    """Mirrored about its own axis: the thumb points the other way."""
    axis = hand.landmarks[MIDDLE_MCP] - hand.landmarks[WRIST]
    axis = axis / np.linalg.norm(axis)
    return _move(hand, 2 * np.outer(axis, axis) - np.eye(2), other_side=True)


def _turn_round(hand: Hand) -> Hand:
    return _move(hand, -np.eye(2), other_side=False)


def _turn_face(hand: Hand) -> Hand:
    """The same hand from its other side, so that the thumb points the other way."""
    mirrored = _swap_side(hand)
    return replace(
        mirrored,
        handedness=hand.handedness,
        landmark_depth=-mirrored.landmark_depth,
        world_landmarks=mirrored.world_landmarks * (1.0, 1.0, -1.0),
    )


def _move(hand: Hand, turn: FloatArray, other_side: bool) -> Hand:
    """The hand turned or mirrored in the picture about the middle of its extent."""
    middle = (hand.landmarks.min(axis=0) + hand.landmarks.max(axis=0)) / 2
    world = hand.world_landmarks.copy()
    world[:, :2] = world[:, :2] @ turn.T
    landmarks = (hand.landmarks - middle) @ turn.T
    landmarks -= (landmarks.min(axis=0) + landmarks.max(axis=0)) / 2
    return replace(
        hand,
        handedness=OTHER_SIDE[hand.handedness] if other_side else hand.handedness,
        landmarks=landmarks + middle,
        world_landmarks=world,
    )


def find_lie(image: Image, part: PaintedPart) -> Lie:
    """Place, direction and length of the hand that the part was painted for."""
    points = part.points()
    ends = _ends(points)
    wrist = ends[_choose_wrist(image, part, points, ends)]
    towards = -wrist
    along, across = points @ towards, points @ np.array([-towards[1], towards[0]])
    length, breadth = float(np.ptp(along)) + 1.0, float(np.ptp(across)) + 1.0
    length_px = ROOM * min(length, HAND_ASPECT * breadth)
    middle = (along.min() + along.max()) / 2
    if length > HAND_ASPECT * breadth:
        middle = along.max() - (1 - ROOM) / 2 * length_px - length_px / 2
    beside = (across.min() + across.max()) / 2
    centre = middle * towards + beside * np.array([-towards[1], towards[0]])
    return Lie(centre, towards, length_px)


def _ends(points: FloatArray) -> FloatArray:
    """(k, 2) unit vectors to where the wrist may be: both ends of the axis, or all round."""
    spread, axes = np.linalg.eigh(np.cov(points.T) + 1e-6 * np.eye(2))
    if np.sqrt(spread[1] / spread[0]) > ROUND:
        return np.stack([axes[:, 1], -axes[:, 1]])
    angles = np.arange(8) * np.pi / 4
    return np.round(np.column_stack([np.cos(angles), np.sin(angles)]), 12)


def _choose_wrist(image: Image, part: PaintedPart, points: FloatArray, ends: FloatArray) -> int:
    leaving = _leaves_picture(image, part)
    cut = float(np.linalg.norm(leaving)) / min(part.box.width, part.box.height)
    if cut > CUT_OFF:
        return int((ends @ leaving).argmax())
    contrast = np.array([_arm_contrast(image, part, points, end) for end in ends])
    best = int(contrast.argmax())
    rivals = contrast[ends @ ends[best] < 0.5]
    if contrast[best] > ARM_CONTRAST and contrast[best] > ARM_LEAD * rivals.max(initial=0.0):
        return best
    return int((ends @ leaving if cut > 0.0 else ends[:, 1]).argmax())


def _leaves_picture(image: Image, part: PaintedPart) -> FloatArray:
    """(2,) direction in which the part leaves the picture; its length: how much does, pixels."""
    height, width = image.shape[:2]
    near = round(EDGE_SHARE * max(height, width)) + 1
    x0, y0, x1, y1 = part.box
    inside = part.inside
    touching = {
        "left": inside[:, : max(near - x0, 0)],
        "top": inside[: max(near - y0, 0)],
        "right": inside[:, min(max(width - near - x0, 0), x1 - x0) :],
        "bottom": inside[min(max(height - near - y0, 0), y1 - y0) :],
    }
    length = {
        name: int(rows.any(axis=1 if name in ("left", "right") else 0).sum()) if rows.size else 0
        for name, rows in touching.items()
    }
    return sum((n * np.array(OUTWARDS[name]) for name, n in length.items()), np.zeros(2))


def _arm_contrast(image: Image, part: PaintedPart, points: FloatArray, end: FloatArray) -> float:
    """How much a band beyond an end differs from what lies on both sides of it (CIE Lab)."""
    beside = np.array([-end[1], end[0]])
    along, across = points @ end, points @ beside
    breadth, middle = float(np.ptp(across)), float(across.min() + across.max()) / 2
    out = along.max() + breadth * np.linspace(0.1, 0.6, 8)
    colours = [
        _colour(image, part, out, middle + breadth * np.linspace(low, high, 7), (end, beside))
        for low, high in ((-0.2, 0.2), (-1.0, -0.65), (0.65, 1.0))
    ]
    band, *flanks = colours
    if band is None or any(flank is None for flank in flanks):
        return 0.0
    return min(float(np.linalg.norm(band - flank)) for flank in flanks if flank is not None)


def _colour(
    image: Image,
    part: PaintedPart,
    along: FloatArray,
    across: FloatArray,
    axes: tuple[FloatArray, FloatArray],
) -> FloatArray | None:
    """(3,) median colour of a patch outside of the part; None where too little of it is there."""
    height, width = image.shape[:2]
    places = along[:, None, None] * axes[0] + across[None, :, None] * axes[1]
    x, y = np.floor(places.reshape(-1, 2)).astype(int).T
    shown = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    x, y = x[shown], y[shown]
    painted = np.zeros((height, width), dtype=bool)
    painted[part.box.slices] = part.inside
    free = ~painted[y, x]
    if free.sum() < places.shape[0] * places.shape[1] // 2:
        return None
    pixels = image[y[free], x[free]].astype(np.float32)[None] / 255.0
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]
    return np.asarray(np.median(lab, axis=0), dtype=np.float64)
