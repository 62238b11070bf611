"""A drawn hand on an arm, with one finger too many, and the mesh that shall replace it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.rasterize import covered_box, picture_points, z_buffer
from handrefiner_ext.mesh.open_hand.model import load_open_hand
from handrefiner_ext.params import RefineParams
from handrefiner_ext.render.maps import build_maps
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.types import Hand, HandMesh, WeakPerspective

SKIN = np.array([205, 150, 125])
PARAMS = RefineParams(padding_bbox=24)
FACE_VIEWER = np.array([-1.0, 1.0, -1.0])


def open_mesh(centre, size_px, shape, handedness="right"):
    """The open hand at rest, palm to the viewer, fingers up; `centre` is the middle of it."""
    model = load_open_hand()
    mirror = FACE_VIEWER if handedness == "right" else np.array([1.0, 1.0, -1.0])
    vertices, joints = model.vertices * mirror, model.joints * mirror
    scale = size_px / np.ptp(joints[:, :2], axis=0).max()
    middle = (joints[:, :2].min(axis=0) + joints[:, :2].max(axis=0)) / 2.0
    shift = np.asarray(centre) - scale * middle
    camera = WeakPerspective(float(scale), float(shift[0]), float(shift[1]))
    landmarks = camera.project(joints)
    hand = Hand(
        handedness,
        0.9,
        0.9,
        clip(bounding_box(landmarks), *shape),
        landmarks,
        np.zeros(21),
        joints,
    )
    faces = model.faces if handedness == "right" else model.faces[:, ::-1]
    return HandMesh(hand, vertices, faces, joints, camera, 0.01, "open_hand")


@dataclass(frozen=True)
class Scene:
    image: np.ndarray
    meshes: tuple
    maps: object
    background: np.ndarray
    old: np.ndarray


def silhouette(mesh, shape):
    points = picture_points(mesh)
    box = covered_box(points, *shape)
    covered = np.zeros(shape, dtype=bool)
    covered[box.slices] = np.isfinite(z_buffer(points, mesh.faces, box)[0])
    return covered


def make_background(shape):
    """A soft gradient between two blues."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / max(shape)
    return np.stack([60 + 30 * x, 80 + 40 * y, 150 + 30 * x], axis=-1)


def make_scene(shape=(256, 256), size_px=110, skin=SKIN, grey=False):
    """The old hand: the mesh's own silhouette, an arm to the lower edge, and a sixth finger."""
    mesh = open_mesh((shape[1] / 2, 0.42 * shape[0]), size_px, shape)
    old = silhouette(mesh, shape).astype(np.uint8)
    wrist = mesh.joints_2d[0]
    width = round(0.26 * size_px)
    left, top = round(wrist[0] - width / 2), round(wrist[1])
    old[top:, left : left + width] = 1
    ends = [mesh.joints_2d[0], mesh.joints_2d[0] + size_px * np.array([-0.42, -0.46])]
    cv2.line(old, *(tuple(int(v) for v in end) for end in ends), 1, max(2, round(0.09 * size_px)))
    old = old.astype(bool)
    background = make_background(shape)
    y, _ = np.mgrid[0 : shape[0], 0 : shape[1]]
    shaded = np.asarray(skin) * (1.08 - 0.16 * y / shape[0])[..., None]
    picture = np.where(old[..., None], shaded, background)
    picture += np.random.default_rng(0).normal(scale=1.0, size=(*shape, 1))
    if grey:
        picture = np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1)
        background = np.repeat(background.mean(axis=-1, keepdims=True), 3, axis=-1)
    image = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return Scene(image, (mesh,), maps_for((mesh,), image), background, old)


def maps_for(meshes, image, params=PARAMS, drawn=None):
    return build_maps(
        tuple(meshes), image.shape[:2], RasterRenderer(), params, drawn_mask=drawn, image=image
    )


def move_mesh(mesh, shift):
    """The mesh and its hand, moved in the picture."""
    camera = replace(
        mesh.camera, shift_x=mesh.camera.shift_x + shift[0], shift_y=mesh.camera.shift_y + shift[1]
    )
    hand = replace(mesh.hand, landmarks=mesh.hand.landmarks + np.asarray(shift))
    return replace(mesh, camera=camera, hand=hand)


def with_texture(scene, amplitude=9.0):
    """The same picture with grain and the unevenness of skin, which no drawing has."""
    y, x = np.mgrid[0 : scene.image.shape[0], 0 : scene.image.shape[1]]
    uneven = amplitude * (np.sin(x / 2.3 + y / 7.0) + np.cos(y / 3.1 - x / 9.0)) / 2
    grain = np.random.default_rng(2).normal(scale=2.0, size=x.shape)
    picture = scene.image + (uneven + grain)[..., None]
    return replace(scene, image=np.clip(np.rint(picture), 0, 255).astype(np.uint8))
