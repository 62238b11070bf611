"""The 8-bit control image: near is bright, 0 where no hand is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.types import FloatArray, HandLayer

NEAREST, FARTHEST = 255, 51
"""Grey values that HandRefiner's ControlNet was trained with (Lu et al. 2023)."""


def shade_control(
    layers: Sequence[HandLayer],
    owner: NDArray[np.int16],
    distances: FloatArray,
    depth_range: str,
) -> NDArray[np.uint8]:
    """(H, W) control image of what `owner` shows.

    depth_range: "hand" stretches each hand's own depth, hidden parts included; "common" stretches
    all hands together, each at its distance in metres.
    """
    control = np.zeros(owner.shape, dtype=np.uint8)
    ranges = [_range(layer) for layer in layers]
    common = [(near + d, far + d) for (near, far), d in zip(ranges, distances, strict=True)]
    nearest = min((near for near, _ in common), default=0.0)
    farthest = max((far for _, far in common if far < np.inf), default=0.0)
    for number, layer in enumerate(layers):
        near, far = ranges[number]
        if depth_range == "common":
            near, far = nearest - distances[number], farthest - distances[number]
        seen = owner[layer.box.slices] == number
        control[layer.box.slices][seen] = _stretch(layer.depth[seen], near, far)
    return control


def _range(layer: HandLayer) -> tuple[float, float]:
    """Nearest and farthest depth; infinite where the hand is not in the picture."""
    depth = layer.depth[np.isfinite(layer.depth)]
    return (float(depth.min()), float(depth.max())) if len(depth) else (np.inf, np.inf)


def _stretch(depth: NDArray[np.float32], near: float, far: float) -> NDArray[np.uint8]:
    """Grey values; a flat hand is all near."""
    share = (depth - near) / (far - near) if far > near else np.zeros_like(depth)
    grey = np.rint(NEAREST - np.clip(share, 0.0, 1.0) * (NEAREST - FARTHEST))
    return np.asarray(grey, dtype=np.uint8)
