"""Whether anything about a hand can be seen to differ between two pictures."""

from __future__ import annotations

import cv2
import numpy as np

from handrefiner_ext.types import Box, Image, Mask

BLUR = 0.015
"""Grain finer than this is not seen, hand sizes."""
STEP = 10.0
"""Grey levels by which a place must differ."""
LEAST = 0.005
"""Area that must differ, squared hand sizes; half of a finger's last phalanx."""


def is_changed(before: Image, after: Image, place: tuple[Box, Mask], size_px: float) -> bool:
    """Whether a hand of `size_px` looks another in `after` than in `before`, (H, W, 3) both.

    place: where it may have changed, as in `ControlMaps.hand_masks`.
    """
    box, mask = place
    apart = before[box.slices].astype(np.float32) - after[box.slices].astype(np.float32)
    if apart.size == 0:
        return False
    seen = cv2.GaussianBlur(apart, (0, 0), max(BLUR * size_px, 0.5))
    differing = (np.abs(seen).max(axis=2) > STEP) & mask
    return int(differing.sum()) > LEAST * size_px**2
