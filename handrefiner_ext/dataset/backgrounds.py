"""What lies behind the hands: made of formulas, or cut from pictures of the user's own."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray, Image

Floats = NDArray[np.float32]
Background = Callable[[np.random.Generator, int], Floats]


def sample_background(rng: np.random.Generator, size: int) -> Floats:
    """(size, size, 3) linear RGB."""
    names = list(BACKGROUNDS)
    return BACKGROUNDS[names[int(rng.integers(len(names)))]](rng, size)


def crop_background(rng: np.random.Generator, picture: Image, size: int) -> Floats:
    """A random part of a picture, (size, size, 3) linear RGB."""
    height, width = picture.shape[:2]
    side = max(1, int(min(height, width) * rng.uniform(0.5, 1.0)))
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    part = picture[y : y + side, x : x + side]
    if rng.uniform() < 0.5:
        part = part[:, ::-1]
    method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    scaled = cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=method)
    light = np.clip(scaled.astype(np.float32) / 255.0, 0.0, 1.0) ** 2.2
    blur = float(rng.choice([0.0, rng.uniform(0.5, 6.0)]))
    return np.asarray(cv2.GaussianBlur(light, (0, 0), blur) if blur > 0 else light)


def _colour(rng: np.random.Generator) -> FloatArray:
    """Linear RGB: greyish more often than bright."""
    grey = rng.uniform(0.01, 0.85)
    return np.asarray(
        np.clip(grey * (1.0 + rng.normal(size=3) * rng.choice([0.08, 0.4])), 0.005, 1.0)
    )


def _gradient(rng: np.random.Generator, size: int) -> Floats:
    corners = np.stack([_colour(rng) for _ in range(4)]).reshape(2, 2, 3)
    middle = corners.mean(axis=(0, 1))
    eased = (middle + rng.uniform(0.2, 1.0) * (corners - middle)).astype(np.float32)
    return np.asarray(cv2.resize(eased, (size, size), interpolation=cv2.INTER_LINEAR))


def make_plain(rng: np.random.Generator, size: int) -> Floats:
    """One colour, a little uneven."""
    return (_colour(rng) * (1.0 + 0.08 * _clouds(rng, size, 3)[..., None])).astype(np.float32)


def make_shapes(rng: np.random.Generator, size: int) -> Floats:
    """A gradient with soft circles and boxes."""
    picture = _gradient(rng, size)
    for _ in range(int(rng.integers(3, 14))):
        layer = picture.copy()
        x, y = (int(v) for v in rng.integers(0, size, 2))
        radius = int(rng.uniform(0.03, 0.35) * size) + 1
        colour = [float(c) for c in _colour(rng)]
        if rng.uniform() < 0.5:
            cv2.circle(layer, (x, y), radius, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(layer, (x, y), (x + radius, y + 2 * radius), colour, -1)
        share = rng.uniform(0.3, 1.0)
        picture = picture + np.float32(share) * (layer - picture)
    return _defocus(rng, picture)


def make_lamps(rng: np.random.Generator, size: int) -> Floats:
    """Lamps far out of focus on a dark ground."""
    picture = _gradient(rng, size) * np.float32(rng.uniform(0.1, 0.6))
    for _ in range(int(rng.integers(8, 40))):
        disc = np.zeros((size, size), dtype=np.float32)
        centre = tuple(int(v) for v in rng.integers(0, size * 8, 2))
        cv2.circle(disc, centre, int(rng.uniform(0.01, 0.07) * size * 8), 1.0, -1, cv2.LINE_AA, 3)
        warm = np.array([1.0, rng.uniform(0.4, 0.95), rng.uniform(0.15, 0.9)])
        picture += disc[..., None] * (warm * rng.uniform(0.05, 0.4)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), size / 340))


def make_room(rng: np.random.Generator, size: int) -> Floats:
    """Walls and a floor with straight edges, a window or a picture, a piece of furniture."""
    picture = _gradient(rng, size)
    horizon = int(rng.uniform(0.4, 0.9) * size)
    floor = _colour(rng).astype(np.float32)
    picture[horizon:] = (
        floor * np.linspace(0.7, 1.1, size - horizon, dtype=np.float32)[:, None, None]
    )
    for _ in range(int(rng.integers(1, 5))):
        x, y = (int(v) for v in rng.integers(-size // 4, size, 2))
        wide, high = (int(v) for v in rng.uniform(0.08, 0.5, 2) * size)
        colour = [float(c) for c in _colour(rng)]
        frame = [float(c) for c in _colour(rng) * 0.5]
        cv2.rectangle(picture, (x, y), (x + wide, y + high), colour, -1)
        cv2.rectangle(picture, (x, y), (x + wide, y + high), frame, max(1, size // 120))
    return _defocus(rng, picture)


def make_foliage(rng: np.random.Generator, size: int) -> Floats:
    """Leaves, grass or hair: many strokes in neighbouring colours."""
    base = _colour(rng) * (0.6, 1.0, 0.5) if rng.uniform() < 0.6 else _colour(rng)
    picture = np.ones((size, size, 3), dtype=np.float32) * (0.4 * base).astype(np.float32)
    turn, spread = rng.uniform(0, np.pi), rng.uniform(0.1, 1.6)
    for _ in range(int(rng.integers(150, 500))):
        angle, length = turn + rng.normal() * spread, rng.uniform(0.03, 0.16) * size
        start = rng.uniform(0, size, 2)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        colour = [float(c) for c in np.clip(base * rng.uniform(0.3, 1.6), 0, 1)]
        here, there = ([int(v) for v in p] for p in (start, end))
        cv2.line(picture, here, there, colour, int(rng.integers(1, 2 + size // 60)), cv2.LINE_AA)
    return _defocus(rng, picture)


def make_texture(rng: np.random.Generator, size: int) -> Floats:
    """Clouds of noise under stripes, checks or grain, as of stone, wood, paper, cloth."""
    one, two = _colour(rng), _colour(rng)
    cloud = sum(_clouds(rng, size, cells) * cells**-0.5 for cells in (3, 8, 24, 80))
    share = np.clip(0.5 + 0.4 * cloud, 0.0, 1.0)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    turn, period = rng.uniform(0, np.pi), rng.uniform(0.02, 0.2) * size
    along = (x * np.cos(turn) + y * np.sin(turn)) + 0.3 * period * cloud
    across = y * np.cos(turn) - x * np.sin(turn)
    wave = np.sin(2 * np.pi * along / period)
    kind = rng.integers(3)
    if kind == 0:
        wave = np.sign(wave) * np.sign(np.sin(2 * np.pi * across / period))
    share = np.clip(share + (0.0 if kind == 2 else rng.uniform(0.1, 0.5)) * wave, 0.0, 1.0)
    picture = one + share[..., None] * (two - one)
    return _defocus(rng, picture.astype(np.float32))


def make_body(rng: np.random.Generator, size: int) -> Floats:
    """Clothes close behind the hand: large folds, perhaps bare skin beside them."""
    from handrefiner_ext.dataset.textures import TONES, linear

    colour = _colour(rng)
    folds = np.sum([_clouds(rng, size, cells) for cells in (2, 4, 7)], axis=0)
    picture = (colour * (0.75 + 0.22 * folds[..., None])).astype(np.float32)
    if rng.uniform() < 0.5:
        skin = linear(TONES[int(rng.integers(len(TONES)))])
        mask = np.zeros((size, size), dtype=np.float32)
        centre = tuple(int(v) for v in rng.uniform(0, size, 2))
        axes = tuple(int(v) for v in rng.uniform(0.12, 0.5, 2) * size)
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
        shaded = skin * (0.8 + 0.15 * _clouds(rng, size, 3)[..., None])
        picture = picture + mask[..., None] * (shaded - picture)
    return _defocus(rng, np.clip(picture, 0.0, 1.5).astype(np.float32))


def make_sky(rng: np.random.Generator, size: int) -> Floats:
    """Sky with clouds above hills."""
    top, low = np.array([0.1, 0.25, 0.6]), np.array([0.6, 0.7, 0.85])
    if rng.uniform() < 0.35:
        top, low = _colour(rng), _colour(rng)
    t = np.linspace(0, 1, size)[:, None, None]
    picture = (top + t * (low - top)) * np.ones((1, size, 1)) * rng.uniform(0.4, 1.2)
    cloud = np.clip(sum(_clouds(rng, size, c) / c**0.4 for c in (4, 9, 20)), 0, 1)[..., None]
    picture = picture + cloud * rng.uniform(0.0, 0.8) * (0.95 - picture)
    ridge = size * rng.uniform(0.5, 1.1) + 0.06 * size * _clouds(rng, size, 5)[0]
    rows = np.arange(size)[:, None]
    hills = rows > ridge[None]
    picture[hills] = _colour(rng) * (0.5, 0.8, 0.4)
    return _defocus(rng, picture.astype(np.float32))


def _clouds(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """(size, size) smooth noise of about unit deviation."""
    coarse = rng.normal(size=(cells + 3, cells + 3)).astype(np.float32)
    large = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large)


def _defocus(rng: np.random.Generator, picture: Floats) -> Floats:
    """Sharp, a little or far out of focus."""
    size = picture.shape[0]
    sigma = float(
        rng.choice([0.4, rng.uniform(0.4, 0.008 * size), rng.uniform(0.004, 0.025) * size])
    )
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.3)))


BACKGROUNDS: dict[str, Background] = {
    "plain": make_plain,
    "shapes": make_shapes,
    "lamps": make_lamps,
    "room": make_room,
    "foliage": make_foliage,
    "texture": make_texture,
    "body": make_body,
    "sky": make_sky,
}
