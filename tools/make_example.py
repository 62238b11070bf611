"""Render examples/badly_drawn_hand.png: a waving arm whose hand is drawn badly on purpose.

    python tools/make_example.py [--good] [--out FILE]

Six fingers, one of them too long and broken sideways. All geometry comes from the CC0
open hand of the package; skin, wool and background are made of formulas.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import cv2
import example_hand
import numpy as np
from example_hand import Part
from PIL import Image
from soft_render import (
    Floats,
    Lamp,
    View,
    ambient_occlusion,
    bump,
    cast_shadow,
    gloss,
    look,
    normalise,
    shade,
    waves,
    where_covered,
)

from handrefiner_ext.geometry.transforms import rotation_from_vector
from handrefiner_ext.mesh.open_hand.model import load_open_hand

SIZE_PX, SAMPLES = 768, 3
TARGET = Path(__file__).parent.parent / "examples" / "badly_drawn_hand.png"
PIXELS_PER_METRE = 2800.0
WRIST_PX = np.array([394.0, 576.0])
SKIN = np.array([0.62, 0.335, 0.225])
BLUSH = np.array([0.70, 0.265, 0.20])
WOOL = np.array([0.035, 0.125, 0.15])
KEY = Lamp(np.array([-0.62, -0.62, -0.62]), np.array([2.15, 1.95, 1.7]))
RIM = Lamp(np.array([0.85, -0.25, 0.35]), np.array([1.5, 0.85, 0.5]))
SKY, GROUND = np.array([0.34, 0.40, 0.48]), np.array([0.34, 0.22, 0.17])
CREASES = (
    ((-0.034, -0.078), (-0.016, -0.068), (-0.006, -0.048), (-0.004, -0.026), (-0.010, -0.006)),
    ((-0.034, -0.078), (-0.012, -0.068), (0.010, -0.056), (0.032, -0.040)),
    ((0.043, -0.064), (0.026, -0.076), (0.006, -0.082), (-0.010, -0.096)),
)
"""Lines of the palm, x and y in the open hand's frame."""


def place(points: Floats) -> Floats:
    """Open-hand metres -> samples of the picture; the palm turns to the viewer."""
    turn = (
        rotation_from_vector(np.array([0.0, 0.0, np.radians(-9.0)]))
        @ rotation_from_vector(np.array([np.radians(8.0), 0.0, 0.0]))
        @ rotation_from_vector(np.array([0.0, np.radians(180.0 - 16.0), 0.0]))
    )
    scaled = points @ turn.T * PIXELS_PER_METRE
    scaled[:, :2] += WRIST_PX
    return scaled * SAMPLES


def skin_colour(rest: Floats) -> Floats:
    """Linear albedo at points of the resting hand: blotches, red tips, knuckles and palm."""
    joints = load_open_hand().joints
    blotches = 0.05 * waves(rest, 60.0, 1) + 0.035 * waves(rest, 190.0, 2)
    blush = 0.22 + 0.10 * waves(rest, 45.0, 3)
    for joint in (4, 8, 12, 16, 20):
        blush += 0.75 * np.exp(-(((rest - joints[joint]) ** 2).sum(axis=-1)) / 0.012**2)
    for joint in (1, 2, 5, 9, 13, 17, 6, 10, 14, 18):
        blush += 0.28 * np.exp(-(((rest - joints[joint]) ** 2).sum(axis=-1)) / 0.013**2)
    share = np.clip(blush, 0.0, 1.0)[..., None]
    return (SKIN + share * (BLUSH - SKIN)) * np.exp(blotches)[..., None]


