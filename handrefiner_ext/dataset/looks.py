"""How a scene is painted: its style, light, colours, and the picture that comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.build import Part, join_parts
from handrefiner_ext.dataset.drawn import (
    Pen,
    Toon,
    find_lines,
    hatch,
    light_share,
    paint_toon,
    sample_pen,
    sample_toon,
)
from handrefiner_ext.dataset.scene import Scene
from handrefiner_ext.dataset.seeing import see
from handrefiner_ext.dataset.shading import (
    Coat,
    Light,
    Material,
    Stage,
    coat_samples,
    sample_light,
    shade_photo,
)
from handrefiner_ext.dataset.textures import Skin, sample_skin, sample_stuff

Floats = NDArray[np.float32]
STYLES = {
    "photo": 0.52,
    "render": 0.10,
    "painting": 0.08,
    "toon": 0.14,
    "flat": 0.05,
    "line": 0.06,
    "sketch": 0.05,
}
"""Name -> share of the pictures."""
DRAWN = ("toon", "flat", "line", "sketch")
WORDS = {
    "photo": "a photo",
    "render": "a 3d render",
    "painting": "a painting",
    "toon": "an anime drawing",
    "flat": "a flat illustration",
    "line": "line art",
    "sketch": "a pencil sketch",
}
FINE = 2
"""Samples of a pixel each way."""


@dataclass(frozen=True)
class Look:
    """style: of `STYLES`. seeds: of the materials of each hand. ink: darkness of a sketch."""

    style: str
    light: Light
    skins: tuple[Skin, ...]
    seed: int
    pen: Pen
    toon: Toon
    background_kept: bool
    paper: Floats


@dataclass(frozen=True)
class Painted:
    """colour: (h, w, 3) linear RGB times cover. cover, ink: (h, w). All at the picture's size."""

    colour: Floats
    cover: Floats
    ink: Floats | None


def sample_look(rng: np.random.Generator, scene: Scene, styles: Sequence[str]) -> Look:
    """styles: those to choose from."""
    shares = np.array([STYLES[name] for name in styles])
    style = styles[int(rng.choice(len(styles), p=shares / shares.sum()))]
    first = sample_skin(rng, scene.hands[0].wear.painted_nails)
    skins = [first]
    for hand in scene.hands[1:]:
        same = hand.build == scene.hands[0].build and rng.uniform() < 0.9
        skins.append(first if same else sample_skin(rng, hand.wear.painted_nails))
    paper = np.clip(rng.uniform(0.75, 1.0) * (1.0 - rng.uniform(0, 0.2, 3) * (0, 0.3, 1)), 0, 1)
    return Look(
        style,
        sample_light(rng),
        tuple(skins),
        int(rng.integers(2**31)),
        sample_pen(rng, FINE, scene.size),
        sample_toon(rng, flat=style == "flat"),
        bool(rng.uniform() < (0.25 if style in ("line", "sketch") else 1.0)),
        paper.astype(np.float32),
    )


def paint_scene(scene: Scene, parts: list[Part], look: Look) -> Painted:
    """The hands and all that belongs to them, on nothing."""
    mesh = join_parts(parts)
    seen = see(mesh, scene.lens, scene.size, FINE)
    stage = Stage(seen, mesh, scene.lens, FINE)
    coat = coat_samples(seen, _choose_materials(parts, look))
    if look.style not in DRAWN:
        colour, ink = shade_photo(stage, coat, look.light), None
    else:
        colour, ink = _draw(stage, _simplify(coat, look), look)
    cover = seen.spread(np.ones(len(seen.at), dtype=np.float32))
    size = scene.size
    return Painted(
        _shrink(seen.spread(colour), seen.box, size),
        _shrink(cover, seen.box, size),
        None if ink is None else _shrink(ink, seen.box, size),
    )


