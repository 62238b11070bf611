"""Skin and stuff at points of a surface: tone, lines, nails, cloth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray

Floats = NDArray[np.float32]
GAMMA = 2.2
TONES = np.array(
    [
        *([255, 228, 212], [248, 208, 182], [234, 186, 154], [216, 162, 124], [186, 130, 92]),
        *([150, 99, 66], [110, 70, 47], [76, 49, 35], [50, 33, 26]),
    ]
)
"""sRGB of skin from the palest to the darkest."""
ODD_TONES = np.array(
    [[120, 190, 120], [120, 150, 215], [175, 130, 205], [205, 90, 80], [165, 165, 172]]
)
"""Skin of beings that people like to draw: green, blue, violet, red, grey."""
PALM_LINES = (
    ((-0.034, -0.078), (-0.016, -0.068), (-0.006, -0.048), (-0.004, -0.026), (-0.010, -0.006)),
    ((-0.034, -0.078), (-0.012, -0.068), (0.010, -0.056), (0.032, -0.040)),
    ((0.043, -0.064), (0.026, -0.076), (0.006, -0.082), (-0.010, -0.096)),
)
"""Lines of the palm, x and y in the open hand's frame, metres."""
MAP_PX_PER_M = 4000.0
MAP_CORNER = np.array([-0.085, -0.19])
MAP_SIZE = (680, 1000)
NOISE_SIDE = 64
NAIL_LENGTH, NAIL_WIDTH = 0.0060, 0.0050
"""Half of a nail's length and width, metres."""


@dataclass(frozen=True)
class Skin:
    """tone: (3,) linear RGB. palm: (3,) of the palm. redness, blotches, lines: strengths.

    nail: (3,) linear RGB, painted: whether nails have a colour of their own. nail_length: factor.
    """

    tone: Floats
    palm: Floats
    redness: float
    blotches: float
    lines: float
    nail: Floats
    painted: bool
    nail_length: float


def linear(rgb: FloatArray) -> Floats:
    """8-bit colours -> linear light 0..1."""
    return np.asarray((np.asarray(rgb, dtype=np.float32) / 255.0) ** GAMMA, dtype=np.float32)


def sample_skin(rng: np.random.Generator, painted: bool) -> Skin:
    """The whole range of human tones evenly, and now and then one of no human."""
    place = rng.uniform(0, len(TONES) - 1)
    low = int(min(place, len(TONES) - 2))
    tone = TONES[low] + (place - low) * (TONES[low + 1] - TONES[low])
    if rng.uniform() < 0.04:
        tone = ODD_TONES[int(rng.integers(len(ODD_TONES)))] * rng.uniform(0.7, 1.15)
    tone = np.clip(tone * (1.0 + rng.normal(size=3) * (0.02, 0.02, 0.035)), 8, 255)
    albedo = linear(tone)
    dark = float(np.clip(place / (len(TONES) - 1), 0.0, 1.0))
    light_palm = 0.75 * albedo**0.7 + np.array([0.10, 0.045, 0.035], np.float32)
    palm = albedo + (light_palm - albedo) * np.float32(0.25 + 0.6 * dark)
    nail = np.minimum(0.7 * palm + np.array([0.16, 0.08, 0.08], np.float32), 1.0)
    if painted:
        nail = linear(rng.uniform(0, 255, 3))
    return Skin(
        albedo,
        np.minimum(palm, 1.0),
        float(rng.uniform(0.1, 1.1)),
        float(rng.uniform(0.02, 0.10)),
        float(rng.choice([rng.uniform(0.0, 0.3), rng.uniform(0.4, 1.3)])),
        nail,
        painted,
        float(rng.uniform(0.85, 1.15) if rng.uniform() < 0.8 else rng.uniform(1.2, 1.5)),
    )


@cache
def noise_volume() -> Floats:
    """(n, n, n) smooth noise of unit deviation that repeats; always the same."""
    rng = np.random.default_rng(20240)
    volume = rng.normal(size=(NOISE_SIDE,) * 3)
    kernel = np.exp(-0.5 * (np.arange(-3, 4) / 1.3) ** 2)
    for axis in range(3):
        parts = [w * np.roll(volume, s, axis) for s, w in zip(range(-3, 4), kernel, strict=True)]
        volume = np.sum(parts, axis=0)
    return np.asarray(volume / volume.std(), dtype=np.float32)


def noise_at(points: Floats, period: float) -> Floats:
    """(p,) noise at (p, 3) points, with lumps of about `period`."""
    cells = (points * np.float32(3.0 / period)).astype(np.int32) % NOISE_SIDE
    return np.asarray(noise_volume()[cells[:, 0], cells[:, 1], cells[:, 2]])


