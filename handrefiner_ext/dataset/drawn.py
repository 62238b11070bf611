"""Hands as they are drawn: flat tones with outlines, pen and pencil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.seeing import Seen, cast_shadow, occlude
from handrefiner_ext.dataset.shading import Coat, Light, Stage

Floats = NDArray[np.float32]
STEP_M = 0.0035
"""A jump of the depth between neighbouring samples that is an outline."""
CREASE_INK = 0.7
"""How dark the skin's own lines are beside outlines."""
SHARP = 0.55
"""Cosine between neighbouring normals below which a fold is an outline."""


@dataclass(frozen=True)
class Pen:
    """outline, inner: width of lines in samples. colour: linear RGB. creases: share of the skin's
    own lines that is drawn, 0 for none. wobble: samples by which lines wander."""

    outline: float
    inner: float
    colour: Floats
    creases: float
    wobble: float


@dataclass(frozen=True)
class Toon:
    """tones: 1 (flat), 2 or 3. shade, highlight: what the darker and lighter tone multiply with.

    border: light at which the shade begins. soft: width of the border.
    """

    tones: int
    shade: Floats
    highlight: Floats
    border: float
    soft: float


def sample_pen(rng: np.random.Generator, fine: int, size: int) -> Pen:
    scale = fine * size / 1024.0
    outline = float(np.exp(rng.uniform(np.log(1.6), np.log(6.0)))) * scale
    dark = rng.uniform(0.0, 0.06) * np.array([1.0, 0.7, 0.6]) * rng.uniform(0.3, 1.6)
    creases = float(rng.uniform(0.25, 0.6)) if rng.uniform() < 0.55 else 0.0
    inner = max(1.0 * scale, outline * rng.uniform(0.45, 1.0))
    return Pen(outline, inner, dark.astype(np.float32), creases, float(rng.uniform(0, 1.6)) * scale)


def sample_toon(rng: np.random.Generator, flat: bool) -> Toon:
    tint = np.array([rng.uniform(0.62, 0.88), rng.uniform(0.42, 0.68), rng.uniform(0.42, 0.75)])
    tones = 1 if flat else int(rng.choice([2, 2, 3]))
    return Toon(
        tones,
        tint.astype(np.float32),
        np.full(3, rng.uniform(1.08, 1.3), dtype=np.float32),
        float(rng.uniform(0.12, 0.42)),
        float(rng.choice([0.02, rng.uniform(0.02, 0.35)])),
    )


def light_share(stage: Stage, light: Light) -> Floats:
    """(p,) 0..1 how brightly each sample is lit, shadows and hollows included."""
    arrives = cast_shadow(stage.mesh, stage.seen, light.key, 0.002)
    sky = occlude(stage.seen, stage.lens, stage.fine)
    facing = stage.seen.normals @ light.key.astype(np.float32)
    lit = np.clip((facing + 0.25) / 1.25, 0.0, 1.0) * np.clip(2 * arrives - 0.5, 0.0, 1.0)
    return np.asarray(np.clip(0.8 * lit + 0.3 * sky - 0.1, 0.0, 1.0), dtype=np.float32)


def paint_toon(share: Floats, coat: Coat, toon: Toon) -> Floats:
    """(p, 3) linear RGB in a few tones."""
    colour = coat.albedo
    if toon.tones == 1:
        return colour
    soft = max(toon.soft, 1e-3)
    bright = np.clip((share - toon.border) / soft + 0.5, 0.0, 1.0)[:, None]
    colour = colour * (toon.shade + bright * (1.0 - toon.shade))
    if toon.tones == 3:
        top = np.clip((share - 0.88) / max(soft, 0.03) + 0.5, 0.0, 1.0)[:, None]
        colour = colour * (1.0 + top * (toon.highlight - 1.0))
    return np.asarray(colour, dtype=np.float32)


def find_lines(seen: Seen, coat: Coat, pen: Pen, rng: np.random.Generator) -> Floats:
    """(h, w) 0..1 ink, at the samples."""
    outer, inner = _find_edges(seen)
    nails = seen.spread(coat.nails) > 0.3
    inner = inner | (nails & ~cv2.erode(nails.astype(np.uint8), np.ones((3, 3))).astype(bool))
    ink = np.maximum(_thicken(outer, pen.outline), _thicken(inner, pen.inner))
    if pen.creases > 0.0:
        creases = (seen.spread(coat.lines) - (1.0 - pen.creases)) / pen.creases
        ink = np.maximum(ink, CREASE_INK * np.clip(2.5 * creases, 0.0, 1.0))
    return _wander(ink, pen.wobble, rng)


def _find_edges(seen: Seen) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(h, w) each: outlines against what lies behind, and folds inside."""
    covered = seen.number >= 0
    depth = np.where(covered, seen.depth, 1e3).astype(np.float32)
    normals = seen.spread(seen.normals)
    outer, inner = np.zeros_like(covered), np.zeros_like(covered)
    for axis in (0, 1):
        here, there = _pair(axis)
        jump = np.abs(depth[here] - depth[there])
        slope = np.minimum(np.abs(normals[here][..., 2]), np.abs(normals[there][..., 2]))
        step = (jump > STEP_M / np.clip(slope, 0.25, 1.0)) & (covered[here] | covered[there])
        other = (seen.number[here] != seen.number[there]) & (jump > 0.2 * STEP_M)
        fold = (normals[here] * normals[there]).sum(axis=-1) < SHARP
        outer[here] |= step | other
        inner[here] |= fold & covered[here] & covered[there]
    return outer, inner


def _pair(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    before, after, whole = slice(None, -1), slice(1, None), slice(None)
    return ((before, whole), (after, whole)) if axis == 0 else ((whole, before), (whole, after))


def _thicken(edges: NDArray[np.bool_], width: float) -> Floats:
    """(h, w) 0..1 lines of a width in samples, soft at their rims."""
    away = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(np.clip(0.5 + width / 2 - away, 0.0, 1.0), dtype=np.float32)


def _wander(ink: Floats, amount: float, rng: np.random.Generator) -> Floats:
    if amount < 0.3:
        return ink
    height, width = ink.shape
    cells = max(4, width // 60), max(4, height // 60)
    moves = [rng.normal(size=cells[::-1]).astype(np.float32) * amount for _ in range(2)]
    large = [cv2.resize(m, (width, height), interpolation=cv2.INTER_CUBIC) for m in moves]
    x = np.arange(width, dtype=np.float32)[None] + large[0]
    y = np.arange(height, dtype=np.float32)[:, None] + large[1]
    return np.asarray(cv2.remap(ink, x, y, cv2.INTER_LINEAR))


def hatch(share: NDArray[Any], spacing: float, turn: float, levels: int) -> Floats:
    """(h, w) 0..1 ink of hatching where `share` of light (h, w) is low."""
    height, width = share.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ink = np.zeros_like(share)
    for level in range(levels):
        angle = turn + level * 1.1
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / spacing)
        limit = 0.62 - 0.25 * level
        dark = np.clip((limit - share) / 0.12, 0.0, 1.0)
        ink = np.maximum(ink, dark * np.clip(1.5 * wave - 0.4, 0.0, 1.0))
    return np.asarray(ink, dtype=np.float32)