def skin_lines(rest: Floats) -> Floats:
    """0..1: creases of the palm and of the fingers' joints, on the palm's side only."""
    joints = load_open_hand().joints
    lines = np.zeros(rest.shape[:-1])
    wobble = 0.0007 * waves(rest, 40.0, 7)
    for crease in CREASES:
        distance = _distance_to_line(rest[..., :2] + wobble[..., None], np.array(crease))
        lines = np.maximum(lines, np.exp(-((distance / 0.0009) ** 2)) * (rest[..., 2] > -0.001))
    for finger in range(1, 5):
        for joint, depth in ((0, 0.8), (1, 1.0), (2, 0.7)):
            here = joints[1 + 4 * finger + joint]
            bone = normalise(joints[2 + 4 * finger + joint] - here)
            offset = rest - here - bone * (0.017 if joint == 0 else 0.0)
            side = np.linalg.norm(offset, axis=-1) < 0.0125
            along = offset @ bone + wobble
            fold = np.exp(-((along / 0.0009) ** 2)) + 0.5 * np.exp(
                -(((along - 0.0022) / 0.0007) ** 2)
            )
            lines = np.maximum(lines, depth * fold * side * (offset[..., 2] > 0.0))
    return np.clip(lines, 0.0, 1.0)


def _distance_to_line(points: Floats, line: Floats) -> Floats:
    """(..., 2) points -> distance to a smooth curve near the points of `line`."""
    t = np.linspace(0.0, len(line) - 1.0, 24)
    fit = [np.polyfit(np.arange(len(line)), line[:, k], 3) for k in range(2)]
    dense = np.stack([np.polyval(f, t) for f in fit], axis=1)
    best = np.full(points.shape[:-1], np.inf)
    for a, b in pairwise(dense):
        along = np.clip(((points - a) @ (b - a)) / ((b - a) @ (b - a)), 0.0, 1.0)
        best = np.minimum(best, np.linalg.norm(points - a - along[..., None] * (b - a), axis=-1))
    return best


def light_up(view: View, normals: Floats, albedo: Floats, arrives: Floats, wrap: Floats) -> Floats:
    """Key light, light from behind, sky and ground."""
    occlusion = ambient_occlusion(view, (6.0, 18.0, 48.0), 0.55)
    up = 0.5 - 0.5 * normals[..., 1:2]
    ambient = GROUND + up * (SKY - GROUND)
    hidden = occlusion[..., None] ** np.array([0.8, 1.1, 1.25])
    colour = albedo * ambient * hidden
    colour += shade(normals, albedo, wrap, KEY, arrives)
    grazing = (1.0 + np.clip(normals[..., 2], -1.0, 0.0)) ** 2
    colour += shade(normals, albedo, wrap, RIM, np.ones_like(occlusion)) * (
        0.15 + grazing[..., None]
    )
    return colour


def render_skin(part: Part, view: View, arrives: Floats) -> Floats:
    lines = where_covered(skin_lines, view)
    pores = where_covered(lambda at: 0.55 * waves(at, 700.0, 4) + waves(at, 330.0, 5), view)
    normals = bump(view, pores * 0.5 - 2.2 * lines, 0.10 / SAMPLES * 3.0)
    albedo = where_covered(skin_colour, view) * (
        1.0 - lines[..., None] * np.array([0.22, 0.36, 0.36])
    )
    colour = light_up(view, normals, albedo, arrives, np.array([0.42, 0.20, 0.14]))
    shine = 0.10 * gloss(normals, KEY, 22.0) * arrives + 0.05 * gloss(normals, KEY, 90.0) * arrives
    return colour + shine[..., None] * KEY.colour


def render_wool(view: View, arrives: Floats) -> Floats:
    """Ribs on the cuff, plaits on the sleeve."""
    turn, along, cuff = np.moveaxis(view.rest, -1, 0)
    ribs = np.abs(np.sin(np.pi * 46.0 * turn)) ** 0.6
    phase = 54.0 * turn + 0.32 * np.abs(((along * 330.0) % 1.0) * 2.0 - 1.0)
    plaits = np.abs(np.sin(np.pi * phase)) ** 0.8 * (
        0.75 + 0.25 * np.abs(np.sin(np.pi * along * 330.0))
    )
    height = np.where(cuff > 0.5, ribs, plaits)
    fuzz = where_covered(lambda at: waves(at * (0.2, 1.0, 0.0), 900.0, 9), view)
    normals = bump(view, 6.0 * height + 0.4 * fuzz, 0.10)
    albedo = WOOL * (0.45 + 0.75 * height + 0.05 * fuzz)[..., None]
    return light_up(view, normals, albedo, arrives, np.array([0.3, 0.3, 0.3]))


