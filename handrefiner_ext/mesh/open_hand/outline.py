"""The hand's outline in the picture, as evidence for the fit.

Colours learnt from pixels well inside and well outside the fitted silhouette say how likely each
pixel is hand. Along the silhouette's normals, the outline is the place that best divides likely
from unlikely pixels. These places become further residuals of the fit. They are robust and limited
in reach, so that anatomy decides where the outline is malformed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import bounding_box, clip, grow
from handrefiner_ext.geometry.probability import Likelihood, hand_likelihood
from handrefiner_ext.geometry.rasterize import z_buffer
from handrefiner_ext.mesh.open_hand.fit import OutlineTarget
from handrefiner_ext.mesh.open_hand.kinematics import Kinematics, Pose
from handrefiner_ext.topology import MIDDLE_MCP, WRIST
from handrefiner_ext.types import Box, Faces, FloatArray, Image

WORKING_SIZE = 140.0
"""Hand size, in pixels, at which the outline is looked for; a finger is some 14 pixels wide."""

CROP_MARGIN = 0.2
OUTLINE_REACH = 0.07
"""Hand sizes from the silhouette within which the outline is looked for."""

SAMPLES = 25
MAX_POINTS = 120
MIN_CONTRAST = 0.35
GRAZING = 0.3
"""A vertex can be on the silhouette if its normal has at most this part along the line of sight."""

OUTLINE_DEVIATION = 0.02
"""Expected error of a point of the outline, hand sizes; large, because neighbours err together."""


@dataclass(frozen=True)
class FitSpace:
    """Where the fit's space is in the picture: it is centred and in hand sizes.

    centre: (2,) pixels. size_px: hand size. mirror: (2,), -1 along x for left hands.
    """

    centre: FloatArray
    size_px: float
    mirror: FloatArray

    def to_picture(self, points: FloatArray) -> FloatArray:
        """Convert (n, 2) points to pixels of the picture."""
        return np.asarray(points * self.mirror * self.size_px + self.centre)


@dataclass(frozen=True)
class OutlineCrop:
    """The picture around a hand at working size.

    pixels: (h, w, 3). box: of the picture. scale: crop pixels per picture pixel.
    """

    pixels: Image
    box: Box
    scale: float
    space: FitSpace

    def locate(self, points: FloatArray) -> FloatArray:
        """Convert (n, 2) points of the fit's space to pixels of the crop."""
        origin = np.array([self.box.x0, self.box.y0])
        return np.asarray((self.space.to_picture(points) - origin) * self.scale)


def cut_outline_crop(image: Image, points: FloatArray, space: FitSpace) -> OutlineCrop | None:
    """Return the picture around (n, 2) points of the fit's space; None if it is too small."""
    margin = int(CROP_MARGIN * space.size_px) + 2
    box = grow(bounding_box(space.to_picture(points)), margin, margin)
    box = clip(box, *image.shape[:2])
    scale = min(1.0, WORKING_SIZE / space.size_px)
    columns, rows = int(box.width * scale), int(box.height * scale)
    if min(columns, rows) < 16:
        return None
    pixels = cv2.resize(image[box.slices], (columns, rows), interpolation=cv2.INTER_AREA)
    return OutlineCrop(pixels.astype(np.uint8), box, scale, space)


@dataclass(frozen=True)
class OutlineEvidence:
    """What the picture shows of the outline near a first fit.

    likelihood: (h, w) probability of each pixel of the crop to be hand. silhouette: (h, w), 1
    under the first fit's mesh.
    """

    crop: OutlineCrop
    likelihood: Likelihood
    silhouette: Likelihood

    def find_target(self, kinematics: Kinematics, pose: Pose) -> OutlineTarget | None:
        """Return the silhouette's vertices and where the picture shows the outline near them."""
        numbers, points, normals = _silhouette_vertices(
            kinematics, pose, self.crop, self.silhouette
        )
        steps = np.linspace(-OUTLINE_REACH, OUTLINE_REACH, SAMPLES)
        line = points[:, None] + steps[None, :, None] * normals[:, None]
        profile = _sample(self.likelihood, self.crop.locate(line.reshape(-1, 2)))
        shift, contrast = _divide(profile.reshape(-1, SAMPLES), steps)
        sure = np.flatnonzero(contrast > MIN_CONTRAST)
        sure = sure[:: 1 + len(sure) // MAX_POINTS]
        if len(sure) == 0:
            return None
        aim = (points * normals).sum(axis=1) + shift
        return OutlineTarget(numbers[sure], normals[sure], aim[sure], OUTLINE_DEVIATION)

    def measure_disagreement(self, kinematics: Kinematics, pose: Pose) -> float:
        """Return the area that is hand in the picture or under the mesh of `pose`, but not both.

        It is a share of the mesh's silhouette.
        """
        # Only the fingers' side of the wrist counts; behind it the arm is skin without mesh.
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


def draw_silhouette(kinematics: Kinematics, pose: Pose, crop: OutlineCrop) -> NDArray[np.uint8]:
    """Return (h, w), 1 under the mesh of `pose`."""
    points = kinematics.place_vertices(pose)
    located = np.column_stack([crop.locate(points[:, :2]), points[:, 2]])
    rows, columns = crop.pixels.shape[:2]
    _, triangle = z_buffer(located, kinematics.model.faces, Box(0, 0, columns, rows))
    return (triangle >= 0).astype(np.uint8)


def find_outline_evidence(
    kinematics: Kinematics, pose: Pose, image: Image, space: FitSpace
) -> OutlineEvidence | None:
    """Learn the hand's colours near the mesh of `pose`; None if there are too few pixels."""
    crop = cut_outline_crop(image, kinematics.place_vertices(pose)[:, :2], space)
    if crop is None:
        return None
    silhouette = draw_silhouette(kinematics, pose, crop)
    reach = max(2, round(OUTLINE_REACH * space.size_px * crop.scale))
    likelihood = hand_likelihood(crop.pixels, silhouette, reach)
    if likelihood is None:
        return None
    return OutlineEvidence(crop, likelihood, silhouette.astype(np.float32))


def _silhouette_vertices(
    kinematics: Kinematics, pose: Pose, crop: OutlineCrop, silhouette: Likelihood
) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
    """Return numbers (n,), points (n, 2) and normals (n, 2) of the silhouette's vertices."""
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


def _vertex_normals(vertices: FloatArray, faces: Faces) -> FloatArray:
    """Return (n, 3) unit normals, weighted by the faces' area."""
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
    """Return (n,) bilinear values at (n, 2) points in pixels; the border continues outside."""
    x, y = np.ascontiguousarray((points - 0.5).T, dtype=np.float32)
    sampled = np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return sampled.ravel().astype(np.float64)


def _divide(profile: FloatArray, steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return where each (n, samples) profile falls from hand to background, and by how much."""
    # The best place has the most evidence for hand inside and for background outside. A weak pull
    # to the middle decides between equally good places.
    evidence = profile - 0.5
    inside = evidence.cumsum(axis=1)
    total = inside[:, -1:]
    score = 2 * inside - total - 0.6 * (steps / OUTLINE_REACH) ** 2
    best = score.argmax(axis=1)
    index = np.arange(profile.shape[1])
    within, beyond = index <= best[:, None], index > best[:, None]
    inner = (profile * within).sum(axis=1) / within.sum(axis=1)
    outer = (profile * beyond).sum(axis=1) / np.maximum(beyond.sum(axis=1), 1)
    half_step = 0.5 * (steps[1] - steps[0])
    at_end = (best == 0) | (best >= len(steps) - 2)
    return steps[best] + half_step, np.where(at_end, 0.0, inner - outer)
