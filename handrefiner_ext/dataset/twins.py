"""Pictures of well-formed and malformed hands that differ in nothing but the fault.

Two settings of the renderer: `plain` is that of plain.py; `other` has two lamps with hard edges,
coarse skin, patterned backgrounds and JPEG's traces. Scoring with the renderer, the light and the
mesh that a score was made with would prove little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from handrefiner_ext.dataset.anatomy_maps import vertex_normals
from handrefiner_ext.dataset.faults import CLASSIC, Fault, well_formed
from handrefiner_ext.dataset.hands import Surface
from handrefiner_ext.dataset.plain import (
    GAMMA,
    SKIN_TONES,
    SPLITS,
    HandModel,
    Placement,
    PosedHand,
    finish,
    pose_hand,
    random_background,
    shade,
    skin_colours,
    with_forearm,
)
from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.rasterize import interpolate, rasterize
from handrefiner_ext.types import Box, Faces, FloatArray, HandMesh, Image

SIDE = 320
HAND_SIZES = (100.0, 190.0)
FINE = 2
"""Samples of a pixel along each axis."""
VISIBLE = 0.06
"""Part of the hand's area that a fault must change: outline, or direction of the surface."""
TURNED = np.cos(np.radians(30.0))
TRIES, POSES = 3, 40
"""How often a fault is drawn anew, and then the pose, until every fault can be seen."""


@dataclass(frozen=True)
class Setting:
    """How a picture is rendered; each function draws its own random numbers."""

    background: Callable[[np.random.Generator, int, int], FloatArray]
    skin: Callable[[np.random.Generator, int, FloatArray], FloatArray]
    light: Callable[[np.random.Generator, FloatArray, FloatArray], FloatArray]
    finish: Callable[[np.random.Generator, FloatArray], Image]


@dataclass(frozen=True)
class Twins:
    """One hand drawn well, and with every fault.

    truth: the well-formed hand. faulty: name of the fault -> picture.
    """

    truth: HandMesh
    good: Image
    faulty: dict[str, Image]


def make_twins(
    split: str,
    number: int,
    hand: HandModel,
    setting: Setting,
    faults: tuple[str, ...] = tuple(CLASSIC),
) -> Twins:
    """Everything follows from the split and the number."""
    for attempt in range(POSES):
        rng = np.random.default_rng([SPLITS[split], number, attempt, 7])
        centre = SIDE / 2 + rng.uniform(-0.06, 0.06, 2) * SIDE
        place = Placement(float(centre[0]), float(centre[1]), rng.uniform(*HAND_SIZES))
        posed = pose_hand(rng, place, hand.model)
        stage = _Stage((SPLITS[split], number), setting, posed, hand.has_cap)
        good = stage.sketch(well_formed(posed))
        chosen = [(name, stage.choose(CLASSIC[name], rng, good)) for name in faults]
        drawn = {name: surface for name, surface in chosen if surface is not None}
        if len(drawn) == len(chosen):
            break
    else:
        raise RuntimeError(f"No pose shows every fault: {split} {number}.")
    picture = stage.draw(well_formed(posed))
    return Twins(posed.mesh(), picture, {name: stage.draw(drawn[name]) for name in faults})


