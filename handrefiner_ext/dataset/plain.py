"""The plain preset: the scenes that the rendered benchmarks and the form network were made with.

Simple hands at given places, with a forearm, in soft light. It stays as it is, so that figures
measured with it can be compared; `samples.py` is the generator for everything else. Everything
follows from a seed; `split` keeps the seeds of training and validation pictures apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset.anatomy_maps import vertex_normals
from handrefiner_ext.dataset.hands import BentHand
from handrefiner_ext.dataset.poses import random_angles
from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.rasterize import covered_box, picture_points, rasterize, z_buffer
from handrefiner_ext.geometry.transforms import MIRROR, rotation_about, see_joints
from handrefiner_ext.mesh.open_hand.anatomy import load_anatomy
from handrefiner_ext.mesh.open_hand.model import OpenHand, load_open_hand
from handrefiner_ext.types import (
    Box,
    DepthMap,
    Faces,
    FloatArray,
    Handedness,
    HandMesh,
    Image,
    WeakPerspective,
)

SPLITS = {"train": 0, "validation": 1}
GAMMA = 2.2
"""From linear light to the 8-bit picture."""

SKIN_TONES = np.array(
    [[255, 219, 190], [240, 194, 160], [222, 170, 130], [190, 136, 98], [141, 91, 61], [92, 58, 40]]
)
TILT_DEVIATION = np.radians(30.0)
FOREARM_M, FOREARM_RINGS = 0.16, 6


@dataclass(frozen=True)
class TrueHand:
    """A rendered hand: its mesh as the reconstructors would give it, and its depth in the picture.

    depth: over `box`, metres in camera space, infinity where the hand is not; of the hand alone,
    also where an arm or another hand hides it.
    """

    mesh: HandMesh
    box: Box
    depth: DepthMap


@dataclass(frozen=True)
class Scene:
    """A picture and the hands in it."""

    image: Image
    hands: tuple[TrueHand, ...] = field(default=())


@dataclass(frozen=True)
class HandModel:
    """A hand to draw; `has_cap`: its last vertex closes the wrist, and a forearm may follow."""

    model: OpenHand
    has_cap: bool


@dataclass(frozen=True)
class Placement:
    """Where a hand goes: centre and size (longer side of the joints' box), pixels."""

    centre_x: float
    centre_y: float
    size_px: float


def open_hand_model() -> HandModel:
    return HandModel(load_open_hand(), has_cap=True)


def generator(split: str, number: int) -> np.random.Generator:
    return np.random.default_rng([SPLITS[split], number])


def random_shape(rng: np.random.Generator, model: OpenHand) -> FloatArray:
    """(k,) every shape within 10 % of the mean hand."""
    return rng.uniform(-1.0, 1.0, model.shape_count)


def random_rotation(rng: np.random.Generator) -> FloatArray:
    """(3, 3): palm or back to the viewer, tilted, rolled in the picture plane, mostly upright."""
    facing = rotation_about(np.array([0.0, 1.0, 0.0]), np.array(np.pi * rng.integers(2)))
    direction = rng.uniform(0, 2 * np.pi)
    tilt_axis = np.array([np.cos(direction), np.sin(direction), 0.0])
    tilt = rotation_about(tilt_axis, np.array(abs(rng.normal()) * TILT_DEVIATION))
    roll = rotation_about(np.array([0.0, 0.0, 1.0]), np.array(rng.normal() * np.radians(45)))
    return roll @ tilt @ facing


@dataclass(frozen=True)
class PosedHand(BentHand):
    """A hand model in a pose, and how it lies in the picture.

    turn: (3, 3), applied from the right, mirror included.
    """

    side: Handedness
    turn: FloatArray
    camera: WeakPerspective

    def mesh(self) -> HandMesh:
        """The hand as the reconstructors would give it; `hand` holds the exact landmarks."""
        joints = self.posed().landmarks @ self.turn
        hand = see_joints(joints, self.camera, self.side)
        vertices = self.skin() @ self.turn
        return HandMesh(
            hand, vertices, self.turn_faces(self.model.faces), joints, self.camera, 0.0, "truth"
        )

    def turn_faces(self, faces: Faces) -> NDArray[np.int32]:
        faces = faces[:, ::-1] if self.side == "left" else faces
        return np.asarray(faces, dtype=np.int32)


def pose_hand(rng: np.random.Generator, place: Placement, model: OpenHand) -> PosedHand:
    """A random hand at a place in the picture."""
    side: Handedness = "right" if rng.integers(2) else "left"
    shape = random_shape(rng, model)
    angles = random_angles(rng, load_anatomy(model.shape_names))
    turn = (MIRROR if side == "left" else np.ones(3))[:, None] * random_rotation(rng).T
    joints = model.pose_skeleton(model.skeleton(shape), angles).landmarks @ turn
    low, high = joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)
    scale = place.size_px / float((high - low).max())
    shift = np.array([place.centre_x, place.centre_y]) - scale * (low + high) / 2
    camera = WeakPerspective(scale, float(shift[0]), float(shift[1]))
    return PosedHand(model, shape, angles, side, turn, camera)