@cache
def palm_line_map() -> Floats:
    """(h, w) 0..1: the palm's lines, looked at from the palm."""
    width, height = MAP_SIZE
    picture = np.zeros((height, width), dtype=np.float32)
    for line in PALM_LINES:
        points = np.array(line)
        t, dense = np.arange(len(points)), np.linspace(0, len(points) - 1, 80)
        fits = [np.polyfit(t, points[:, k], 3) for k in range(2)]
        curve = np.column_stack([np.polyval(fit, dense) for fit in fits])
        pixels = np.rint((curve - MAP_CORNER) * MAP_PX_PER_M).astype(np.int32)
        cv2.polylines(picture, [pixels], False, 1.0, 4, cv2.LINE_AA)
    blurred = cv2.GaussianBlur(picture, (0, 0), 2.2)
    return np.asarray(blurred / blurred.max(), dtype=np.float32)


def skin_lines(values: Floats) -> Floats:
    """(p,) 0..1 creases at samples: of the palm, of the joints inside, wrinkles of the knuckles."""
    rest, palmar, along, finger = values[:, :3], values[:, 3], values[:, 4], values[:, 7]
    lines = np.zeros(len(values), dtype=np.float32)
    wobble = 0.03 * noise_at(rest, 0.012)
    inside = np.flatnonzero((palmar > 0.05) & (finger > 0.4))
    s = along[inside] + wobble[inside]
    folds = _fold(s, 0.30, 0.028) + _fold(s, 1.0, 0.035) + 0.7 * _fold(s, 1.12, 0.03)
    folds += 0.9 * _fold(s, 2.0, 0.04)
    lines[inside] = folds * np.clip(3.0 * palmar[inside], 0.0, 1.0)
    back = np.flatnonzero((palmar < -0.05) & (finger > 0.4))
    s = along[back] + 0.6 * wobble[back]
    for joint, width, count in ((1.0, 0.20, 9.0), (2.0, 0.13, 12.0)):
        wave = 0.5 + 0.5 * np.cos(2 * np.pi * count * (s - joint))
        near = np.exp(-(((s - joint) / width) ** 2))
        lines[back] += 0.55 * near * wave**2 * np.clip(-2.5 * palmar[back], 0.0, 1.0)
    palm = np.flatnonzero((palmar > 0.1) & (finger < 0.6))
    at = (rest[palm, :2] - MAP_CORNER.astype(np.float32)) * np.float32(MAP_PX_PER_M)
    column = np.clip(at[:, 0], 0, MAP_SIZE[0] - 1).astype(np.int32)
    row = np.clip(at[:, 1], 0, MAP_SIZE[1] - 1).astype(np.int32)
    lines[palm] = np.maximum(lines[palm], palm_line_map()[row, column])
    return np.clip(lines, 0.0, 1.0)


def _fold(along: Floats, at: float, width: float) -> Floats:
    return np.asarray(np.exp(-(((along - at) / width) ** 2)), dtype=np.float32)


def nail_cover(values: Floats, length: float) -> Floats:
    """(p,) 0..1: where nails are; 1 well inside."""
    along, across, palmar = values[:, 5], values[:, 6], values[:, 3]
    ends = np.abs(along / (NAIL_LENGTH * length)) ** 3 + np.abs(across / NAIL_WIDTH) ** 3
    facing = np.clip((-palmar - 0.15) / 0.2, 0.0, 1.0)
    return np.asarray(np.clip((1.0 - ends) / 0.25, 0.0, 1.0) * facing, dtype=np.float32)


def skin_albedo(values: Floats, skin: Skin, lines: Floats) -> Floats:
    """(p, 3) linear RGB, without nails."""
    rest, palmar, along, finger = values[:, :3], values[:, 3], values[:, 4], values[:, 7]
    inside = np.clip(0.5 + 1.4 * palmar, 0.0, 1.0)[:, None]
    colour = skin.tone + inside * (skin.palm - skin.tone)
    red = finger * (np.clip(along - 2.2, 0.0, 0.8) + 0.5 * _fold(along, 1.0, 0.25))
    red += 0.3 * _fold(along, 0.0, 0.35) + 0.10 * noise_at(rest, 0.02)
    share = (skin.redness * np.clip(red, 0.0, 1.0))[:, None]
    colour = colour * (1.0 - share * np.array([0.02, 0.22, 0.20], np.float32))
    blotch = noise_at(rest, 0.009) + 0.6 * noise_at(rest, 0.004)
    colour = colour * np.exp(np.float32(skin.blotches) * blotch)[:, None]
    dark = np.array([0.20, 0.34, 0.34], np.float32) * np.float32(skin.lines)
    return np.asarray(np.clip(colour * (1.0 - np.minimum(lines[:, None] * dark, 0.8)), 0, 1))