@dataclass(frozen=True)
class _Stage:
    """What all twins of one number share."""

    seed: tuple[int, int]
    setting: Setting
    posed: PosedHand
    has_cap: bool

    def choose(self, fault: Fault, rng: np.random.Generator, good: FloatArray) -> Surface | None:
        """The fault so that it can be seen; None where some tries do not show it.

        good: sketch of the well-formed hand.
        """
        for _ in range(TRIES):
            surface = fault(self.posed, rng)
            faulty = self.sketch(surface)
            covered = good[..., 3] > 0
            alike = (good[..., :3] * faulty[..., :3]).sum(axis=2) > TURNED
            changed = (covered != (faulty[..., 3] > 0)) | (covered & ~alike)
            if changed.sum() >= VISIBLE * covered.sum():
                return surface
        return None

    def sketch(self, surface: Surface) -> FloatArray:
        """(h, w, 4): normal and cover of the hand without its arm, at half size."""
        vertices, faces = self._place(surface)
        points = np.column_stack([self.posed.camera.project(vertices) / 2, vertices[:, 2]])
        fragments = rasterize(points, faces, Box(0, 0, SIDE // 2, SIDE // 2))
        normals = vertex_normals(vertices, faces)
        looks = np.column_stack([normals, np.ones(len(vertices))])
        seen = interpolate(fragments, faces, looks).astype(np.float64)
        seen[..., :3] *= np.where(seen[..., 2:3] > 0.0, -1.0, 1.0)
        length = np.linalg.norm(seen[..., :3], axis=2, keepdims=True)
        seen[..., :3] /= np.maximum(length, 1e-9)
        return seen

    def draw(self, surface: Surface) -> Image:
        """The picture of a surface."""
        canvas = self.setting.background(self._rng(1), SIDE, SIDE)
        vertices, faces, colour_at = self._build(surface)
        points = np.column_stack([self.posed.camera.project(vertices), vertices[:, 2]])
        box = clip(bounding_box(points[:, :2]), SIDE, SIDE)
        fragments = rasterize(
            points * [FINE, FINE, 1], faces, Box(*(FINE * value for value in box))
        )
        seen = fragments.triangle >= 0
        looks = np.column_stack([colour_at, vertex_normals(vertices, faces)])
        looked = interpolate(fragments, faces, looks)[seen].astype(np.float64)
        albedo, smooth = looked[:, :3], looked[:, 3:]
        smooth = np.where(smooth[:, 2:] > 0.0, -smooth, smooth)  # what is seen faces the viewer
        smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-9)
        paint = np.zeros((*seen.shape, 4), dtype=np.float32)
        paint[seen, :3] = self.setting.light(self._rng(3), albedo, smooth)
        paint[seen, 3] = 1.0
        paint = paint.reshape(box.height, FINE, box.width, FINE, 4).mean(axis=(1, 3))
        alpha = paint[..., 3:]
        canvas[box.slices] = canvas[box.slices] * (1 - alpha) + paint[..., :3]
        return self.setting.finish(self._rng(4), canvas)

    def _place(self, surface: Surface) -> tuple[FloatArray, Faces]:
        """Vertices in camera space and faces, without an arm."""
        vertices = surface.body @ self.posed.turn
        faces = self.posed.turn_faces(surface.body_faces)
        return self._add(vertices, faces, surface)

    def _add(
        self, vertices: FloatArray, faces: Faces, surface: Surface
    ) -> tuple[FloatArray, Faces]:
        for points, triangles in surface.extra:
            faces = np.concatenate([faces, self.posed.turn_faces(triangles) + len(vertices)])
            vertices = np.concatenate([vertices, points @ self.posed.turn])
        return vertices, faces

    def _build(self, surface: Surface) -> tuple[FloatArray, Faces, FloatArray]:
        """Vertices in camera space, faces, and the colour of each vertex; with a forearm."""
        truth = self.posed.mesh()
        if self.has_cap:
            vertices, faces = self._place(replace(surface, extra=()))
            body = replace(truth, vertices=vertices, faces=faces.astype(np.int32))
            vertices, faces = self._add(*with_forearm(body), surface)
        else:
            vertices, faces = self._place(surface)
        reach = np.clip(np.linalg.norm(vertices - truth.joints[0], axis=1) / 0.185, 0, 1)
        return vertices, faces, self.setting.skin(self._rng(2), len(vertices), reach)

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([*self.seed, purpose, 5])


def other_background(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """(H, W, 3) linear RGB: clouds of noise under stripes or tiles."""
    picture = np.full((height, width, 3), rng.uniform(0.05, 0.6, 3))
    for cells in (3, 8, 24):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        picture += 0.25 / cells**0.5 * cv2.resize(noise, (width, height)).astype(np.float64)
    y, x = np.mgrid[0:height, 0:width]
    turn, period = rng.uniform(0, np.pi), rng.uniform(18, 90)
    wave = np.sin(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / period)
    if rng.uniform() < 0.5:
        wave = np.sign(wave) * np.sign(
            np.sin(2 * np.pi * (y * np.cos(turn) - x * np.sin(turn)) / period)
        )
    picture *= 1.0 + rng.uniform(0.0, 0.5) * wave[..., None] * rng.uniform(0.3, 1.0, 3)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.6, 5.0))), 0.0, 1.0)


def other_skin(rng: np.random.Generator, count: int, height: FloatArray) -> FloatArray:
    """(count, 3) linear albedo: one tone with coarse blotches and pale tips."""
    tone = (SKIN_TONES[rng.integers(len(SKIN_TONES))] / 255.0) ** 2.0 * rng.uniform(0.75, 1.1)
    pale = 1.0 + 0.25 * (height[:, None] ** 2) * rng.uniform(-1, 1)
    tint = rng.uniform(0.92, 1.08, 3)
    blotches = 1.0 + 0.07 * rng.normal(size=(count, 1))
    return np.asarray(np.clip(tone * tint * pale * blotches, 0.0, 1.0))


def other_light(rng: np.random.Generator, albedo: FloatArray, normals: FloatArray) -> FloatArray:
    """Two lamps without a soft edge, little sky, a broad and a narrow highlight."""
    total = albedo * rng.uniform(0.12, 0.35)
    for power in (rng.uniform(0.6, 1.0), rng.uniform(0.1, 0.5)):
        lamp = np.array([rng.uniform(-1, 1), rng.uniform(-1, 1), -rng.uniform(0.3, 1.0)])
        lamp /= np.linalg.norm(lamp)
        colour = 1.0 + rng.uniform(-0.25, 0.25, 3)
        total = total + albedo * power * colour * np.clip(normals @ lamp, 0, None)[..., None]
        halfway = lamp + np.array([0.0, 0.0, -1.0])
        halfway /= np.linalg.norm(halfway)
        shine = np.clip(normals @ halfway, 0, 1)[..., None]
        total = total + power * (rng.uniform(0, 0.06) * shine**6 + rng.uniform(0, 0.2) * shine**50)
    return total


def other_finish(rng: np.random.Generator, canvas: FloatArray) -> Image:
    """A steeper curve, coloured grain, JPEG."""
    exposed = 1.0 - np.exp(-rng.uniform(1.1, 1.8) * np.clip(canvas, 0, None))
    picture = exposed ** (1 / GAMMA) * 255
    picture += cv2.GaussianBlur(
        rng.normal(scale=rng.uniform(1, 6), size=picture.shape), (0, 0), 0.7
    )
    whole = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
    _, coded = cv2.imencode(".jpg", whole[..., ::-1], quality)
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


SETTINGS = {
    "plain": Setting(random_background, skin_colours, shade, finish),
    "other": Setting(other_background, other_skin, other_light, other_finish),
}


def all_pictures(twins: Twins) -> Iterator[tuple[str, Image]]:
    """("good", picture), then each fault's name and picture."""
    yield "good", twins.good
    yield from twins.faulty.items()