def make_mesh(rng: np.random.Generator, place: Placement, model: OpenHand) -> HandMesh:
    """A random hand at a place in the picture; `hand` holds the exact landmarks."""
    return pose_hand(rng, place, model).mesh()


def with_forearm(mesh: HandMesh) -> tuple[FloatArray, Faces]:
    """Vertices and faces of the hand with a forearm in place of its cap."""
    cap = len(mesh.vertices) - 1
    rim_faces = mesh.faces[(mesh.faces == cap).any(axis=1)]
    hand_faces = mesh.faces[~(mesh.faces == cap).any(axis=1)]
    edges = [[v for v in np.roll(f, -list(f).index(cap))[1:]] for f in rim_faces]
    follow = {int(a): int(b) for a, b in edges}
    rim = [next(iter(follow))]
    while follow[rim[-1]] != rim[0]:
        rim.append(follow[rim[-1]])
    centre = mesh.vertices[cap]
    along = (centre - mesh.joints[0]) / np.linalg.norm(centre - mesh.joints[0])
    ring = mesh.vertices[rim] - centre
    vertices, faces, previous = [mesh.vertices], [hand_faces], np.array(rim)
    for k in range(1, FOREARM_RINGS + 1):
        t = k / FOREARM_RINGS
        vertices.append(centre + along * FOREARM_M * t + ring * (1 + 0.45 * t))
        now = len(mesh.vertices) + (k - 1) * len(rim) + np.arange(len(rim))
        nxt, prev_next = np.roll(now, -1), np.roll(previous, -1)
        faces += [np.stack([previous, prev_next, now], 1), np.stack([prev_next, nxt, now], 1)]
        previous = now
    end = np.full(len(rim), len(mesh.vertices) + FOREARM_RINGS * len(rim))
    vertices.append((centre + along * FOREARM_M)[None])
    faces.append(np.stack([previous, np.roll(previous, -1), end], 1))
    return np.concatenate(vertices), np.concatenate(faces)


def skin_colours(rng: np.random.Generator, count: int, height: FloatArray) -> FloatArray:
    """(count, 3) linear albedo: a tone, blotches, redder towards the tips (`height` 0..1)."""
    a, b = SKIN_TONES[rng.integers(len(SKIN_TONES) - 1) + np.array([0, 1])] / 255.0
    tone = (a + rng.uniform() * (b - a)) ** GAMMA
    red = np.array([1.0, 0.82, 0.80]) ** (height[:, None] * rng.uniform(0, 1.2))
    blotches = 1.0 + 0.04 * rng.normal(size=(count, 1))
    return np.asarray(tone * red * blotches)


def shade(rng: np.random.Generator, albedo: FloatArray, normals: FloatArray) -> FloatArray:
    """Wrapped Lambert light from one side, sky light from above, a weak highlight; linear RGB."""
    direction = np.array([rng.uniform(-1, 1), rng.uniform(-1.2, 0.3), -rng.uniform(0.4, 1.2)])
    direction /= np.linalg.norm(direction)
    warm = 1.0 + rng.uniform(-0.12, 0.12, 3)
    wrap = rng.uniform(0.1, 0.4)
    key = np.clip((normals @ direction + wrap) / (1 + wrap), 0, None)[..., None]
    sky = (0.5 - 0.5 * normals[..., 1:2]) * rng.uniform(0.2, 0.5) + rng.uniform(0.08, 0.2)
    halfway = direction + np.array([0.0, 0.0, -1.0])
    halfway /= np.linalg.norm(halfway)
    shine = rng.uniform(0, 0.25) * np.clip(normals @ halfway, 0, 1)[..., None] ** 24
    return np.asarray(albedo * (key * warm * rng.uniform(0.7, 1.1) + sky) + shine)


