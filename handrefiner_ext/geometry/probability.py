"""Log-odds, and likelihoods of colours."""

from __future__ import annotations

from math import exp, log

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray, Image

STEEPEST = 40.0


def log_odds(probability: float, edge: float) -> float:
    """0 at one half; a probability nearer to 0 or 1 than `edge` counts as so near."""
    bounded = min(max(probability, edge), 1.0 - edge)
    return log(bounded / (1.0 - bounded))


def logistic(x: float) -> float:
    """The probability whose log-odds are `x`."""
    return 1.0 / (1.0 + exp(-min(max(x, -STEEPEST), STEEPEST)))


BINS = 16
MIN_PIXELS = 80
"""Fewer pixels inside or outside teach nothing."""

Likelihood = NDArray[np.float32]


def hand_likelihood(pixels: Image, silhouette: NDArray[np.uint8], reach: int) -> Likelihood | None:
    """(h, w) probability of each pixel to be hand; None where there is too little to learn from.

    silhouette: (h, w), 1 under the mesh. reach: pixels from it within which nothing is learnt.
    """
    inner = cv2.erode(silhouette, _disc(max(1, reach // 3)))
    outer = 1 - cv2.dilate(silhouette, _disc(reach))
    if min(int(inner.sum()), int(outer.sum())) < MIN_PIXELS:
        return None
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.int32)
    lab[..., 1:] = np.clip(2 * lab[..., 1:] - 128, 0, 255)
    index = np.ravel_multi_index(tuple(np.moveaxis(lab * BINS >> 8, -1, 0)), (BINS,) * 3)
    hand, rest = (_colour_density(index[where > 0]) for where in (inner, outer))
    likelihood = (hand / (hand + rest)).ravel()[index].astype(np.float32)
    return np.asarray(cv2.GaussianBlur(likelihood, (0, 0), 0.8))


def _disc(radius: int) -> NDArray[np.uint8]:
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), dtype=np.uint8)


def _colour_density(index: NDArray[np.intp]) -> FloatArray:
    """(BINS, BINS, BINS) smoothed relative frequencies, nowhere zero."""
    count = np.bincount(index, minlength=BINS**3).reshape((BINS,) * 3) / len(index)
    for axis in range(3):
        padded = np.concatenate(
            [count.take([0], axis), count, count.take([BINS - 1], axis)], axis=axis
        )
        before, after = np.arange(BINS), np.arange(2, BINS + 2)
        count = 0.5 * count + 0.25 * (padded.take(before, axis) + padded.take(after, axis))
    return np.asarray(count + 0.02 / BINS**2)
