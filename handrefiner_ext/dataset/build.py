"""From a scene to surfaces in camera space: skin, cloth, jewellery, things."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.anatomy_maps import CHANNELS, open_hand_skin, vertex_normals
from handrefiner_ext.dataset.arms import Arm, back_of, grow_arm, lay_arm, make_band, make_sleeve
from handrefiner_ext.dataset.faults import well_formed
from handrefiner_ext.dataset.hands import Surface
from handrefiner_ext.dataset.props import make_finger_ring
from handrefiner_ext.dataset.scene import NEAREST_M, Scene, SceneHand
from handrefiner_ext.dataset.solids import Solid, frame_along, make_lathe, move
from handrefiner_ext.inpaint.surface import subdivide
from handrefiner_ext.types import Faces, FloatArray

SHORTER = 0.7
"""An arm that comes too near to the camera is tried again at this part of its length."""
MIN_ARM_M = 0.05
NORMALS = slice(len(CHANNELS), len(CHANNELS) + 3)


@dataclass(frozen=True)
class Part:
    """A surface in camera space.

    values: (n, 8) of `CHANNELS` on skin; on anything else its texture's coordinates and zeros.
    material: "skin", "cloth", "metal", "screen" or the name of a thing. hand: its number.
    """

    points: FloatArray
    faces: Faces
    values: FloatArray
    material: str
    hand: int


def build_parts(
    scene: Scene, surfaces: dict[int, Surface], rng: np.random.Generator, smooth: bool = True
) -> list[Part]:
    """Every surface of the scene. surfaces: number of a hand -> what is drawn in its place.

    smooth: whether surfaces are made finer and round; not needed in a small picture.
    """
    parts: list[Part] = []
    for number, hand in enumerate(scene.hands):
        surface = surfaces.get(number) or well_formed(hand.bent)
        own = np.random.default_rng(rng.integers(2**63))
        parts += _build_hand(hand, number, surface, own, smooth)
    return parts


def _build_hand(
    hand: SceneHand, number: int, surface: Surface, rng: np.random.Generator, smooth: bool
) -> list[Part]:
    skin = open_hand_skin().values
    arm = _fit_arm(hand)
    points, faces, values = surface.body, surface.body_faces, skin
    if arm is not None:
        points, faces, values = grow_arm(points, faces, values, arm)
    pieces = [(np.column_stack([points, values]), faces)]
    for (extra, triangles), source in zip(surface.extra, surface.sources, strict=True):
        pieces.append((np.column_stack([extra, skin[source]]), triangles))
    parts = [_skin_part(hand, number, *piece, smooth) for piece in pieces]
    solids = _worn(hand, arm, rng, smooth)
    if hand.held is not None:
        solids.append((hand.held.name, hand.held.solid))
    return parts + [_solid_part(hand, number, name, solid) for name, solid in solids]


def _fit_arm(hand: SceneHand) -> Arm | None:
    """The arm, shortened where it would run into the camera."""
    spec = hand.wear.arm
    while spec is not None and spec.length > MIN_ARM_M:
        base = well_formed(hand.bent)
        arm = lay_arm(base.body, base.body_faces, spec)
        stations = np.linspace(0.0, spec.length, 5)
        sections = np.concatenate([arm.section(float(at), 1.5) for at in stations])
        if hand.place.put(sections)[:, 2].min() > NEAREST_M:
            return arm
        spec = replace(spec, length=spec.length * SHORTER)
    return None


def _skin_part(hand: SceneHand, number: int, looks: FloatArray, faces: Faces, smooth: bool) -> Part:
    """looks: (n, 3 + 8) points and values."""
    triangles: Faces = faces.astype(np.int32)
    if smooth:
        looks, triangles = subdivide(looks, triangles)
    placed = hand.place.put(looks[:, :3])
    return Part(placed, hand.place.turn_faces(triangles), looks[:, 3:], "skin", number)


def _solid_part(hand: SceneHand, number: int, name: str, solid: Solid) -> Part:
    values = np.zeros((len(solid.points), len(CHANNELS)))
    values[:, :3] = solid.texture
    faces = hand.place.turn_faces(solid.faces)
    return Part(hand.place.put(solid.points), faces, values, name, number)


def _worn(
    hand: SceneHand, arm: Arm | None, rng: np.random.Generator, smooth: bool
) -> list[tuple[str, Solid]]:
    wear, solids = hand.wear, []
    for finger in wear.ring_fingers:
        solids.append(("metal", make_finger_ring(hand.bent, finger, rng)))
    if arm is None:
        return solids
    if wear.watch == "watch":
        begin, width = float(rng.uniform(0.002, 0.02)), float(rng.uniform(0.014, 0.022))
        solids.append(("strap", make_band(arm, begin, width, 0.06)))
        at, out = back_of(arm, begin + width / 2)
        radius = width * rng.uniform(0.75, 1.05)
        profile = np.array([[radius, -0.003], [radius, 0.006], [0.85 * radius, 0.008]])
        solids.append(("dial", move(make_lathe(profile, 28), frame_along(out), at)))
    elif wear.watch == "bangle":
        begin = float(rng.uniform(0.0, 0.02))
        solids.append(("metal", make_band(arm, begin, float(rng.uniform(0.003, 0.012)), 0.07)))
    if wear.sleeve is not None and wear.sleeve.begin < arm.spec.length - 0.03:
        sleeve = make_sleeve(arm, wear.sleeve, rng)
        if smooth:
            looks = np.column_stack([sleeve.points, sleeve.texture])
            looks, faces = subdivide(looks, sleeve.faces)
            sleeve = Solid(looks[:, :3], faces, looks[:, 3:])
        solids.append(("cloth", sleeve))
    return solids


@dataclass(frozen=True)
class Mesh:
    """All parts in one. looks: (n, 11) `CHANNELS` and the normal. part: (m,) of each face."""

    points: FloatArray
    faces: Faces
    looks: NDArray[np.float32]
    part: NDArray[np.int32]


def join_parts(parts: list[Part]) -> Mesh:
    starts = np.cumsum([0] + [len(p.points) for p in parts])[:-1]
    faces = [p.faces + s for p, s in zip(parts, starts, strict=True)]
    looks = [np.column_stack([p.values, vertex_normals(p.points, p.faces)]) for p in parts]
    number = np.repeat(np.arange(len(parts)), [len(p.faces) for p in parts])
    return Mesh(
        np.concatenate([p.points for p in parts]),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(looks).astype(np.float32),
        number.astype(np.int32),
    )
