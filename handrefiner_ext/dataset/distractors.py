"""Things that are no hands but have their colours or shapes: limbs, faces, rakes, twigs, cloth."""

from __future__ import annotations

import cv2
import numpy as np

from handrefiner_ext.dataset.plain import SKIN_TONES
from handrefiner_ext.types import FloatArray, Image

FINE_BITS = 4
"""Fraction bits of OpenCV's points: sixteenths of a pixel."""
SMALLEST, LARGEST = 0.05, 0.4
"""Size of a thing in long sides of the picture."""


def draw_distractors(rng: np.random.Generator, image: Image, count: int) -> Image:
    """The picture with `count` things on it."""
    picture: Image = image.copy()
    drawers = (draw_limb, draw_face, draw_rake, draw_twig, draw_cloth)
    for _ in range(count):
        share = np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST)))
        centre = rng.uniform((0, 0), (image.shape[1], image.shape[0]))
        draw = drawers[int(rng.integers(len(drawers)))]
        draw(rng, picture, centre, float(share) * max(image.shape[:2]))
    return picture


def draw_limb(rng: np.random.Generator, picture: Image, centre: FloatArray, size: float) -> None:
    """An arm or leg without a hand: a bent, tapering tube of skin, round by its shading."""
    upper = rng.uniform(0, 2 * np.pi)
    angles = np.repeat([upper, upper + 0.8 * rng.normal()], 40)
    along = np.linspace(-0.5, 0.5, 80)
    points = centre + size * along[:, None] * _directions(angles)
    radii = size * rng.uniform(0.06, 0.12) * (1 - 0.5 * along)
    skin, light = _skin(rng), _directions(rng.uniform(0, 2 * np.pi))
    for part in np.linspace(0, 0.8, 8):
        for point, radius in zip(points, radii, strict=True):
            middle = point + part * 0.6 * radius * light
            _fill_circle(picture, middle, (1 - part) * radius, skin * (0.6 + 0.4 * part))


def draw_face(rng: np.random.Generator, picture: Image, centre: FloatArray, size: float) -> None:
    """Hair, face, eyes and mouth, tilted."""
    turn, skin = rng.normal() * 0.4, _skin(rng)
    right, down = _directions(turn), _directions(turn + np.pi / 2)
    hair = rng.uniform(10, 140) * np.array([1.0, 0.8, 0.6])
    _fill_ellipse(picture, centre - 0.12 * size * down, (0.4 * size, 0.46 * size), turn, hair)
    _fill_ellipse(picture, centre, (0.32 * size, 0.42 * size), turn, skin)
    for side in (-1, 1):
        eye = centre + size * (0.12 * side * right - 0.08 * down)
        _fill_ellipse(picture, eye, (0.06 * size, 0.03 * size), turn, np.full(3, 240.0))
        _fill_circle(picture, eye, 0.028 * size, np.array([60.0, 40.0, 30.0]))
    lips = np.array([170.0, 70.0, 70.0])
    _fill_ellipse(picture, centre + 0.2 * size * down, (0.1 * size, 0.03 * size), turn, lips)


def draw_rake(rng: np.random.Generator, picture: Image, centre: FloatArray, size: float) -> None:
    """Three to nine parallel rods on a bar, as in a rake, a fork or a fence."""
    turn, count = rng.uniform(0, 2 * np.pi), int(rng.integers(3, 10))
    right, down = _directions(turn), _directions(turn + np.pi / 2)
    colour = _skin(rng) if rng.uniform() < 0.5 else rng.uniform(0, 255, 3)
    thick = max(1.0, size * rng.uniform(0.3, 0.6) / count)
    _draw_line(picture, centre - 0.5 * size * right, centre + 0.5 * size * right, thick, colour)
    for place in np.linspace(-0.5, 0.5, count):
        start = centre + place * size * right
        reach = size * rng.uniform(0.5, 0.7)
        _draw_line(picture, start, start + reach * down, thick, colour)
        shine = start + 0.2 * thick * right
        _draw_line(picture, shine, shine + 0.97 * reach * down, 0.4 * thick, 0.8 * colour + 50)


def draw_twig(rng: np.random.Generator, picture: Image, centre: FloatArray, size: float) -> None:
    """A branch that forks four times."""
    brown = rng.uniform(0.5, 1.5) * np.array([110.0, 85.0, 60.0])
    tips = [(centre, rng.uniform(0, 2 * np.pi), 0.4 * size)]
    while tips:
        start, angle, length = tips.pop()
        end = start + length * _directions(angle)
        _draw_line(picture, start, end, max(1.0, 0.14 * length), brown)
        if length > 0.07 * size:
            turns = rng.uniform(0.15, 0.7, 2) * (-1, 1)
            tips += [(end, angle + turn, 0.7 * length) for turn in turns]


def draw_cloth(rng: np.random.Generator, picture: Image, centre: FloatArray, size: float) -> None:
    """A turned square of checks in two colours."""
    turn, count = rng.uniform(0, 2 * np.pi), int(rng.integers(4, 12))
    right, down = _directions(turn), _directions(turn + np.pi / 2)
    colours = rng.uniform(0, 255, (2, 3))
    lines = np.linspace(-0.5, 0.5, count + 1) * size
    for i in range(count):
        for j in range(count):
            corners = [(lines[i + a], lines[j + b]) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
            points = np.array([centre + x * right + y * down for x, y in corners])
            fixed = np.rint(points * 2**FINE_BITS).astype(np.int32)
            colour = _to_tuple(colours[(i + j) % 2])
            cv2.fillConvexPoly(picture, fixed, colour, cv2.LINE_AA, FINE_BITS)


def _directions(angle: float | FloatArray) -> FloatArray:
    """(..., 2) unit vectors."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _skin(rng: np.random.Generator) -> FloatArray:
    return np.asarray(SKIN_TONES[int(rng.integers(len(SKIN_TONES)))] * rng.uniform(0.85, 1.0))


def _to_tuple(colour: FloatArray) -> tuple[float, ...]:
    return tuple(float(c) for c in np.clip(colour, 0, 255))


def _fix(*numbers: float) -> tuple[int, ...]:
    return tuple(round(float(n) * 2**FINE_BITS) for n in numbers)


def _fill_circle(picture: Image, point: FloatArray, radius: float, colour: FloatArray) -> None:
    (fixed,) = _fix(max(radius, 0.5))
    cv2.circle(picture, _fix(*point), fixed, _to_tuple(colour), -1, cv2.LINE_AA, FINE_BITS)


def _fill_ellipse(
    picture: Image, point: FloatArray, radii: tuple[float, float], turn: float, colour: FloatArray
) -> None:
    place, half, degrees = _fix(*point), _fix(*radii), float(np.degrees(turn))
    paint = _to_tuple(colour)
    cv2.ellipse(picture, place, half, degrees, 0, 360, paint, -1, cv2.LINE_AA, FINE_BITS)


def _draw_line(
    picture: Image, start: FloatArray, end: FloatArray, thick: float, colour: FloatArray
) -> None:
    width, paint = max(1, round(thick)), _to_tuple(colour)
    cv2.line(picture, _fix(*start), _fix(*end), paint, width, cv2.LINE_AA, FINE_BITS)
