"""Hands and pictures that the tests of the render stage share."""

from __future__ import annotations

import numpy as np
import trimesh

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.rasterize import covered_box, interpolate, picture_points, rasterize
from handrefiner_ext.mesh.open_hand.anatomy import load_anatomy
from handrefiner_ext.mesh.open_hand.model import load_open_hand
from handrefiner_ext.types import Hand, HandMesh, WeakPerspective

MODELS = ("open_hand", "capsules", "box", "torus")


def rotation(seed: int, most_degrees: float = 180.0) -> np.ndarray:
    """(3, 3): a turn about a random axis."""
    random = np.random.default_rng(seed)
    angle = np.radians(random.uniform(-most_degrees, most_degrees))
    turn = trimesh.transformations.rotation_matrix(angle, random.normal(size=3))
    return np.asarray(turn[:3, :3])


def shape_of(model: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (n, 3) m, faces (m, 3) and joints (21, 3) m of a hand-sized thing, turned."""
    vertices, faces, joints = SHAPES[model](seed)
    turn = rotation(seed)
    return vertices @ turn.T, np.asarray(faces, dtype=np.int32), joints @ turn.T


def _open_hand(seed: int):
    model = load_open_hand()
    anatomy = load_anatomy(model.shape_names)
    random = np.random.default_rng(seed)
    free = np.clip(random.normal(anatomy.mean, anatomy.deviation), anatomy.low, anatomy.high)
    angles, shape = anatomy.angles(free), np.zeros(model.shape_count)
    posed = model.pose_skeleton(model.skeleton(shape), angles)
    return model.skin(shape, posed), model.faces, posed.joints


def _capsules(seed: int):
    """Four fingers and a thumb of crossing capsules on a palm: overlaps itself, has no skin."""
    parts = []
    for x in (-0.03, -0.01, 0.01, 0.03):
        parts.append(_capsule((x, 0.08, 0), (x, 0.0, 0.0), 0.013))
        parts.append(_capsule((x, 0.0, 0.0), (1.4 * x, -0.08, 0.03 + x), 0.009))
    parts.append(_capsule((-0.03, 0.05, 0), (-0.08, 0.0, -0.03), 0.011))
    whole = trimesh.util.concatenate(parts)
    return np.asarray(whole.vertices), np.asarray(whole.faces), _any_joints(whole)


def _capsule(start, stop, radius: float) -> trimesh.Trimesh:
    along = np.subtract(stop, start)
    length = np.linalg.norm(along)
    part = trimesh.creation.capsule(height=length, radius=radius, count=[12, 12])
    place = trimesh.geometry.align_vectors([0, 0, 1], along / length)
    place[:3, 3] = start
    return part.apply_transform(place)


def _primitive(make):
    def build(seed: int):
        whole = make()
        return np.asarray(whole.vertices), np.asarray(whole.faces), _any_joints(whole)

    return build


def _any_joints(whole: trimesh.Trimesh) -> np.ndarray:
    return np.asarray(whole.vertices)[np.linspace(0, len(whole.vertices) - 1, 21).astype(int)]


SHAPES = {
    "open_hand": _open_hand,
    "capsules": _capsules,
    "box": _primitive(lambda: trimesh.creation.box((0.1, 0.18, 0.04))),
    "torus": _primitive(lambda: trimesh.creation.torus(0.06, 0.02)),
}


def place(
    shape: tuple[np.ndarray, np.ndarray, np.ndarray],
    scale: float = 1500.0,
    shift: tuple[float, float] = (200.0, 200.0),
    image_size: tuple[int, int] = (400, 400),
) -> HandMesh:
    """The thing as a reconstructed hand whose landmarks are its joints."""
    vertices, faces, joints = shape
    camera = WeakPerspective(scale, *shift)
    landmarks = camera.project(joints)
    hand = Hand(
        handedness="right",
        handedness_score=1.0,
        score=1.0,
        box=clip(bounding_box(landmarks), *image_size),
        landmarks=landmarks,
        landmark_depth=joints[:, 2] * scale,
        world_landmarks=joints,
    )
    return HandMesh(hand, vertices, faces, joints, camera, 0.0, "test")


def edge_of(silhouette: np.ndarray) -> np.ndarray:
    """Pixels that have a neighbour of the other kind."""
    padded = np.pad(silhouette, 1, mode="edge")
    rows, columns = silhouette.shape
    shifted = [
        padded[y : y + rows, x : x + columns]
        for y in range(3)
        for x in range(3)
        if (y, x) != (1, 1)
    ]
    return np.any([part != silhouette for part in shifted], axis=0)


def photograph(meshes: list[HandMesh], image_size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: the hands in skin colour over a mottled ground, the last one in front."""
    random = np.random.default_rng(seed)
    picture = np.clip(random.normal(110, 12, (*image_size, 3)), 0, 255)
    for mesh in meshes:
        points = picture_points(mesh)
        box = covered_box(points, *image_size)
        fragments = rasterize(points, mesh.faces, box)
        normals = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).vertex_normals
        shades = interpolate(fragments, mesh.faces, np.asarray(normals)) @ (-0.3, -0.4, -0.87)
        seen = fragments.triangle >= 0
        light = 0.35 + 0.65 * np.clip(shades[seen], 0, 1)
        picture[box.slices][seen] = light[:, None] * (224, 172, 150) + random.normal(
            0, 2, (len(light), 3)
        )
    return np.clip(picture, 0, 255).astype(np.uint8)
