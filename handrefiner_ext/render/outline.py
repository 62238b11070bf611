"""How strongly the picture shows the outlines of two overlapping hands."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import area, clip, grow, intersect, slices_within
from handrefiner_ext.types import Box, HandLayer, Image, Mask

SLACK = 0.02
"""A mesh's outline may be this share of its box away from the drawn one."""
MIN_OUTLINE_PX = 8


def measure_outlines(image: Image, one: HandLayer, two: HandLayer) -> tuple[float, float]:
    """Strength of each hand's outline inside the other hand, in grey values per pixel.

    Only the hand in front shows its outline there. (0, 0) where an outline is too short to tell.
    """
    slack = max(1, round(SLACK * min(max(layer.depth.shape) for layer in (one, two))))
    common = intersect(one.box, two.box)
    window = clip(grow(common, slack + 1, slack + 1), *image.shape[:2])
    if not area(window):
        return 0.0, 0.0
    reach = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * slack + 1, 2 * slack + 1))
    edges = cv2.dilate(_edge_strength(image[window.slices]), reach)
    inside = [_silhouette_in(layer, window) for layer in (one, two)]
    strengths = []
    for own, other in ((0, 1), (1, 0)):
        outline = inside[own] & ~_shrink(inside[own], 1) & _shrink(inside[other], slack + 1)
        if np.count_nonzero(outline) < MIN_OUTLINE_PX:
            return 0.0, 0.0
        strengths.append(float(np.median(edges[outline])))
    return strengths[0], strengths[1]


def _edge_strength(image: Image) -> NDArray[np.float32]:
    """(h, w): the strongest channel's gradient."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)
    return np.asarray(np.hypot(across, down).max(axis=2), dtype=np.float32)


def _silhouette_in(layer: HandLayer, window: Box) -> Mask:
    """The hand's silhouette over `window`."""
    silhouette = np.zeros((window.height, window.width), dtype=bool)
    common = intersect(layer.box, window)
    depth = layer.depth[slices_within(common, layer.box)]
    silhouette[slices_within(common, window)] = np.isfinite(depth)
    return silhouette


def _shrink(mask: Mask, radius: int) -> Mask:
    """The mask without its rim; a window's border is no rim."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel, borderValue=1) > 0)
