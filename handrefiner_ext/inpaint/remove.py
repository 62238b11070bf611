"""The patch that takes an old hand out of the picture."""

from __future__ import annotations

import cv2
import numpy as np

from handrefiner_ext.inpaint.blend import Patch
from handrefiner_ext.inpaint.closeup import blur, study_closely
from handrefiner_ext.inpaint.fill import fill_hole
from handrefiner_ext.inpaint.study import Study
from handrefiner_ext.types import Image, Mask

FILL_PX = 384
FRINGE = 0.015
"""Hand sizes by which the hole reaches beyond the old hand, to take its soft edge along."""


def remove_hand(image: Image, study: Study, studies: list[Study]) -> Patch:
    """The surroundings continued over the old hand of `study`; its arm stays."""
    view = study_closely(study.view.box, FILL_PX)
    close = view.shrink(image)
    fringe = 1.5 + FRINGE * study.size_px * view.scale[0]
    kept_share = study.view.sample_for(study.kept, view)
    kept = kept_share > 0.5
    old = study.view.sample_for(study.skin, view) > 0.4
    hole = _widen(old & ~kept, fringe)
    hole &= kept_share < 0.9
    skin = hole | _widen(kept, fringe)
    for other in studies:
        if other is not study:
            skin |= _widen(other.view.sample_for(other.skin, view, outside=True) > 0.4, fringe)
    filled = fill_hole(close, hole, ~skin)
    alpha = np.clip(blur(hole.astype(np.float32), 0.8), 0.0, 1.0) * (1.0 - kept_share)
    return Patch(view, filled * alpha[..., None], alpha, 0.0, study.number)


def _widen(mask: Mask, radius_px: float) -> Mask:
    size = 2 * max(1, round(radius_px)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel).astype(bool))
