"""Where a sleeve, a cuff or another thing covers the wrist, and no skin may be painted.

The mesh always ends in a bare wrist. What the picture shows there is told by colour: unlike the
fingers, unlike the background beside the hand, and where the arm must be.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from handrefiner_ext.inpaint.closeup import Floats
from handrefiner_ext.inpaint.old_hand import (
    FAR,
    GROUND_PARTS,
    MIN_COLOURS,
    SKIN_PARTS,
    ExpectedHand,
    fit_mixture,
    to_lab,
    with_shadows,
)
from handrefiner_ext.inpaint.wrist import WristLine
from handrefiner_ext.types import Mask

REACH = -0.6
"""Hand sizes behind the wrist joint (negative, within the palm) from which on a sleeve may be."""
WIDTH = 0.35
"""Half the width, in hand sizes, of the strip along the palm in which a sleeve may be."""
MIDDLE, LENGTH = 0.1, 0.5
"""Half the width and the length, in hand sizes, of the strip behind the wrist that the arm must
cover."""
LEAST_STRIP = 0.2
"""Share of this strip that must be neither skin nor background if there is a sleeve."""
RARE, SLACK = 5.0, 2.0
"""Percentile of the fingers' log-densities, less so much, below which a colour is not theirs."""
COMMON = 10.0
"""Percentile of the background's log-densities from which on a colour is its own."""
LEAST_SHARE = 0.3
"""Share of the fingers' pixels that must be unlike the background, or else nothing is known."""
LEAST_AREA = 0.004
"""Squared hand sizes; a smaller patch is a shadow or a fold."""
CLOSED = 0.03
"""Width of gaps in a sleeve that belong to it, hand sizes."""
SOFT_PX = 3


@dataclass(frozen=True)
class Foreign:
    """What around the wrist is not skin; maps are (h, w).

    other: of another colour than the fingers, anywhere. strange: the parts around the wrist that
    the hand does not enclose. sleeve: what of these covers the arm and is unlike the background.
    """

    other: Mask
    strange: Mask
    sleeve: Mask


def find_foreign(image: Floats, expected: ExpectedHand, wrist: WristLine) -> Foreign:
    """Return what lies around the wrist and is not skin, by its colour.

    What lies wholly within the hand is a shadow, a fold or a tattoo.

    Arguments:
        image: (h, w, 3), 0..1, of the close-up.
        expected: where the old hand is expected; its fingers say what colour skin has here.
    """
    shape = expected.core.shape
    nothing = np.zeros(shape, dtype=bool)
    if np.count_nonzero(expected.fingers) < MIN_COLOURS:
        return Foreign(nothing, nothing, nothing)
    lab = to_lab(image)
    along, across = wrist.along(*shape), np.abs(wrist.beside(*shape))
    near = (along > REACH * wrist.size_px) & (across < WIDTH * wrist.size_px)
    near |= wrist.zone(*shape)
    ground = (expected.distance > FAR) & ~near
    of_ground = _density(lab, ground, GROUND_PARTS)
    # Old fingers are thin, and their bones may miss them: samples of the background do not count.
    of_skin = _density(lab, expected.fingers, SKIN_PARTS, shadows=True)
    common = np.inf
    if np.count_nonzero(ground) >= MIN_COLOURS:
        common = float(np.percentile(of_ground[ground], COMMON))
    sure = expected.fingers & (of_skin > of_ground) & (of_ground < common)
    if np.count_nonzero(sure) < max(MIN_COLOURS, LEAST_SHARE * np.count_nonzero(expected.fingers)):
        return Foreign(nothing, nothing, nothing)
    of_skin = _density(lab, sure, SKIN_PARTS, shadows=True)
    least = float(np.percentile(of_skin[sure], RARE)) - SLACK
    other = cv2.medianBlur((of_skin < least).astype(np.uint8), SOFT_PX) > 0
    strange = _connected(other & near, other & near & ~expected.flesh)
    strip = (along > 0.0) & (along < LENGTH * wrist.size_px) & (across < MIDDLE * wrist.size_px)
    behind = strange & strip & (of_ground < common)
    if np.count_nonzero(behind) < max(MIN_COLOURS, LEAST_STRIP * np.count_nonzero(strip)):
        return Foreign(other, strange, nothing)
    return Foreign(other, strange, _find_sleeve(lab, strange, behind, of_ground, wrist.size_px))


def _find_sleeve(
    lab: Floats, strange: Mask, seeds: Mask, of_ground: Floats, size_px: float
) -> Mask:
    """Return (h, w) what is strange and looks rather like the seeds than like the background.

    Arguments:
        seeds: (h, w) where the arm must be, and neither skin nor background is.
        of_ground: (h, w) log-density of each colour among the background's.
    """
    of_sleeve = _density(lab, seeds, SKIN_PARTS)
    return _find_parts(strange & (of_sleeve > of_ground), seeds, size_px)


def _density(lab: Floats, samples: Mask, parts: int, shadows: bool = False) -> Floats:
    """Return (h, w) the log-density of each colour among `samples`; -inf if these are too few."""
    if np.count_nonzero(samples) < MIN_COLOURS:
        return np.full(samples.shape, -np.inf, dtype=np.float32)
    mixture = fit_mixture(lab[samples], parts)
    mixture = with_shadows(mixture) if shadows else mixture
    return mixture.log_density(lab.reshape(-1, 3)).reshape(samples.shape)


def _find_parts(area: Mask, seeds: Mask, size_px: float) -> Mask:
    """Return the parts of `area` that hold seeds and are large enough, with their narrow gaps."""
    width = max(3, 2 * round(CLOSED * size_px / 2.0) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    whole = cv2.morphologyEx(area.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    return _connected(whole, seeds, LEAST_AREA * size_px**2)


def _connected(area: Mask, seeds: Mask, least_px: float = 0.0) -> Mask:
    """Return the parts of `area` that hold seeds and at least so many pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        area.astype(np.uint8), connectivity=4
    )
    wanted = np.zeros(count, dtype=bool)
    wanted[np.unique(labels[seeds])] = True
    wanted &= stats[:, cv2.CC_STAT_AREA] >= least_px
    wanted[0] = False
    return np.asarray(wanted[labels])
