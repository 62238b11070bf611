"""Skin colour and light, estimated from the old hand and applied to the new one.

Colour is a function of the normal: nine spherical harmonics for each channel (Ramamoorthi and
Hanrahan 2001, "An efficient representation for irradiance environment maps"). Ridge regression
keeps them near a soft light from above, because the old hand does not have the mesh's shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handrefiner_ext.inpaint.closeup import Floats, blur
from handrefiner_ext.types import FloatArray, Mask

TO_LIGHT = np.array([-0.25, -0.65, -0.72])
AMBIENT, DIRECT = 0.72, 0.38
"""The light assumed where nothing is known."""
RIDGE = np.array([1e-3, *[0.04] * 3, *[0.12] * 5])
"""Weight of the assumed light against the samples: constant, linear and quadratic terms."""
HUBER_ROUNDS = 6
MIN_LIT_PIXELS = 24
HEADROOM = 0.06
"""How much brighter or darker than the old skin the new skin may be, where white is 1."""
LOCAL_RADIUS, LOCAL_TRUST = 0.06, 0.15
"""Hand sizes over which the old hand's own tones are averaged, and the coverage at which half of
them is kept."""
DARKEST, LIGHTEST_SHADE = 0.40, 0.80
HUE_LIMIT = 0.45
MIDDLE_GREY = np.array([0.55, 0.5, 0.48])


@dataclass(frozen=True)
class SkinLight:
    """The light on a hand's skin.

    coefficients: (9, 3). low, high: (3,) range of colours, 0..1. shade: (3,) factor of each
    channel in the deepest crease.
    """

    coefficients: Floats
    low: Floats
    high: Floats
    shade: Floats

    def colour(self, normals: FloatArray | Floats) -> Floats:
        """Return (..., 3) RGB, 0..1, of skin with (..., 3) unit normals."""
        lit = _harmonics(normals) @ self.coefficients
        return np.asarray(np.clip(lit, self.low, self.high), dtype=np.float32)


def _harmonics(normals: FloatArray | Floats) -> FloatArray | Floats:
    """Return (..., 9) the first spherical harmonics, unnormalised."""
    x, y, z = np.moveaxis(normals, -1, 0)
    terms = [np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3.0 * z * z - 1.0]
    return np.stack(terms, axis=-1)


def estimate_light(image: Floats, normals: Floats, skin: Mask, seen: Mask) -> SkinLight:
    """Estimate the light from the pixels that show both old skin and the mesh.

    Arguments:
        image: (h, w, 3), 0..1.
        normals: (h, w, 3) of the mesh.
        skin: (h, w) where the old hand is.
        seen: (h, w) where the mesh is visible.
    """
    palette = image[skin] if np.count_nonzero(skin) >= MIN_LIT_PIXELS else image[seen]
    if len(palette) == 0:
        palette = MIDDLE_GREY[None].astype(np.float32)
    both = skin & seen
    assumed = _assumed_light(np.median(palette, axis=0))
    fitted = assumed
    if np.count_nonzero(both) >= MIN_LIT_PIXELS:
        fitted = _fit(np.asarray(_harmonics(normals[both]), dtype=np.float64), image[both], assumed)
    low, high = np.percentile(palette, [4.0, 97.0], axis=0)
    return SkinLight(
        fitted.astype(np.float32),
        np.clip(low - HEADROOM, 0.0, 1.0).astype(np.float32),
        np.clip(high + HEADROOM, 0.0, 1.0).astype(np.float32),
        _shade(palette),
    )


def _assumed_light(colour: FloatArray) -> FloatArray:
    """Return (9, 3) with which a surface halfway towards the light has the median colour."""
    coefficients = np.zeros((9, 3))
    middle = AMBIENT + 0.75 * DIRECT
    coefficients[0] = AMBIENT / middle * colour
    coefficients[1:4] = DIRECT / middle * np.outer(TO_LIGHT, colour)
    return coefficients


def _fit(X: FloatArray, colours: Floats, assumed: FloatArray) -> FloatArray:
    """Fit what the assumed light leaves by ridge regression, reweighted for Huber's loss."""
    target = colours.astype(np.float64) - X @ assumed
    weights = np.ones(len(X))
    change = np.zeros_like(assumed)
    for _ in range(HUBER_ROUNDS):
        weighted = X * weights[:, None]
        normal_matrix = weighted.T @ X + np.diag(RIDGE * len(X))
        change = np.linalg.solve(normal_matrix, weighted.T @ target)
        error = np.linalg.norm(target - X @ change, axis=1)
        bend = max(1.5 * float(np.median(error)), 1e-3)
        weights = np.minimum(1.0, bend / np.maximum(error, 1e-9))
    return assumed + change


def _shade(palette: Floats) -> Floats:
    """Return (3,) the factor of each channel in creases, as dark as the old hand's own shadows."""
    # Skin gets redder as it gets darker, and the slope of each channel's logarithm says by how
    # much. In a picture without colour all slopes are 1.
    logs = np.log(np.clip(palette, 0.02, 1.0))
    lightness = logs.mean(axis=1)
    floor = np.exp(np.percentile(lightness, 3.0) - np.median(lightness))
    floor = float(np.clip(floor, DARKEST, LIGHTEST_SHADE))
    centred = lightness - lightness.mean()
    power = float((centred**2).sum())
    slopes = np.ones(3)
    if power > 1e-3 * len(palette):
        slopes = (logs - logs.mean(axis=0)).T @ centred / power
    slopes = np.clip(slopes, 1.0 - HUE_LIMIT, 1.0 + HUE_LIMIT)
    return np.asarray(floor**slopes, dtype=np.float32)


def local_tones(image: Floats, lit: Floats, both: Mask, size_px: float) -> Floats:
    """Return (h, w, 3) the old hand's broad tones beyond the light, such as shadows and blush.

    Arguments:
        image, lit: (h, w, 3), 0..1, the picture and the mesh under the estimated light.
        both: (h, w) where old skin and mesh coincide.
    """
    weight = both.astype(np.float32)
    radius = LOCAL_RADIUS * size_px
    coverage = blur(weight, radius)
    difference = blur(np.clip(image - lit, -0.25, 0.25) * weight[..., None], radius)
    return np.asarray(difference / (coverage + LOCAL_TRUST)[..., None], dtype=np.float32)