@dataclass(frozen=True)
class Stuff:
    """What a thing is made of. colours: (2, 3) linear RGB. pattern: of `PATTERNS`. gloss: 0..1.

    period: of the pattern. metal: whether it mirrors its surroundings.
    """

    colours: Floats
    pattern: str
    period: float
    gloss: float
    metal: bool = False


PATTERNS = ("plain", "stripes", "rings", "checks", "knit")
METALS = np.array([[212, 175, 95], [200, 200, 205], [214, 160, 130]])
SCREEN, BODY = np.array([20, 24, 34]), np.array([235, 235, 240])


def sample_stuff(rng: np.random.Generator, material: str) -> Stuff:
    """What a part of this material is made of."""
    if material == "metal":
        colour = linear(METALS[int(rng.integers(len(METALS)))])
        return Stuff(np.stack([colour, colour]), "plain", 1.0, 0.9, True)
    colours = linear(_sample_colours(rng))
    if material == "cloth":
        pattern = str(rng.choice(PATTERNS, p=[0.4, 0.12, 0.16, 0.12, 0.2]))
        return Stuff(colours, pattern, float(rng.uniform(0.006, 0.03)), 0.03)
    if material == "ball":
        pattern = str(rng.choice(["plain", "stripes", "rings"], p=[0.6, 0.2, 0.2]))
        return Stuff(colours, pattern, float(rng.uniform(0.012, 0.03)), float(rng.uniform(0, 0.7)))
    if material == "phone":
        return Stuff(linear(np.stack([SCREEN, colours[0] * 255])), "phone", 1.0, 0.8)
    if material == "dial":
        return Stuff(linear(np.stack([BODY * rng.uniform(0.1, 1), SCREEN])), "plain", 1.0, 0.6)
    return Stuff(colours, "plain", 0.02, float(rng.uniform(0.0, 0.6)))


def _sample_colours(rng: np.random.Generator) -> FloatArray:
    """(2, 3) 8-bit: one colour, grey or near black or bright, and a second one."""
    first = rng.uniform(10, 250, 3)
    if rng.uniform() < 0.35:
        first = np.full(3, rng.choice([rng.uniform(10, 60), rng.uniform(60, 245)]))
        first = np.clip(first + rng.normal(size=3) * 6, 3, 255)
    second = np.clip(first * rng.uniform(0.3, 0.7), 3, 255)
    if rng.uniform() < 0.5:
        second = rng.uniform(20, 250, 3)
    return np.stack([first, second])


def stuff_albedo(texture: Floats, stuff: Stuff) -> tuple[Floats, Floats]:
    """(p, 3) linear RGB and (p,) height for bumps, 0..1, at (p, 3) texture coordinates."""
    turn, along = texture[:, 0], texture[:, 1]
    height = np.zeros(len(texture), dtype=np.float32)
    if stuff.pattern == "phone":
        share = (np.abs(texture[:, :2]).max(axis=1) < 0.46) & (texture[:, 2] > 0.4)
        share = 1.0 - share.astype(np.float32)
    elif stuff.pattern == "stripes":
        share = _wave(turn * 16.0, sharp=True)
    elif stuff.pattern == "rings":
        share = _wave(along / stuff.period, sharp=True)
    elif stuff.pattern == "checks":
        share = 0.5 * _wave(turn * 12.0, sharp=True) + 0.5 * _wave(along / stuff.period, sharp=True)
    elif stuff.pattern == "knit":
        slant = 0.32 * np.abs(((along * 330.0) % 1.0) * 2.0 - 1.0)
        height = np.abs(np.sin(np.pi * (54.0 * turn + slant))).astype(np.float32)
        share = 0.5 * (1.0 - height)
    else:
        share = np.zeros(len(texture), dtype=np.float32)
    colour = stuff.colours[0] + share[:, None] * (stuff.colours[1] - stuff.colours[0])
    return np.asarray(colour, dtype=np.float32), height


def _wave(phase: Floats, sharp: bool) -> Floats:
    wave = np.sin(2 * np.pi * phase)
    return np.asarray(np.clip(0.5 + (4.0 if sharp else 0.5) * wave, 0.0, 1.0), dtype=np.float32)
