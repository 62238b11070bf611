"""Log-odds, and how likely colours make a pixel part of a hand."""

from __future__ import annotations

from math import exp, log

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray, Image

MOST_LOG_ODDS = 40.0


def log_odds(probability: float, edge: float) -> float:
    """Return the log-odds of a probability, which is first limited to edge…1 - edge."""
    bounded = min(max(probability, edge), 1.0 - edge)
    return log(bounded / (1.0 - bounded))


def logistic(x: float) -> float:
    """Return the probability whose log-odds are `x`."""
    return 1.0 / (1.0 + exp(-min(max(x, -MOST_LOG_ODDS), MOST_LOG_ODDS)))


BINS = 16
"""Bins of the colour histogram along each axis of Lab."""
MIN_PIXELS = 80
"""Pixels needed inside and outside to learn anything."""

Likelihood = NDArray[np.float32]


def hand_likelihood(pixels: Image, silhouette: NDArray[np.uint8], reach: int) -> Likelihood | None:
    """Return (h, w) the probability that each pixel is hand, learnt from colours.

    Arguments:
        pixels: (h, w, 3) around the hand.
        silhouette: (h, w), 1 under the mesh.
        reach: pixels; nothing is learnt from what is closer to the silhouette's edge outside, or
            a third as close inside.

    Returns:
        None if there are too few pixels to learn from.
    """
    inner = cv2.erode(silhouette, _disc(max(1, reach // 3)))
    outer = 1 - cv2.dilate(silhouette, _disc(reach))
    if min(int(inner.sum()), int(outer.sum())) < MIN_PIXELS:
        return None
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.int32)
    # Few colours are far from grey, so a and b are stretched by two to use all bins.
    lab[..., 1:] = np.clip(2 * lab[..., 1:] - 128, 0, 255)
    index = np.ravel_multi_index(tuple(np.moveaxis(lab * BINS >> 8, -1, 0)), (BINS,) * 3)
    hand, rest = (_colour_density(index[where > 0]) for where in (inner, outer))
    likelihood = (hand / (hand + rest)).ravel()[index].astype(np.float32)
    return np.asarray(cv2.GaussianBlur(likelihood, (0, 0), 0.8))


def _disc(radius: int) -> NDArray[np.uint8]:
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), dtype=np.uint8)


def _colour_density(index: NDArray[np.intp]) -> FloatArray:
    """Return (BINS, BINS, BINS) smoothed relative frequencies, none of them zero."""
    count = np.bincount(index, minlength=BINS**3).reshape((BINS,) * 3) / len(index)
    for axis in range(3):
        padded = np.concatenate(
            [count.take([0], axis), count, count.take([BINS - 1], axis)], axis=axis
        )
        before, after = np.arange(BINS), np.arange(2, BINS + 2)
        count = 0.5 * count + 0.25 * (padded.take(before, axis) + padded.take(after, axis))
    return np.asarray(count + 0.02 / BINS**2)
