"""From linear light to the 8-bit picture: exposure, lens, grain, brush, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray, Image

Floats = NDArray[np.float32]
GAMMA = 2.2


def finish(rng: np.random.Generator, picture: Floats, style: str) -> Image:
    """picture: (h, w, 3) linear RGB."""
    drawn = style in ("toon", "flat", "line", "sketch")
    if drawn:
        coded = np.clip(picture, 0.0, 1.0) ** np.float32(1 / GAMMA)
    else:
        coded = _expose(rng, picture)
        if rng.uniform() < 0.35:
            coded *= _vignette(rng, coded.shape[0])[..., None]
    if style == "painting":
        coded = brush(coded, int(rng.integers(2, 5)))
    if style in ("photo", "sketch", "line") and rng.uniform() < 0.10:
        coded = _to_grey(rng, coded)
    coded = _soften(rng, coded)
    whole = np.clip(coded * 255.0, 0, 255)
    grain = rng.uniform(0.3, 1.5) if drawn or style == "render" else rng.uniform(0.5, 7.0)
    whole += _grain(rng, whole.shape, float(grain))
    image = np.clip(np.rint(whole), 0, 255).astype(np.uint8)
    return _compress(rng, image) if rng.uniform() < 0.55 else image


def _expose(rng: np.random.Generator, picture: Floats) -> Floats:
    """A film's curve, contrast, saturation."""
    gain = np.float32(np.exp(rng.normal() * 0.22))
    light = np.maximum(picture, 0.0) * gain
    if rng.uniform() < 0.6:
        light = 1.0 - np.exp(-1.35 * light)
    coded = np.clip(light, 0.0, 1.0) ** np.float32(1 / GAMMA)
    contrast = np.float32(rng.uniform(0.85, 1.2))
    coded = np.clip(0.5 + contrast * (coded - 0.5), 0.0, 1.0)
    grey = coded.mean(axis=2, keepdims=True)
    return np.asarray(np.clip(grey + np.float32(rng.uniform(0.6, 1.3)) * (coded - grey), 0, 1))


def _vignette(rng: np.random.Generator, size: int) -> Floats:
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size - 0.5
    return np.asarray(1.0 - rng.uniform(0.1, 0.7) * (x * x + y * y), dtype=np.float32)


def _to_grey(rng: np.random.Generator, coded: Floats) -> Floats:
    grey = coded @ np.array([0.3, 0.59, 0.11], np.float32)
    tint = np.array([1.0, rng.uniform(0.88, 1.0), rng.uniform(0.7, 1.0)], np.float32)
    return np.asarray(grey[..., None] * tint, dtype=np.float32)


def brush(coded: Floats, radius: int) -> Floats:
    """Each pixel the mean of the calmest of four squares at it (Kuwahara et al. 1976)."""
    side = radius + 1
    grey = coded.mean(axis=2)
    best = np.full(grey.shape, np.inf, dtype=np.float32)
    painted = coded.copy()
    for anchor in ((0, 0), (radius, 0), (0, radius), (radius, radius)):
        mean = cv2.blur(coded, (side, side), anchor=anchor)
        first = cv2.blur(grey, (side, side), anchor=anchor)
        spread = cv2.blur(grey * grey, (side, side), anchor=anchor) - first * first
        calmer = spread < best
        best[calmer], painted[calmer] = spread[calmer], mean[calmer]
    return np.asarray(painted, dtype=np.float32)


def _soften(rng: np.random.Generator, coded: Floats) -> Floats:
    """Sharp, slightly soft, out of focus, moved, or enlarged from a smaller picture."""
    size = coded.shape[0]
    kind = rng.uniform()
    if kind < 0.45:
        return coded
    if kind < 0.75:
        return np.asarray(
            cv2.GaussianBlur(coded, (0, 0), float(rng.uniform(0.3, 1.1) * size / 512))
        )
    if kind < 0.85:
        return np.asarray(
            cv2.GaussianBlur(coded, (0, 0), float(rng.uniform(1.0, 2.6) * size / 512))
        )
    if kind < 0.91:
        return _shake(coded, float(rng.uniform(3, 13) * size / 512), float(rng.uniform(0, np.pi)))
    small = max(32, int(size * rng.uniform(0.3, 0.75)))
    tiny = cv2.resize(coded, (small, small), interpolation=cv2.INTER_AREA)
    method = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]))
    return np.asarray(np.clip(cv2.resize(tiny, (size, size), interpolation=method), 0, 1))


def _shake(coded: Floats, length: float, turn: float) -> Floats:
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), dtype=np.float32)
    middle = side // 2
    reach = np.array([np.cos(turn), np.sin(turn)]) * length / 2
    start, end = ([round(float(middle + s * r)) for r in reach] for s in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_AA)
    return np.asarray(cv2.filter2D(coded, -1, kernel / kernel.sum()))


def _grain(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Floats:
    if rng.uniform() < 0.5:
        noise = rng.standard_normal(shape[:2], dtype=np.float32)[..., None]
    else:
        noise = rng.standard_normal(shape, dtype=np.float32)
    if rng.uniform() < 0.3:
        noise = 1.6 * cv2.GaussianBlur(noise, (0, 0), 0.7).reshape(*shape[:2], -1)
    return np.asarray(noise * np.float32(scale))


def _compress(rng: np.random.Generator, image: Image) -> Image:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 97))]
    _, coded = cv2.imencode(".jpg", image[..., ::-1], quality)
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def smear(rng: np.random.Generator, picture: Floats, points: FloatArray, size_px: float) -> Floats:
    """The picture with fingers run into one another near some of the (n, 2) points."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    near = np.zeros((height, width), dtype=np.float32)
    for point in points:
        away = ((x - point[0]) ** 2 + (y - point[1]) ** 2) / (0.16 * size_px) ** 2
        near = np.maximum(near, np.exp(-away).astype(np.float32))
    cells = int(np.clip(7 * width / size_px, 6, 60))
    moves = []
    for _ in range(2):
        coarse = rng.normal(size=(cells, cells)).astype(np.float32)
        large = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        moves.append(near * large * np.float32(rng.uniform(0.05, 0.09) * size_px))
    bent = cv2.remap(
        picture,
        x - 0.5 + moves[0],
        y - 0.5 + moves[1],
        cv2.INTER_LINEAR,
        None,
        cv2.BORDER_REFLECT,
    )
    soft = cv2.GaussianBlur(bent, (0, 0), max(0.5, 0.018 * size_px))
    share = (0.6 * near)[..., None]
    return np.asarray(bent + share * (soft - bent), dtype=np.float32)
