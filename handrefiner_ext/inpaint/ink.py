"""Drawings: whether a hand is drawn, with which pen and tones, and a new hand in the same manner.

A drawn hand has thin outlines, flat tones, and hardly a gradient between them. Not every drawing
has all of these: some have no outlines, some are softly shaded. So whether a hand is drawn is told
by all signs together; the pen is found only where there are lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.inpaint.closeup import Floats, blur
from handrefiner_ext.inpaint.surface import VisibleSurface
from handrefiner_ext.types import Mask

NARROW, NEAR_PX = 0.011, 3
"""Half the width of the lines that are looked for, hand sizes, and how far beside the skin's edge
they may lie, pixels of the close-up."""
FLAT = 0.003
"""Slope of brightness, 0..1 a pixel, below which a place is flat."""
OUTLINE_WEIGHT, FLAT_WEIGHT, CONTRAST_WEIGHT, OFFSET = 27.0, 5.0, 1.7, -8.4
"""Of a hand's being drawn, which is believed a little late: a photographed hand in flat tones is
worse than a drawn one without lines. They are fitted to 205 hands of real pictures."""
SIGNS = (15.5, 12.4, 1.7, 1.66, 2.37, -0.084)
"""Weights of what `_measure_signs` returns, in its order."""
DRAWN_OFFSET = 11.0
"""Chosen with SIGNS on 250 hands of real pictures by logistic regression: 60 of 63 drawn hands and
2 of 187 others, one of these a painting, are above 0. On those of pictures that were left out it is
60 and 4. A photographed hand that counts as drawn stays as it is, so this end is the better one."""
LEAST_SIGNS = np.array([0.0, 0.0, 0.8, -6.0, -4.0, 5.0], dtype=np.float32)
MOST_SIGNS = np.array([0.4, 0.9, 4.0, -3.5, -1.5, 60.0], dtype=np.float32)
"""Nearly all of these hands lie in between; what lies beyond says no more."""
FINE_PX = 1.0
LEAST_OUTLINE = 0.05
"""Brightness by which the line along half of the hand's edge is darker than both sides."""
LEAST_PIXELS = 50
OTHER_HUE, LEAST_STEP, MOST_STEP = 20.0, 6.0, 35.0
"""Units of Lab: how far a shade's hue is from that of lit skin at most, how much darker it is."""
LEAST_SHARE, MOST_SHARE, SOFT = 0.08, 0.35, 0.03
"""Share of the skin that is in the darker tone, and the width of the border between both, 0..1 of
brightness."""
SMOOTH = 0.03
"""Detail of the light finer than this is left out, hand sizes."""
STEP = 0.03
"""A jump of the depth between neighbouring samples that is an outline, hand sizes."""
THINNER, LINE_WIDTHS = 0.85, (0.01, 0.025)
"""Lines that end on the hand make its outline seem wider than it is; least and greatest width,
hand sizes."""


@dataclass(frozen=True)
class Pen:
    """How a hand is drawn. colour: (3,) of its lines. width: of its lines, hand sizes.

    light, dark: (3,) the two tones of its skin. dark_share: of the skin in the darker one.
    """

    colour: Floats
    width: float
    light: Floats
    dark: Floats
    dark_share: float


def find_pen(image: Floats, skin: Mask, size_px: float) -> Pen | None:
    """Return how a hand is drawn; None where it is not a drawing.

    Arguments:
        image: (h, w, 3), 0..1, of at most 384 pixels. skin: (h, w) the hand with its arm.
    """
    grey = np.asarray(
        cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), dtype=np.float32
    )
    inside = skin.astype(np.uint8)
    inner = cv2.erode(inside, _disc(NEAR_PX)) > 0
    edge = _find_edge(inside)
    if min(np.count_nonzero(inner), np.count_nonzero(edge)) < LEAST_PIXELS:
        return None
    lines = _find_lines(grey, size_px)
    outline = float(np.median(cv2.dilate(lines, _disc(NEAR_PX))[edge]))
    if outline < LEAST_OUTLINE:
        return None
    slope = _measure_slope(grey)[inner]
    flat = float((slope < FLAT).mean())
    middle, steep = np.percentile(slope, [50.0, 95.0])
    contrast = float(np.log(max(steep, 1e-4) / max(middle, 1e-4)))
    odds = OFFSET + OUTLINE_WEIGHT * outline + FLAT_WEIGHT * flat + CONTRAST_WEIGHT * contrast
    return _take_pen(image, grey, lines, inner, edge, size_px) if odds > 0.0 else None


def is_drawn(image: Floats, skin: Mask, size_px: float) -> bool:
    """Return whether a hand is drawn, with outlines or without; arguments as for `find_pen`."""
    signs = _measure_signs(image, skin, size_px)
    return signs is not None and DRAWN_OFFSET + float(np.dot(SIGNS, signs)) > 0.0


