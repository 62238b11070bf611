"""Evidence from the picture: where the outline of the hand lies.

Colours learnt from the pixels well inside and well outside the fitted silhouette say how likely
each pixel is hand. Along the normals of the silhouette, the place that best divides likely from
unlikely is the outline. The fit takes these places as further residuals, robustly and within
reach only, so that anatomy keeps the last word over a malformed outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import bounding_box, clip, grow
from handrefiner_ext.geometry.probability import Likelihood, hand_likelihood
from handrefiner_ext.geometry.rasterize import z_buffer
from handrefiner_ext.mesh.open_hand.fit import Contour
from handrefiner_ext.mesh.open_hand.kinematics import Kinematics, Pose
from handrefiner_ext.topology import MIDDLE_MCP, WRIST
from handrefiner_ext.types import Box, FloatArray, Image

WORKING_SIZE = 140.0
"""Hand size, in pixels, at which the outline is looked for; a finger is some 14 pixels wide."""

MARGIN = 0.2
REACH = 0.07
"""How far from the silhouette the outline is looked for, hand sizes."""

SAMPLES = 25
MAX_POINTS = 120
MIN_CONTRAST = 0.35
GRAZING = 0.3
"""Largest part of a vertex's normal along the line of sight that counts as outline."""

CONTOUR_DEVIATION = 0.02
"""Expected error of one outline point, hand sizes; neighbours err together, so it is large."""


@dataclass(frozen=True)
class Placing:
    """From the fit's space (centred, hand sizes, mirrored for left hands) to the picture."""

    centre: FloatArray
    size_px: float
    mirror: FloatArray

    def to_picture(self, points: FloatArray) -> FloatArray:
        """(n, 2) -> (n, 2) pixels."""
        return np.asarray(points * self.mirror * self.size_px + self.centre)


@dataclass(frozen=True)
class Crop:
    """The picture around a hand at working size."""

    pixels: Image
    box: Box
    scale: float
    placing: Placing

    def locate(self, points: FloatArray) -> FloatArray:
        """(n, 2) in the fit's space -> (n, 2) pixels of the crop."""
        origin = np.array([self.box.x0, self.box.y0])
        return np.asarray((self.placing.to_picture(points) - origin) * self.scale)


def cut_crop(image: Image, points: FloatArray, placing: Placing) -> Crop | None:
    """The part of the picture around (n, 2) points of the fit's space; None where too small."""
    margin = int(MARGIN * placing.size_px) + 2
    box = grow(bounding_box(placing.to_picture(points)), margin, margin)
    box = clip(box, *image.shape[:2])
    scale = min(1.0, WORKING_SIZE / placing.size_px)
    columns, rows = int(box.width * scale), int(box.height * scale)
    if min(columns, rows) < 16:
        return None
    pixels = cv2.resize(image[box.slices], (columns, rows), interpolation=cv2.INTER_AREA)
    return Crop(pixels.astype(np.uint8), box, scale, placing)


