"""Skin colour and light, estimated from the old hand and thrown on the new one.

Colour as a function of the normal: nine spherical harmonics for each channel (Ramamoorthi and
Hanrahan 2001, "An efficient representation for irradiance environment maps"), held near a soft
light from above by a ridge, since the old hand's shape is not the mesh's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handrefiner_ext.inpaint.closeup import Floats, blur
from handrefiner_ext.types import FloatArray, Mask

TO_LIGHT = np.array([-0.25, -0.65, -0.72])
AMBIENT, DIRECT = 0.72, 0.38
"""The light that is assumed where nothing is known."""
RIDGE = np.array([1e-3, *[0.04] * 3, *[0.12] * 5])
"""Weight of the assumed light against the samples, for constant, linear, quadratic terms."""
ROUNDS = 6
MIN_SAMPLES = 24
HEADROOM = 0.06
"""New skin may be this much brighter or darker than all old skin."""
LOCAL_RADIUS, LOCAL_TRUST = 0.06, 0.15
"""Hand sizes over which, and the coverage above which, the old hand's own tones are kept."""
DARKEST, LIGHTEST_SHADE = 0.40, 0.80
HUE_LIMIT = 0.45
MIDDLE_GREY = np.array([0.55, 0.5, 0.48])


@dataclass(frozen=True)
class Light:
    """coefficients: (9, 3). low, high: (3,) range of colours, 0..1.
    shade: (3,) factor of the deepest crease on each channel."""

    coefficients: Floats
    low: Floats
    high: Floats
    shade: Floats

    def colour(self, normals: FloatArray | Floats) -> Floats:
        """(..., 3) unit normals -> (..., 3) RGB."""
        lit = _harmonics(normals) @ self.coefficients
        return np.asarray(np.clip(lit, self.low, self.high), dtype=np.float32)


def _harmonics(normals: FloatArray | Floats) -> FloatArray | Floats:
    x, y, z = np.moveaxis(normals, -1, 0)
    terms = [np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3.0 * z * z - 1.0]
    return np.stack(terms, axis=-1)


def estimate_light(image: Floats, normals: Floats, skin: Mask, seen: Mask) -> Light:
    """image: (h, w, 3). normals of the mesh (h, w, 3). skin: old hand. seen: of the mesh."""
    palette = image[skin] if np.count_nonzero(skin) >= MIN_SAMPLES else image[seen]
    if len(palette) == 0:
        palette = MIDDLE_GREY[None].astype(np.float32)
    both = skin & seen
    assumed = _assumed_light(np.median(palette, axis=0))
    fitted = assumed
    if np.count_nonzero(both) >= MIN_SAMPLES:
        fitted = _fit(np.asarray(_harmonics(normals[both]), dtype=np.float64), image[both], assumed)
    low, high = np.percentile(palette, [4.0, 97.0], axis=0)
    return Light(
        fitted.astype(np.float32),
        np.clip(low - HEADROOM, 0.0, 1.0).astype(np.float32),
        np.clip(high + HEADROOM, 0.0, 1.0).astype(np.float32),
        _shade(palette),
    )


def _assumed_light(colour: FloatArray) -> FloatArray:
    """(9, 3) so that a surface halfway to the light has the median colour."""
    coefficients = np.zeros((9, 3))
    middle = AMBIENT + 0.75 * DIRECT
    coefficients[0] = AMBIENT / middle * colour
    coefficients[1:4] = DIRECT / middle * np.outer(TO_LIGHT, colour)
    return coefficients


def _fit(X: FloatArray, colours: Floats, assumed: FloatArray) -> FloatArray:
    """Ridge regression of what the assumed light leaves, with Huber's weights by turns."""
    target = colours.astype(np.float64) - X @ assumed
    weights = np.ones(len(X))
    change = np.zeros_like(assumed)
    for _ in range(ROUNDS):
        weighted = X * weights[:, None]
        normal_matrix = weighted.T @ X + np.diag(RIDGE * len(X))
        change = np.linalg.solve(normal_matrix, weighted.T @ target)
        error = np.linalg.norm(target - X @ change, axis=1)
        bend = max(1.5 * float(np.median(error)), 1e-3)
        weights = np.minimum(1.0, bend / np.maximum(error, 1e-9))
    return assumed + change


def _shade(palette: Floats) -> Floats:
    """(3,) how dark each channel gets in creases: as dark as the old hand's own shadows.

    Skin gets redder as it gets darker; the slope of each channel's logarithm says how much, and
    a picture without colour has none.
    """
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
    """(h, w, 3) what the old hand has, broadly, beyond the estimated light: shadows, blush."""
    weight = both.astype(np.float32)
    radius = LOCAL_RADIUS * size_px
    coverage = blur(weight, radius)
    difference = blur(np.clip(image - lit, -0.25, 0.25) * weight[..., None], radius)
    return np.asarray(difference / (coverage + LOCAL_TRUST)[..., None], dtype=np.float32)