def render_figure(hand: Part, sleeve: Part) -> tuple[Floats, Floats]:
    """(h, w, 3) linear colour times alpha and (h, w) alpha, at the picture's size."""
    side = SIZE_PX * SAMPLES
    both = example_hand.join(hand, sleeve)
    world = place(both.points)
    whole = look(world, both.rest, both.faces, side)
    arrives = cast_shadow(world, both.faces, whole, KEY.towards, 5.0 * SAMPLES)
    arrives = cv2.GaussianBlur(arrives, (0, 0), 1.2 * SAMPLES)
    skin_view = look(place(hand.points), hand.rest, hand.faces, side)
    is_skin = skin_view.covered & (np.abs(skin_view.depth - whole.depth) < 0.5)
    skin = render_skin(hand, whole, arrives)
    wool = render_wool(whole, arrives)
    colour = np.where(is_skin[..., None], skin, wool) * whole.covered[..., None]
    shrink = (SIZE_PX, SIZE_PX)
    alpha = cv2.resize(whole.covered.astype(np.float64), shrink, interpolation=cv2.INTER_AREA)
    return cv2.resize(colour, shrink, interpolation=cv2.INTER_AREA), alpha


def background() -> Floats:
    """(h, w, 3) linear: evening light with lamps far out of focus."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX
    top, low = np.array([0.035, 0.075, 0.115]), np.array([0.42, 0.22, 0.13])
    t = np.clip(1.15 * y + 0.18 * (x - 0.5), 0.0, 1.0)[..., None] ** 1.3
    picture = top + t * (low - top)
    glow = np.exp(-(((x - 0.80) ** 2 + (y - 0.66) ** 2) / 0.16))[..., None]
    picture += glow * np.array([0.42, 0.22, 0.09])
    for _ in range(46):
        centre = rng.uniform((0.0, 0.12), (1.0, 1.0)) * SIZE_PX
        radius, strength = rng.uniform(14.0, 52.0), rng.uniform(0.03, 0.16)
        warm = np.array([1.0, rng.uniform(0.45, 0.8), rng.uniform(0.2, 0.5)])
        disc = np.zeros((SIZE_PX, SIZE_PX))
        cv2.circle(
            disc, tuple(int(v * 8) for v in centre), int(radius * 8), 1.0, -1, cv2.LINE_AA, 3
        )
        ring = disc * (0.75 + 0.25 * cv2.GaussianBlur(1.0 - disc, (0, 0), radius / 3.0) * 2.0)
        picture += cv2.GaussianBlur(ring, (0, 0), 2.2)[..., None] * warm * strength
    return cv2.GaussianBlur(picture, (0, 0), 1.5)


def develop(linear: Floats) -> Floats:
    """Linear light -> 8-bit values: a soft shoulder, sRGB, a touch of grain against banding."""
    mapped = 1.0 - np.exp(-1.12 * np.maximum(linear, 0.0))
    coded = np.where(mapped <= 0.0031308, 12.92 * mapped, 1.055 * mapped ** (1 / 2.4) - 0.055)
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX - 0.5
    coded = coded * (1.0 - 0.22 * (x**2 + y**2))[..., None]
    grain = np.random.default_rng(5).normal(size=(SIZE_PX, SIZE_PX, 1))
    return np.clip(np.rint(255.0 * coded + 0.9 * grain), 0, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--good", action="store_true", help="draw the hand well, to compare")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    hand = example_hand.good_hand() if options.good else example_hand.bad_hand()
    figure, alpha = render_figure(example_hand.smooth(hand, 2), example_hand.sleeve(0.050, 0.14))
    picture = background() * (1.0 - alpha[..., None]) + figure
    options.out.parent.mkdir(exist_ok=True)
    Image.fromarray(develop(picture).astype(np.uint8)).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