@dataclass(frozen=True)
class Outline:
    """What the picture says about the outline near a first fit.

    likelihood: (h, w) of each pixel of the crop to be hand. silhouette: (h, w), 1 under the first
    fit's mesh.
    """

    crop: Crop
    likelihood: Likelihood
    silhouette: Likelihood

    def find_contour(self, kinematics: Kinematics, pose: Pose) -> Contour | None:
        """Vertices on the silhouette with the lines to which the picture would move them."""
        numbers, points, normals = _silhouette_vertices(
            kinematics, pose, self.crop, self.silhouette
        )
        steps = np.linspace(-REACH, REACH, SAMPLES)
        line = points[:, None] + steps[None, :, None] * normals[:, None]
        profile = _sample(self.likelihood, self.crop.locate(line.reshape(-1, 2)))
        shift, contrast = _divide(profile.reshape(-1, SAMPLES), steps)
        sure = np.flatnonzero(contrast > MIN_CONTRAST)
        sure = sure[:: 1 + len(sure) // MAX_POINTS]
        if len(sure) == 0:
            return None
        aim = (points * normals).sum(axis=1) + shift
        return Contour(numbers[sure], normals[sure], aim[sure], CONTOUR_DEVIATION)

    def disagreement(self, kinematics: Kinematics, pose: Pose) -> float:
        """Area that is hand in the picture or under the mesh of `pose`, but not both.

        As a share of the mesh's silhouette, beyond the wrist only, where no arm confuses it.
        """
        likely = self.likelihood > 0.5
        covered = draw_silhouette(kinematics, pose, self.crop) > 0
        wrist, knuckle = self.crop.locate(kinematics.place_landmarks(pose)[[WRIST, MIDDLE_MCP], :2])
        rows, columns = np.indices(likely.shape)
        along = knuckle - wrist
        beyond = (columns - wrist[0]) * along[0] + (rows - wrist[1]) * along[1] > 0.0
        covered, likely = covered & beyond, likely & beyond
        _, parts = cv2.connectedComponents((likely | covered).astype(np.uint8))
        attached = np.isin(parts, parts[covered])
        return float(((likely & attached) ^ covered).sum() / max(int(covered.sum()), 1))


def draw_silhouette(kinematics: Kinematics, pose: Pose, crop: Crop) -> NDArray[np.uint8]:
    """(h, w), 1 under the mesh of `pose`."""
    points = kinematics.place_vertices(pose)
    located = np.column_stack([crop.locate(points[:, :2]), points[:, 2]])
    rows, columns = crop.pixels.shape[:2]
    _, triangle = z_buffer(located, kinematics.model.faces, Box(0, 0, columns, rows))
    return (triangle >= 0).astype(np.uint8)


def look_at_outline(
    kinematics: Kinematics, pose: Pose, image: Image, placing: Placing
) -> Outline | None:
    """Learn the hand's colours near the mesh of `pose`; None where there is too little to see."""
    crop = cut_crop(image, kinematics.place_vertices(pose)[:, :2], placing)
    if crop is None:
        return None
    silhouette = draw_silhouette(kinematics, pose, crop)
    reach = max(2, round(REACH * placing.size_px * crop.scale))
    likelihood = hand_likelihood(crop.pixels, silhouette, reach)
    if likelihood is None:
        return None
    return Outline(crop, likelihood, silhouette.astype(np.float32))


def _silhouette_vertices(
    kinematics: Kinematics, pose: Pose, crop: Crop, silhouette: Likelihood
) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
    """Numbers (n,), points (n, 2) and unit normals (n, 2) of the vertices on the silhouette."""
    placed = kinematics.place_vertices(pose)
    normals = _vertex_normals(placed, kinematics.model.faces)
    grazing = (np.abs(normals[:, 2]) < GRAZING) & (kinematics.model.vertices[:, 1] < 0.0)
    numbers = np.flatnonzero(grazing)
    flat = normals[numbers, :2]
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    points = placed[numbers, :2]
    beyond = crop.locate(points + flat * (3.0 / WORKING_SIZE))
    outside = _sample(silhouette, beyond) < 0.5
    return numbers[outside], points[outside], flat[outside]


def _vertex_normals(vertices: FloatArray, faces: NDArray[np.int32]) -> FloatArray:
    """(n, 3) unit normals, weighted by area."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    face_normals = np.cross(b - a, c - a)
    total = np.stack(
        [
            np.bincount(faces.T.ravel(), np.tile(face_normals[:, axis], 3), minlength=len(vertices))
            for axis in range(3)
        ],
        axis=1,
    )
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def _sample(field: Likelihood, points: FloatArray) -> FloatArray:
    """(n,) bilinear values at (n, 2) pixel points; the border's value outside."""
    x, y = np.ascontiguousarray((points - 0.5).T, dtype=np.float32)
    sampled = np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return sampled.ravel().astype(np.float64)


def _divide(profile: FloatArray, steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where each (n, samples) profile falls from hand to background, and by how much.

    The best division has the likeliest hand on its inner and background on its outer side; a weak
    pull to the middle decides where many places are equally good.
    """
    evidence = profile - 0.5
    inside = evidence.cumsum(axis=1)
    total = inside[:, -1:]
    score = 2 * inside - total - 0.6 * (steps / REACH) ** 2
    best = score.argmax(axis=1)
    index = np.arange(profile.shape[1])
    within, beyond = index <= best[:, None], index > best[:, None]
    inner = (profile * within).sum(axis=1) / within.sum(axis=1)
    outer = (profile * beyond).sum(axis=1) / np.maximum(beyond.sum(axis=1), 1)
    half_step = 0.5 * (steps[1] - steps[0])
    at_end = (best == 0) | (best >= len(steps) - 2)
    return steps[best] + half_step, np.where(at_end, 0.0, inner - outer)