def random_background(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """(H, W, 3) linear RGB: a gradient, soft shapes and grain."""
    corners = rng.uniform(0.02, 0.8, (2, 2, 3)).astype(np.float32)
    picture = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(int(rng.integers(3, 12))):
        layer = picture.copy()
        x, y = int(rng.integers(width)), int(rng.integers(height))
        radius = int(rng.uniform(0.03, 0.3) * max(height, width)) + 1
        colour = [float(c) for c in rng.uniform(0.02, 0.9, 3)]
        if rng.uniform() < 0.5:
            cv2.circle(layer, (x, y), radius, colour, -1)
        else:
            cv2.rectangle(layer, (x, y), (x + radius, y + 2 * radius), colour, -1)
        picture = 0.5 * picture + 0.5 * layer
    blur = float(rng.uniform(0.5, 0.02 * max(height, width)))
    return cv2.GaussianBlur(picture, (0, 0), blur).astype(np.float64)


def draw_hand(
    rng: np.random.Generator, canvas: FloatArray, mesh: HandMesh, has_cap: bool
) -> TrueHand:
    """Paint the hand, with a forearm if it may have one, onto the linear canvas, anti-aliased."""
    height, width = canvas.shape[:2]
    vertices, faces = with_forearm(mesh) if has_cap else (mesh.vertices, mesh.faces)
    points = np.column_stack([mesh.camera.project(vertices), vertices[:, 2]])
    box = clip(bounding_box(points[:, :2]), height, width)
    fine = 2
    fine_box = Box(*(fine * v for v in box))
    fragments = rasterize(points * [fine, fine, 1], faces, fine_box)
    normals = vertex_normals(vertices, faces)
    reach = np.clip(np.linalg.norm(vertices - mesh.joints[0], axis=1) / 0.185, 0, 1)
    albedo = skin_colours(rng, len(vertices), reach)
    corners = faces[np.maximum(fragments.triangle, 0)]
    weights = fragments.barycentric[..., None]
    smooth = (normals[corners] * weights).sum(axis=2)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=2, keepdims=True), 1e-9)
    colour = shade(rng, (albedo[corners] * weights).sum(axis=2), smooth)
    cover = (fragments.triangle >= 0)[..., None].astype(np.float64)
    rows, columns = box.height, box.width
    layout = (rows, fine, columns, fine, -1)
    alpha = cover.reshape(layout).mean(axis=(1, 3))
    paint = (colour * cover).reshape(layout).mean(axis=(1, 3))
    canvas[box.slices] = canvas[box.slices] * (1 - alpha) + paint
    own = picture_points(mesh)
    own_box = covered_box(own, height, width)
    depth, _ = z_buffer(own, mesh.faces, own_box)
    hand = replace(mesh.hand, box=clip(mesh.hand.box, height, width))
    return TrueHand(replace(mesh, hand=hand), own_box, depth)


def finish(rng: np.random.Generator, canvas: FloatArray) -> Image:
    """Linear RGB to an 8-bit picture with grain and a little blur."""
    picture = np.clip(canvas, 0, 1) ** (1 / GAMMA) * 255
    blur = rng.uniform(0, 0.8)
    if blur > 0.2:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), dtype=np.float64)
    picture = picture + rng.normal(scale=rng.uniform(0.5, 4), size=picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def make_scene(
    rng: np.random.Generator,
    height: int,
    width: int,
    places: tuple[Placement, ...],
    hand: HandModel | None = None,
) -> Scene:
    """A picture with one random hand at each place; `hand` is the open hand if not given."""
    hand = hand or open_hand_model()
    canvas = random_background(rng, height, width)
    hands = tuple(
        draw_hand(rng, canvas, make_mesh(rng, place, hand.model), hand.has_cap) for place in places
    )
    return Scene(finish(rng, canvas), hands)
