"""How light falls on skin and stuff: photograph-like, in linear colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.build import Mesh
from handrefiner_ext.dataset.scene import Lens
from handrefiner_ext.dataset.seeing import Seen, cast_shadow, normalise, occlude
from handrefiner_ext.dataset.textures import (
    Skin,
    Stuff,
    nail_cover,
    skin_albedo,
    skin_lines,
    stuff_albedo,
)
from handrefiner_ext.types import FloatArray

Floats = NDArray[np.float32]
Material = Skin | Stuff
STEEPEST = 0.7
"""Most that a bump tilts a normal."""


@dataclass(frozen=True)
class Light:
    """Directions point to the lamps. colours: linear RGB. softness: metres of shadows' edges."""

    key: FloatArray
    key_colour: Floats
    rim: FloatArray
    rim_colour: Floats
    sky: Floats
    ground: Floats
    softness: float
    wrap: float


def sample_light(rng: np.random.Generator) -> Light:
    """From a dull day to a hard lamp, from any side, warm or cold."""
    key = np.array([rng.uniform(-1, 1), rng.uniform(-1.3, 0.5), -rng.uniform(0.25, 1.3)])
    warmth = rng.normal() * 0.14
    colour = np.array([1 + warmth, 1.0, 1 - warmth]) * (1 + rng.normal(size=3) * 0.03)
    ambient = rng.choice([rng.uniform(0.12, 0.3), rng.uniform(0.35, 0.75)])
    strength = rng.uniform(1.15, 1.75) - ambient
    cold = rng.normal() * 0.14
    sky = ambient * np.array([1 - cold, 1.0, 1 + cold])
    bounce = rng.uniform(0.35, 1.0) * ambient * (1 + rng.normal(size=3) * 0.12)
    rim = np.array([rng.choice([-1, 1]) * rng.uniform(0.6, 1), rng.uniform(-0.8, 0.4), 0.5])
    rim_colour = np.zeros(3)
    if rng.uniform() < 0.3:
        rim_colour = rng.uniform(0.3, 1.2) * np.clip(1 + rng.normal(size=3) * 0.3, 0.1, 2)
    return Light(
        key / np.linalg.norm(key),
        (strength * colour).astype(np.float32),
        rim / np.linalg.norm(rim),
        rim_colour.astype(np.float32),
        sky.astype(np.float32),
        np.clip(bounce, 0.01, 2).astype(np.float32),
        float(np.exp(rng.uniform(np.log(0.001), np.log(0.02)))),
        float(rng.uniform(0.1, 0.45)),
    )


@dataclass(frozen=True)
class Stage:
    """What is looked at: samples, the mesh they belong to, the lens, samples a pixel each way."""

    seen: Seen
    mesh: Mesh
    lens: Lens
    fine: int


@dataclass(frozen=True)
class Coat:
    """albedo: (p, 3) linear RGB. height: (p,) bumps, metres. gloss: (p,). skin: (p,) 0 or 1.

    metal: (p,) 0 or 1. lines: (p,) 0..1 of the skin's creases. nails: (p,) 0..1.
    """

    albedo: Floats
    height: Floats
    gloss: Floats
    skin: Floats
    metal: Floats
    lines: Floats
    nails: Floats


def coat_samples(seen: Seen, materials: Mapping[int, Material]) -> Coat:
    """Colours and bumps at every sample. materials: of each part."""
    count = len(seen.at)
    albedo = np.zeros((count, 3), dtype=np.float32)
    columns = {
        name: np.zeros(count, dtype=np.float32)
        for name in ("height", "gloss", "skin", "metal", "lines", "nails")
    }
    for number, material in materials.items():
        own = np.flatnonzero(seen.part == number)
        if not len(own):
            continue
        values = seen.values[own]
        if isinstance(material, Skin):
            lines = skin_lines(values) * min(1.0, material.lines + 0.25)
            nails = nail_cover(values, material.nail_length)
            colour = skin_albedo(values, material, lines)
            albedo[own] = colour + nails[:, None] * (material.nail - colour)
            lines = lines * (1.0 - nails)
            columns["height"][own] = -0.0007 * material.lines * lines + 0.00035 * nails
            columns["gloss"][own] = 0.22 + (0.5 if material.painted else 0.35) * nails
            columns["skin"][own], columns["lines"][own], columns["nails"][own] = 1.0, lines, nails
        else:
            albedo[own], height = stuff_albedo(values[:, :3], material)
            columns["height"][own] = 0.0012 * height
            columns["gloss"][own], columns["metal"][own] = material.gloss, float(material.metal)
    return Coat(albedo, **columns)


