"""What lies behind the old hand: the surroundings continued, with their grain."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.inpaint.closeup import Floats, blur
from handrefiner_ext.types import Mask

TELEA_RADIUS_PX = 4
TONES_PX = 176
TEXTURE_SIGMA_PX = 3.0
GRAIN_SIGMA_PX = 1.0
GRAIN_LIMIT = 0.012


def fill_hole(image: Floats, hole: Mask, usable: Mask) -> Floats:
    """(h, w, 3) 0..1 with `hole` painted over from the pixels that are `usable`.

    Broad tones by Telea 2004, "An image inpainting technique based on the fast marching
    method", softened where it had to invent much; texture and grain mirrored at the rim.
    """
    unknown = hole | ~usable
    if unknown.all() or not hole.any():
        return image
    flags = unknown.astype(np.uint8)
    filled = _continue_tones(image, flags)
    depth, nearest = cv2.distanceTransformWithLabels(
        flags, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    broad = blur(filled, TEXTURE_SIGMA_PX)
    soft = blur(filled, max(1.0, 0.15 * float(depth.max())))
    share = np.clip(depth / max(6.0, float(depth.max())), 0.0, 1.0)[..., None]
    toned = broad + share * (soft - broad)
    textured = toned + _mirrored(image - broad, hole, usable, np.asarray(nearest))
    return np.where(hole[..., None], np.clip(textured, 0.0, 1.0), image).astype(np.float32)


def _continue_tones(image: Floats, unknown: NDArray[np.uint8]) -> Floats:
    """The broad tones of the known pixels led on into the unknown ones, at a small scale."""
    height, width = unknown.shape
    scale = min(1.0, TONES_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    known = (1.0 - unknown).astype(np.float32)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    tones = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
    tones = tones / np.maximum(weight, 1e-3)[..., None]
    whole = np.clip(np.rint(tones * 255.0), 0, 255).astype(np.uint8)
    flags = (weight < 0.5).astype(np.uint8)
    if flags.all():
        flags = (weight <= weight.max() - 1e-3).astype(np.uint8)
    filled = cv2.inpaint(whole, flags, TELEA_RADIUS_PX, cv2.INPAINT_TELEA)
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(unknown[..., None] > 0, large.astype(np.float32) / 255.0, image)


def _mirrored(
    texture: Floats, hole: Mask, usable: Mask, nearest: NDArray[np.integer[Any]]
) -> Floats:
    """(h, w, 3) for each hole pixel the texture as far behind its nearest known pixel as it lies
    before it, or of that pixel itself where the picture ends."""
    height, width = hole.shape
    known = np.flatnonzero(usable & ~hole)
    place = np.zeros(int(nearest.max()) + 1, dtype=np.int64)
    place[nearest.reshape(-1)[known]] = known
    rows, columns = np.nonzero(hole)
    rim_rows, rim_columns = np.divmod(place[nearest[rows, columns]], width)
    far_rows = np.clip(2 * rim_rows - rows, 0, height - 1)
    far_columns = np.clip(2 * rim_columns - columns, 0, width - 1)
    sound = usable[far_rows, far_columns] & ~hole[far_rows, far_columns]
    far_rows = np.where(sound, far_rows, rim_rows)
    far_columns = np.where(sound, far_columns, rim_columns)
    mirrored = np.zeros_like(texture)
    mirrored[rows, columns] = texture[far_rows, far_columns]
    return mirrored


def grain_of(image: Floats) -> float:
    """Standard deviation of the fine grain, by its calmer half: lines and folds do not count."""
    grey = image.mean(axis=2)
    fine = np.abs(grey - blur(grey, GRAIN_SIGMA_PX))
    # A quarter of a normal distribution lies within 0.32 deviations; the blur leaves 0.77 of it.
    return float(min(np.percentile(fine, 25.0) / 0.32 / 0.77, GRAIN_LIMIT))


def make_grain(shape: tuple[int, int], generator: np.random.Generator) -> Floats:
    """(h, w) noise of deviation 1, a little wider than a pixel as in pictures that were scaled."""
    white = generator.standard_normal(shape, dtype=np.float32)
    return np.asarray(blur(white, 0.6) * 1.75)
