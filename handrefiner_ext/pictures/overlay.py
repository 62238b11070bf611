"""Draw what was found on the picture: boxes, landmarks, mesh outlines, scores."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from handrefiner_ext.report import number_meshes
from handrefiner_ext.topology import BONES
from handrefiner_ext.types import Box, FloatArray, HandLayer, HandMesh, Hints, Image

Colour = tuple[int, int, int]
HAND_COLOURS: tuple[Colour, ...] = ((0, 200, 255), (255, 170, 0), (120, 230, 60), (235, 90, 235))
REFUSED: Colour = (255, 64, 64)
BONE: Colour = (255, 255, 255)
EDGE: Colour = (0, 0, 0)
SUBPIXEL_BITS = 4
FONT = cv2.FONT_HERSHEY_SIMPLEX
LETTERS_PER_LINE = 34
PLAIN = str.maketrans({"×": "x", "–": "-", "’": "'", "°": " degrees"})
"""OpenCV's fonts know ASCII only."""


@dataclass(frozen=True)
class Pen:
    """Line width in pixels and text scale, which grow with the picture."""

    width: int
    text: float

    @classmethod
    def fit(cls, image: Image) -> Pen:
        short, long = sorted(image.shape[:2])
        width = 1 + round(min(long / 400, short / 100))
        return cls(width, text=max(0.35, min(long / 1600, short / 300)))

    @property
    def small(self) -> Pen:
        """Return the pen for longer texts."""
        return Pen(self.width, max(0.35, 0.7 * self.text))


def draw_overlay(image: Image, hints: Hints) -> Image:
    """Return a copy of `image` with every hand, its mesh's outline, and every refused box."""
    canvas: Image = image.copy()
    pen = Pen.fit(image)
    refusals = (*hints.detection.refused, *hints.refused)
    for refusal in refusals:
        _draw_box(canvas, refusal.box, REFUSED, pen)
    for number, (mesh, layer) in enumerate(zip(hints.meshes, hints.maps.layers, strict=True)):
        colour = HAND_COLOURS[number % len(HAND_COLOURS)]
        _draw_outline(canvas, layer, colour, pen)
        _draw_skeleton(canvas, mesh.hand.landmarks, colour, pen)
        _draw_box(canvas, mesh.hand.box, colour, pen)
    # Texts last, so that no line of another hand crosses them.
    for refusal in refusals:
        place = f"{refusal.number}: " if refusal.number else ""
        _write(canvas, refusal.box, place + refusal.reason, REFUSED, pen.small)
    for number, mesh in enumerate(hints.meshes):
        text = f"{number_meshes(hints.meshes)[number]} {mesh.handedness} {_describe_fit(mesh)}"
        _write(canvas, mesh.hand.box, text, HAND_COLOURS[number % len(HAND_COLOURS)], pen)
    return canvas


def _describe_fit(mesh: HandMesh) -> str:
    if mesh.hand.assumed:
        return "assumed"
    return f"{mesh.hand.score:.2f}, fit {mesh.reprojection_error:.1%}"


def _draw_box(canvas: Image, box: Box, colour: Colour, pen: Pen) -> None:
    corners = (box.x0, box.y0), (box.x1 - 1, box.y1 - 1)
    cv2.rectangle(canvas, *corners, EDGE, pen.width + 2)
    cv2.rectangle(canvas, *corners, colour, pen.width)


def _draw_outline(canvas: Image, layer: HandLayer, colour: Colour, pen: Pen) -> None:
    silhouette = np.isfinite(layer.depth).astype(np.uint8)
    if not silhouette.any():
        return
    contours, _ = cv2.findContours(
        silhouette, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(layer.box.x0, layer.box.y0)
    )
    cv2.drawContours(canvas, contours, -1, EDGE, pen.width + 2, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, colour, pen.width, cv2.LINE_AA)


def _draw_skeleton(canvas: Image, landmarks: FloatArray, colour: Colour, pen: Pen) -> None:
    # A pixel's centre is (0.5, 0.5) here and (0, 0) in OpenCV.
    shifted = np.clip((landmarks - 0.5) * (1 << SUBPIXEL_BITS), -(1 << 24), 1 << 24)
    points = [(int(x), int(y)) for x, y in np.rint(shifted)]
    for line_colour, width in ((EDGE, pen.width + 2), (BONE, pen.width)):
        for start, end in BONES:
            cv2.line(
                canvas, points[start], points[end], line_colour, width, cv2.LINE_AA, SUBPIXEL_BITS
            )
    radius = (pen.width + 1) << SUBPIXEL_BITS
    for point in points:
        cv2.circle(canvas, point, radius, colour, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _write(canvas: Image, box: Box, text: str, colour: Colour, pen: Pen) -> None:
    """Write above the box if there is room, or else inside its top, moved into the picture.

    A picture that is too small gets no text: the JSON file says it too.
    """
    plain = text.translate(PLAIN).encode("ascii", "replace").decode("ascii")
    lines = textwrap.wrap(plain, LETTERS_PER_LINE) or [""]
    thickness = max(1, round(pen.text * 1.6))
    width, height = _measure(lines, pen.text, thickness)
    margin = pen.width + 2
    if width + 2 * margin > canvas.shape[1] or height * len(lines) + margin > canvas.shape[0]:
        return
    x0 = max(0, min(box.x0, canvas.shape[1] - width - 2 * margin))
    above = box.y0 - height * len(lines) - margin
    y0 = above if above >= 0 else max(0, min(box.y0, canvas.shape[0] - height * len(lines)))
    corner = (x0 + width + 2 * margin, y0 + height * len(lines) + margin - 1)
    cv2.rectangle(canvas, (x0, y0), corner, colour, cv2.FILLED)
    for row, line in enumerate(lines):
        at = (x0 + margin, y0 + round((row + 0.75) * height) + margin // 2)
        cv2.putText(canvas, line, at, FONT, pen.text, EDGE, thickness, cv2.LINE_AA)


def _measure(lines: Sequence[str], scale: float, thickness: int) -> tuple[int, int]:
    """Return the width of the widest line and the height of one, in pixels."""
    sizes = [cv2.getTextSize(line, FONT, scale, thickness) for line in lines]
    return max(s[0][0] for s in sizes), max(round(1.5 * s[0][1]) + s[1] // 2 for s in sizes)