def _measure_signs(image: Floats, skin: Mask, size_px: float) -> Floats | None:
    """Return (6,) what tells drawings; None if the hand is too small.

    Darkness of the line along the edge, share of flat places, ratio of steep to middling slopes,
    how much fine detail there usually is and at most, and the range of lightness.
    """
    grey = np.asarray(
        cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), dtype=np.float32
    )
    inside = skin.astype(np.uint8)
    inner = cv2.erode(inside, np.ones((5, 5), np.uint8)) > 0
    edge = _find_edge(inside)
    if min(np.count_nonzero(inner), np.count_nonzero(edge)) < LEAST_PIXELS:
        return None
    lines = _find_lines(grey, size_px)
    slope = _measure_slope(grey)[inner]
    middle, steep = np.maximum(np.percentile(slope, [50.0, 95.0]), 1e-4)
    fine = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), FINE_PX))[inner]
    usual, most = np.log(np.percentile(fine, [50.0, 95.0]) + 1e-4)
    lightness = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2Lab)[..., 0][inner]
    dark, light = np.percentile(lightness, [10.0, 90.0])
    outline = np.median(cv2.dilate(lines, _disc(NEAR_PX))[edge])
    flat, contrast = (slope < FLAT).mean(), np.log(steep / middle)
    signs = np.array([outline, flat, contrast, usual, most, light - dark], dtype=np.float32)
    return np.clip(signs, LEAST_SIGNS, MOST_SIGNS)


def _find_lines(grey: Floats, size_px: float) -> Floats:
    """Return (h, w) how much darker a place is than both sides of the line through it."""
    narrow = _disc(max(1, round(NARROW * size_px)))
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_CLOSE, narrow) - grey, dtype=np.float32)


def _find_edge(inside: NDArray[np.uint8]) -> Mask:
    """Return (h, w) the rim of the skin, but where the close-up cuts it off."""
    edge = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    whole = np.zeros(edge.shape, dtype=bool)
    whole[2:-2, 2:-2] = edge[2:-2, 2:-2] > 0
    return whole


def _measure_slope(grey: Floats) -> Floats:
    soft = cv2.GaussianBlur(grey, (0, 0), 1.0)
    across, along = (cv2.Sobel(soft, cv2.CV_32F, *d) / 8.0 for d in ((1, 0), (0, 1)))
    return np.asarray(np.hypot(across, along), dtype=np.float32)


def _take_pen(
    image: Floats, grey: Floats, lines: Floats, inner: Mask, edge: Mask, size_px: float
) -> Pen:
    """Read colours and widths off the picture."""
    near = cv2.dilate(edge.astype(np.uint8), _disc(NEAR_PX)) > 0
    ink = near & (lines >= np.percentile(lines[near], 80.0))
    darkest = ink & (grey <= np.percentile(grey[ink], 40.0))
    colour = np.median(image[darkest], axis=0)
    skin = float(np.median(grey[inner]))
    half_dark = near & (grey < (skin + float(np.median(grey[darkest]))) / 2) & (lines > 0.02)
    width = THINNER * float(half_dark.sum()) / np.count_nonzero(edge) / max(size_px, 1.0)
    light, dark, share = _split_tones(image[inner & (lines < 0.05)], image[inner])
    return Pen(colour.astype(np.float32), float(np.clip(width, *LINE_WIDTHS)), light, dark, share)


def _split_tones(clean: Floats, everything: Floats) -> tuple[Floats, Floats, float]:
    """Return the lighter and the darker tone, and the darker one's share.

    clean: (n, 3) colours of skin without lines; everything: the same with them, in case there are
    too few. Colours of another hue belong to clothes and things.
    """
    colours = clean if len(clean) >= LEAST_PIXELS else everything
    lab = cv2.cvtColor(np.ascontiguousarray(colours[None]), cv2.COLOR_RGB2Lab)[0]
    light = lab[:, 0] >= np.percentile(lab[:, 0], 50.0)
    tone = np.median(lab[light], axis=0)
    apart = tone[0] - lab[:, 0]
    alike = np.hypot(*(lab[:, 1:] - tone[1:]).T) < OTHER_HUE
    dark = alike & (apart > LEAST_STEP) & (apart < MOST_STEP)
    lighter = np.median(colours[light], axis=0).astype(np.float32)
    share = float(dark.mean())
    if share < LEAST_SHARE:
        return lighter, lighter, LEAST_SHARE
    darker = np.median(colours[dark], axis=0).astype(np.float32)
    return lighter, darker, min(share, MOST_SHARE)


def colour_flat(lit: Floats, covered: Mask, pen: Pen, size_px: float) -> Floats:
    """Return (h, w, 3) the pen's two tones, the darker one where least light falls.

    lit: (h, w, 3) the surface as a photograph would show it. size_px: of the hand in it.
    """
    if not covered.any():
        return lit
    sigma, cover = SMOOTH * size_px, covered.astype(np.float32)
    brightness = blur(lit.mean(axis=2) * cover, sigma) / np.maximum(blur(cover, sigma), 1e-3)
    border = float(np.quantile(brightness[covered], pen.dark_share))
    bright = np.clip((brightness - border) / SOFT + 0.5, 0.0, 1.0)[..., None]
    return np.asarray(pen.dark + bright * (pen.light - pen.dark), dtype=np.float32)


def draw_lines(surface: VisibleSurface, pen: Pen, size_px: float) -> Floats:
    """Return (h, w) 0..1 ink: outlines, and where a finger lies before another part.

    size_px: of the hand in the close-up.
    """
    covered = surface.covered
    depth = np.where(covered, surface.depth_px, np.float32(1e6))
    edges = np.zeros_like(covered)
    for here, there in (
        (np.s_[:-1, :], np.s_[1:, :]),
        (np.s_[:, :-1], np.s_[:, 1:]),
    ):
        jump = np.abs(depth[here] - depth[there]) > STEP * size_px
        edges[here] |= jump & (covered[here] | covered[there])
    away = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.clip(0.5 + pen.width * size_px / 2 - away, 0.0, 1.0), dtype=np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), dtype=np.uint8)