def bump(seen: Seen, height: Floats, lens: Lens, fine: int) -> Floats:
    """(p, 3) normals tilted by heights in metres."""
    if not height.any():
        return seen.normals
    pixel = np.maximum(seen.points[:, 2], 1e-3) / np.float32(lens.focal_px * fine)
    whole = seen.spread(height)
    down, right = np.gradient(whole)
    tilt = np.stack([right.reshape(-1)[seen.at], down.reshape(-1)[seen.at]], axis=1)
    tilt = np.clip(tilt / pixel[:, None], -STEEPEST, STEEPEST)
    moved = seen.normals.copy()
    moved[:, :2] += tilt
    return normalise(moved)


def shade_photo(stage: Stage, coat: Coat, light: Light) -> Floats:
    """(p, 3) linear RGB."""
    seen = stage.seen
    normals = bump(seen, coat.height, stage.lens, stage.fine)
    arrives = cast_shadow(stage.mesh, seen, light.key, light.softness)
    open_sky = occlude(seen, stage.lens, stage.fine)
    towards = -normalise(seen.points)
    colour = _ambient(normals, open_sky, light, coat)
    skin = coat.skin[:, None]
    wrap = light.wrap * (0.4 + skin * np.array([0.9, 0.35, 0.2], np.float32))
    facing = (normals @ light.key.astype(np.float32))[:, None]
    lit = np.clip((facing + wrap) / (1.0 + wrap), 0.0, 1.0)
    # Where light has passed through flesh the shadow's edge is warm.
    passed = arrives[:, None] ** (1.0 + skin * np.array([-0.25, 0.05, 0.2], np.float32))
    colour += light.key_colour * lit * passed
    if light.rim_colour.any():
        edge = (1.0 - np.clip((normals * towards).sum(axis=1), 0.0, 1.0)) ** 2
        rim = np.clip(normals @ light.rim.astype(np.float32), 0.0, 1.0) * (0.2 + edge)
        colour += light.rim_colour * rim[:, None]
    colour *= coat.albedo * (1.0 - 0.6 * coat.metal[:, None])
    return colour + _shine(normals, towards, arrives, light, coat)


def _ambient(normals: Floats, open_sky: Floats, light: Light, coat: Coat) -> Floats:
    up = (0.5 - 0.5 * normals[:, 1])[:, None]
    hidden = open_sky[:, None] ** (
        1.0 + coat.skin[:, None] * np.array([-0.2, 0.1, 0.25], np.float32)
    )
    return np.asarray((light.ground + up * (light.sky - light.ground)) * hidden, dtype=np.float32)


def _shine(normals: Floats, towards: Floats, arrives: Floats, light: Light, coat: Coat) -> Floats:
    """Highlights of the key light, broad and narrow, and what metal mirrors."""
    half = normalise(towards + light.key.astype(np.float32))
    angle = np.clip((normals * half).sum(axis=1), 0.0, 1.0)
    narrow = np.where(coat.nails > 0.3, angle**60, angle**22)
    strength = coat.gloss * (0.35 * narrow + 0.35 * coat.gloss * angle**90) * arrives
    shine = strength[:, None] * light.key_colour
    if coat.metal.any():
        mirrored = 2.0 * (normals * towards).sum(axis=1, keepdims=True) * normals - towards
        around = 0.5 - 0.5 * mirrored[:, 1] + 0.35 * np.sin(9.0 * mirrored[:, 0])
        glow = np.clip(around, 0.05, 1.3)[:, None] * (light.sky + 0.3 * light.key_colour)
        shine = shine + coat.metal[:, None] * coat.albedo * glow
    return np.asarray(shine, dtype=np.float32)
