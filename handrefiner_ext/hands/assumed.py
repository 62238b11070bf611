"""Assume a relaxed hand in a part of the picture that the user painted.

The painted part gives place, size and axis. The wrist is taken to be where the picture's edge cuts
the part off, else where an arm seems to continue, else where the part touches the edge, else at the
lower end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.mesh.open_hand.backend import HandExtent, assume_hand
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
"""Length of the hand in lengths of the part: people paint a little beyond the hand."""
HAND_ASPECT = 1.8
"""Length over breadth of a hand's landmarks; a longer part includes some of the arm."""
ROUND = 1.25
"""Length over breadth up to which a part is too round to have an axis."""
EDGE_SHARE = 0.01
"""A part this near the picture's edge counts as touching it, in long sides of the picture."""
CUT_OFF = 0.5
"""If this share of the part's breadth lies on the picture's edge, the edge cuts an arm off."""
ARM_CONTRAST, ARM_LEAD = 12.0, 1.5
"""Least difference (CIE Lab) of an arm from its sides, and by which factor other ends must show
less."""
OUTWARDS = {"left": (-1.0, 0.0), "top": (0.0, -1.0), "right": (1.0, 0.0), "bottom": (0.0, 1.0)}


@dataclass(frozen=True)
class PaintedPart:
    """One connected part of a drawn mask. inside: (box.height, box.width) bool."""

    box: Box
    inside: Mask

    def points(self) -> FloatArray:
        """Return the (n, 2) centres of its pixels, those in its holes included."""
        shape = self.inside.astype(np.uint8)
        contours, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(shape, contours, -1, 1, cv2.FILLED)
        y, x = np.nonzero(filled)
        return np.asarray(np.column_stack([x + self.box.x0, y + self.box.y0]) + 0.5)


def assume(image: Image, part: PaintedPart, seen: tuple[Hand, ...]) -> Hand:
    """Return a relaxed hand for a painted part.

    Beside a single hand of `seen`, the hands found in the picture, it is the other hand; otherwise
    it is on the side where a person who faces the viewer would have it. A raised hand shows its
    palm, a hanging one its back, so that its thumb points to the body.
    """
    height, width = image.shape[:2]
    extent = find_extent(image, part)
    side: Handedness = "right" if extent.centre[0] < width / 2 else "left"
    if len(seen) == 1 and not seen[0].assumed:
        side = OTHER_SIDE[seen[0].handedness]
    return assume_hand(extent, side, bool(extent.towards[1] <= 0.0), (height, width))


def reconstruct_assumed(image: Image, hand: Hand, params: RefineParams) -> HandMesh | Refusal:
    """Return the open hand in the assumed pose; the picture's outline is not used.

    What is drawn there is not this hand, so its outline would pull the mesh out of shape.
    """
    return OpenHandReconstructor().reconstruct(image, hand, replace(params, outline=False))


def list_variants(hand: Hand) -> tuple[Hand, ...]:
    """Return the other poses that an assumed hand may have, the likelier ones first.

    These are the hand of the other side with the same face (palm or back), the other face of both,
    and all four pointing the other way.
    """
    same_way = (hand, _swap_side(hand), *map(_turn_face, (_swap_side(hand), hand)))
    return (*same_way, *map(_turn_round, same_way))


def _swap_side(hand: Hand) -> Hand:
    """Mirror the hand about its own axis, so that the thumb points the other way."""
    axis = hand.landmarks[MIDDLE_MCP] - hand.landmarks[WRIST]
    axis = axis / np.linalg.norm(axis)
    return _move(hand, 2 * np.outer(axis, axis) - np.eye(2), other_side=True)


def _turn_round(hand: Hand) -> Hand:
    """Turn the hand by 180 degrees in the picture."""
    return _move(hand, -np.eye(2), other_side=False)


def _turn_face(hand: Hand) -> Hand:
    """Show the hand's other face: palm for back, so that the thumb points the other way."""
    mirrored = _swap_side(hand)
    return replace(
        mirrored,
        handedness=hand.handedness,
        landmark_depth=-mirrored.landmark_depth,
        world_landmarks=mirrored.world_landmarks * (1.0, 1.0, -1.0),
    )


def _move(hand: Hand, turn: FloatArray, other_side: bool) -> Hand:
    """Turn or mirror the hand in the picture about the middle of its extent.

    turn: (2, 2), applied to points in the picture.
    """
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


def find_extent(image: Image, part: PaintedPart) -> HandExtent:
    """Return place, direction and length of the hand that the part was painted for."""
    points = part.points()
    ends = _list_ends(points)
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
    return HandExtent(centre, towards, length_px)


def _list_ends(points: FloatArray) -> FloatArray:
    """Return (k, 2) unit vectors to where the wrist may be.

    These are both ends of the part's axis, or eight directions if it is round.
    """
    spread, axes = np.linalg.eigh(np.cov(points.T) + 1e-6 * np.eye(2))
    if np.sqrt(spread[1] / spread[0]) > ROUND:
        return np.stack([axes[:, 1], -axes[:, 1]])
    angles = np.arange(8) * np.pi / 4
    return np.round(np.column_stack([np.cos(angles), np.sin(angles)]), 12)


def _choose_wrist(image: Image, part: PaintedPart, points: FloatArray, ends: FloatArray) -> int:
    """Return which of `ends` is the wrist's."""
    leaving = _find_way_out(image, part)
    cut = float(np.linalg.norm(leaving)) / min(part.box.width, part.box.height)
    if cut > CUT_OFF:
        return int((ends @ leaving).argmax())
    contrast = np.array([_measure_arm_contrast(image, part, points, end) for end in ends])
    best = int(contrast.argmax())
    rivals = contrast[ends @ ends[best] < 0.5]
    if contrast[best] > ARM_CONTRAST and contrast[best] > ARM_LEAD * rivals.max(initial=0.0):
        return best
    return int((ends @ leaving if cut > 0.0 else ends[:, 1]).argmax())


def _find_way_out(image: Image, part: PaintedPart) -> FloatArray:
    """Return the (2,) direction in which the part leaves the picture.

    Its length is how many pixels of the part lie on the picture's edge.
    """
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


def _measure_arm_contrast(
    image: Image, part: PaintedPart, points: FloatArray, end: FloatArray
) -> float:
    """Return how much a band beyond an end differs from what is on both sides of it (CIE Lab)."""
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
    """Return the (3,) median colour of a patch outside the part; None if too little is visible."""
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
