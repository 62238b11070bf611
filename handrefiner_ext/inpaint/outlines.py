"""How the outline of a new hand differs from that of the old one."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from handrefiner_ext.inpaint.closeup import blur
from handrefiner_ext.inpaint.study import Study
from handrefiner_ext.inpaint.surface import find_surface
from handrefiner_ext.types import Image, Mask

BLUR, STEP = 0.02, 0.094
"""Noise finer than this does not count as change, hand sizes; nor does a smaller step, 0..1."""
EDGE = 0.015
"""How far the old hand may reach beyond the new one at any place, hand sizes."""
FINGER, GRAZE = 0.03, 0.015
"""Half the width of what counts as a piece of a finger, and as new hand off the old one, hand
sizes."""


@dataclass(frozen=True)
class Outlines:
    """Areas in squared hand sizes; the arm does not count.

    changed: where one hand is and the other is not, and the picture differs. surplus: the part of
    it that is pieces of the old hand as wide as a finger. beyond: of the new hand where the old one
    is not.
    """

    changed: float
    surplus: float
    beyond: float


def compare_outlines(study: Study, after: Image) -> Outlines:
    """Compare the old hand with the new one, of which `after` (H, W, 3) is the draft."""
    size_px = max(study.size_px * study.view.density, 1.0)
    covered = find_surface(study.mesh.faces, study.pixels, study.pixels[:, :0], study.view).covered
    skin = study.skin > 0.5
    old, new = skin & ~study.behind, covered & (study.presence > 0.5) & ~skin
    apart = blur(study.image - study.view.take(after), max(BLUR * size_px, 0.5))
    changed = np.abs(apart).max(axis=2) > STEP
    away = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 3)
    parts = (
        changed & ((old & ~covered) | new),
        hold_disc(changed & old & (away > EDGE * size_px), FINGER * size_px),
        hold_disc(new, GRAZE * size_px),
    )
    return Outlines(*(float(np.count_nonzero(part)) / size_px**2 for part in parts))


def hold_disc(shape: Mask, radius_px: float) -> Mask:
    """Return the parts of a shape that hold a disc of this radius."""
    width = 2 * max(1, round(radius_px)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return np.asarray(cv2.morphologyEx(shape.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0)