def _choose_materials(parts: list[Part], look: Look) -> dict[int, Material]:
    """Each part's; things of one kind that one hand wears are alike."""
    made: dict[int, Material] = {}
    for number, part in enumerate(parts):
        if part.material == "skin":
            made[number] = look.skins[part.hand]
        else:
            kind = sum(ord(c) for c in part.material)
            owner = part.hand if part.material not in ("cloth", "metal") else 0
            made[number] = sample_stuff(
                np.random.default_rng([look.seed, kind, owner]), part.material
            )
    return made


def _simplify(coat: Coat, look: Look) -> Coat:
    """Skin in one colour, as it is drawn."""
    albedo = coat.albedo.copy()
    for skin in dict.fromkeys(s.tone.tobytes() for s in look.skins):
        tone = np.frombuffer(skin, dtype=np.float32)
        own = coat.skin > 0.5
        albedo[own] = tone
    nails = (coat.nails > 0.3) & (coat.skin > 0.5)
    albedo[nails] = look.skins[0].nail
    return Coat(albedo, coat.height, coat.gloss, coat.skin, coat.metal, coat.lines, coat.nails)


def _draw(stage: Stage, coat: Coat, look: Look) -> tuple[Floats, Floats]:
    """(p, 3) colours and (h, w) ink."""
    rng = np.random.default_rng([look.seed, 1])
    share = light_share(stage, look.light)
    ink = find_lines(stage.seen, coat, look.pen, rng)
    if look.style in ("toon", "flat"):
        return paint_toon(share, coat, look.toon), ink
    spread = stage.seen.spread(share)
    spread[stage.seen.number < 0] = 1.0
    fill = np.broadcast_to(look.paper, coat.albedo.shape).astype(np.float32)
    if look.style == "line":
        if rng.uniform() < 0.35:
            ink = np.maximum(ink, 0.8 * hatch(spread, rng.uniform(8, 16), rng.uniform(0, 3), 1))
        if rng.uniform() < 0.3:
            fill = fill * np.clip(0.55 + 0.9 * share, 0, 1)[:, None] ** 2
        return np.asarray(fill, dtype=np.float32), ink
    spacing, turn = rng.uniform(5, 11), rng.uniform(0, np.pi)
    strokes = hatch(cv2.GaussianBlur(spread, (0, 0), 2.0), spacing, turn, int(rng.integers(1, 4)))
    grain = np.clip(0.75 + 0.3 * rng.normal(size=ink.shape), 0.2, 1.0).astype(np.float32)
    shade = np.clip(0.5 + 0.7 * share, 0.0, 1.0)[:, None]
    return np.asarray(fill * shade, dtype=np.float32), np.maximum(0.9 * ink, 0.7 * strokes) * grain


def _shrink(samples: Floats, box: tuple[int, int, int, int], size: int) -> Floats:
    """Samples over a box -> means over the whole picture's pixels."""
    x0, y0, x1, y1 = (v // FINE for v in box)
    whole = np.zeros((size, size, *samples.shape[2:]), dtype=np.float32)
    if x1 > x0 and y1 > y0:
        whole[y0:y1, x0:x1] = cv2.resize(samples, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    return whole


def compose(painted: Painted, background: Floats, look: Look) -> Floats:
    """(size, size, 3) linear RGB of the whole picture."""
    if not look.background_kept:
        background = np.broadcast_to(look.paper, background.shape)
    picture = background * (1.0 - painted.cover[..., None]) + painted.colour
    if painted.ink is not None:
        ink = painted.ink[..., None]
        picture = picture * (1.0 - ink) + look.pen.colour * ink
    return np.asarray(picture, dtype=np.float32)


def name_skin(skin: Skin) -> str:
    """A word for a prompt."""
    brightness = float(skin.tone.mean())
    for limit, word in ((0.05, "dark"), (0.14, "brown"), (0.32, "tan"), (0.55, "light")):
        if brightness < limit:
            return word
    return "pale"
