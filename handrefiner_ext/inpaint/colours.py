"""A mixture of normal distributions as a model of colours, fitted without chance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from handrefiner_ext.inpaint.closeup import Floats
from handrefiner_ext.types import FloatArray

MAX_SAMPLES = 1500
SMALLEST_DEVIATION = 2.5
"""In units of Lab; JPEG and grain alone spread a flat colour by about as much."""
LIGHTNESS_WEIGHT = 0.6
"""Light and shadow change lightness far more than hue, so that it tells less."""
OUTLIER_SHARE, OUTLIER_LOG_DENSITY = 0.02, -13.8
"""Colours that no component explains: uniform over the about 1e6 units of Lab's volume."""
ROUNDS = 6
SHADOWS, SHADOW_SHARE = (0.45, 0.2), 0.05
"""Light in half and in deep shadow, and how common that is."""


@dataclass(frozen=True)
class Mixture:
    """means: (k, 3). whitening: (k, 3, 3) with whitening @ whitening.T the inverse covariance.
    constants: (k,) logarithms of weight times normalisation."""

    means: FloatArray
    whitening: FloatArray
    constants: FloatArray

    def log_density(self, colours: Floats) -> Floats:
        """(n, 3) -> (n,): of the likeliest component, never below what an outlier has."""
        outlier = np.log(OUTLIER_SHARE) + OUTLIER_LOG_DENSITY
        total = np.full(len(colours), outlier, dtype=np.float32)
        for mean, white, constant in zip(self.means, self.whitening, self.constants, strict=True):
            away = (colours - mean.astype(np.float32)) @ white.astype(np.float32)
            squared = np.einsum("nk,nk->n", away, away)
            np.maximum(total, constant - 0.5 * squared, out=total)
        return total


def with_shadows(mixture: Mixture) -> Mixture:
    """The same colours in less light too: Lab shrinks by the cube root of the light."""
    factors = np.cbrt([1.0, *SHADOWS])
    share = np.log([1.0, *[SHADOW_SHARE] * len(SHADOWS)])
    return Mixture(
        np.concatenate([mixture.means * f for f in factors]),
        np.concatenate([mixture.whitening] * len(factors)),
        np.concatenate([mixture.constants + s for s in share]),
    )


def to_lab(image: Floats) -> Floats:
    """(h, w, 3) RGB 0..1 -> Lab with its lightness scaled down."""
    lab = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2Lab), dtype=np.float32)
    lab[..., 0] *= LIGHTNESS_WEIGHT
    return lab


def fit_mixture(colours: Floats, count: int) -> Mixture:
    """(n, 3) colours, n > 0 -> a mixture of at most `count` components.

    The start is Orchard and Bouman's splitting along the largest spread (1991, "Color
    quantization of images"), followed by Lloyd's rounds.
    """
    step = max(1, len(colours) // MAX_SAMPLES)
    samples = colours[::step].astype(np.float64)
    label = _assign(samples, _split(samples, count))
    for _ in range(ROUNDS):
        means = np.stack([samples[label == k].mean(axis=0) for k in np.unique(label)])
        label = _assign(samples, means)
    groups = [samples[label == k] for k in np.unique(label)]
    covariances = np.stack([_covariance(group) for group in groups])
    whitening = np.linalg.cholesky(np.linalg.inv(covariances))
    log_scale = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
    share = np.array([len(group) / len(samples) for group in groups])
    return Mixture(
        means=np.stack([group.mean(axis=0) for group in groups]),
        whitening=whitening,
        constants=np.log(share) + log_scale - 1.5 * np.log(2.0 * np.pi),
    )


def _split(samples: FloatArray, count: int) -> FloatArray:
    """(at most count, 3) means: the group of the largest spread is halved, time and again."""
    groups = [samples]
    while len(groups) < count:
        widest = max(range(len(groups)), key=lambda k: _spread(groups[k]))
        group = groups.pop(widest)
        centred = group - group.mean(axis=0)
        axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        upper = centred @ axis > 0.0
        if not upper.any() or upper.all():
            groups.append(group)
            break
        groups += [group[upper], group[~upper]]
    return np.stack([group.mean(axis=0) for group in groups])


def _spread(group: FloatArray) -> float:
    return float(((group - group.mean(axis=0)) ** 2).sum())


def _assign(samples: FloatArray, means: FloatArray) -> FloatArray:
    distance = ((samples[:, None] - means) ** 2).sum(axis=2)
    return np.asarray(distance.argmin(axis=1))


def _covariance(group: FloatArray) -> FloatArray:
    centred = group - group.mean(axis=0)
    return np.asarray(centred.T @ centred / len(group) + SMALLEST_DEVIATION**2 * np.eye(3))
