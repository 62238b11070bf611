"""Which pixels of a close-up show the old hand (and the arm that it hangs on)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.inpaint.closeup import Floats, drawable
from handrefiner_ext.inpaint.colours import fit_mixture, to_lab, with_shadows
from handrefiner_ext.topology import BONES, INDEX_MCP, LITTLE_MCP, WRIST
from handrefiner_ext.types import FloatArray, Mask

CORE_WIDTH, FLESH_WIDTH = 0.035, 0.10
"""Hand sizes: line widths of the drawn skeleton that is surely, and probably, hand."""
PALM = (WRIST, 1, INDEX_MCP, 9, 13, LITTLE_MCP)
FAR = 0.30
"""Hand sizes; what is farther than this from the expected hand starts as background."""
NEAR_LOGIT, LOGIT_PER_SIZE = 1.5, 9.0
COLOUR_LIMIT = 6.0
STRANGE_LOG_DENSITY, STRANGE_LOGIT = -16.0, 2.5
SMOOTHNESS, SMOOTH_ROUNDS, ROUNDS = 1.6, 16, 3
SKIN_PARTS, GROUND_PARTS = 3, 5
TOO_LITTLE, TOO_MUCH = 0.35, 4.0
"""Of the expected hand's area; outside these the colours cannot tell hand from background."""
MIN_SAMPLES = 12
PALM_MARGIN, FINGER_WIDTH, PALM_RAMP = 0.10, 0.12, 0.03
"""Hand sizes: flesh around the palm's joints, how wide the new fingers spoil the old palm, and
how softly it sets in."""
BRIDGE = 0.045
"""Hand sizes; skin that hangs on by less than this is something else."""


@dataclass(frozen=True)
class Expected:
    """Where the hand is expected in a close-up: bones surely inside, flesh, distance from it
    in hand sizes, and where the arm may be, whose colours are not the background's."""

    core: Mask
    flesh: Mask
    arm: Mask
    distance: Floats
    size_px: float

    @property
    def bridge(self) -> NDArray[np.uint8]:
        """Structuring element as wide as the thinnest bridge."""
        width = max(3, 2 * round(BRIDGE * self.size_px / 2.0) + 1)
        return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))


def expect_hand(
    landmarks: FloatArray, silhouette: Mask, arm_zone: Mask, size_px: float
) -> Expected:
    """landmarks: (21, 2) local pixels of the old hand. silhouette: of the new one."""
    core = _draw_skeleton(landmarks, silhouette.shape, CORE_WIDTH * size_px)
    flesh = _draw_skeleton(landmarks, silhouette.shape, FLESH_WIDTH * size_px) | silhouette
    away = cv2.distanceTransform((~flesh).astype(np.uint8), cv2.DIST_L2, 3)
    if not flesh.any():
        away = np.full(silhouette.shape, 1e3 * size_px, dtype=np.float32)
    return Expected(core, flesh, arm_zone, np.asarray(away / size_px, dtype=np.float32), size_px)


def _draw_skeleton(landmarks: FloatArray, shape: tuple[int, ...], width_px: float) -> Mask:
    """Bones and palm as filled shapes."""
    canvas = np.zeros(shape, dtype=np.uint8)
    points = drawable(landmarks)
    for parent, child in BONES:
        _draw_bone(canvas, points[[parent, child]], 1, width_px)
    cv2.fillConvexPoly(canvas, cv2.convexHull(points[list(PALM)]), 1)
    return canvas.astype(bool)


def old_fingers(landmarks: FloatArray, shape: tuple[int, ...], size_px: float) -> Mask:
    """(h, w): where the old hand's fingers are by its landmarks, generously."""
    canvas = np.zeros(shape, dtype=np.uint8)
    points = drawable(landmarks)
    for parent, child in BONES:
        if parent != WRIST:
            _draw_bone(canvas, points[[parent, child]], 1, 2.0 * FLESH_WIDTH * size_px)
    return canvas.astype(bool)


def _draw_bone(
    canvas: NDArray[np.uint8], ends: NDArray[np.int32], value: int, width_px: float
) -> None:
    a, b = (tuple(int(v) for v in end) for end in ends)
    cv2.line(canvas, a, b, value, max(1, round(width_px)))


def find_palm(joints: FloatArray, skin: Mask, covered: Mask, size_px: float) -> Floats:
    """(h, w) 0..1: where the old palm may stay under the new fingers. What is drawn badly are
    fingers; a palm in the right place is better than any that could be rendered.

    joints: (21, 2) local pixels of the new hand, which covers `covered`.
    """
    canvas = np.zeros(skin.shape, dtype=np.uint8)
    points = drawable(joints)
    hull = cv2.convexHull(points[list(PALM)])
    cv2.fillConvexPoly(canvas, hull, 1)
    cv2.polylines(canvas, [hull], True, 1, max(1, round(2.0 * PALM_MARGIN * size_px)))
    for parent, child in BONES:
        if parent not in PALM[:2]:
            _draw_bone(canvas, points[[parent, child]], 0, FINGER_WIDTH * size_px)
    canvas &= (skin & covered).astype(np.uint8)
    inside = cv2.distanceTransform(cv2.copyMakeBorder(canvas, 1, 1, 1, 1, 0), cv2.DIST_L2, 3)
    ramp = max(PALM_RAMP * size_px, 1.0)
    return np.asarray(np.clip(inside[1:-1, 1:-1] / ramp - 0.5, 0.0, 1.0), dtype=np.float32)


def find_skin(image: Floats, expected: Expected) -> Floats:
    """(h, w) 0..1: how surely a pixel shows skin that hangs together with the old hand.

    Two colour models, of the hand and of the rest, that learn from each other's answer, and a
    random field that prefers edges of the picture (the idea of GrabCut, Rother et al. 2004,
    solved by mean field, and without chance).
    """
    lab = to_lab(image)
    prior = np.clip(NEAR_LOGIT - LOGIT_PER_SIZE * expected.distance, -3.0, NEAR_LOGIT)
    prior = np.where(expected.core, 4.0, prior).astype(np.float32)
    hand, ground = expected.core, (expected.distance > FAR) & ~expected.arm
    belief = np.zeros(prior.shape, dtype=np.float32)
    for _ in range(ROUNDS):
        colour = _compare_colours(lab, hand, ground)
        if colour is None:
            return _as_expected(expected)
        belief = _smooth(prior + colour, lab)
        hand = (belief > 0.85) & (expected.distance < FAR)
        ground = (belief < 0.25) & ~expected.arm
    return _keep_sensible(belief, expected)


def _compare_colours(lab: Floats, hand: Mask, ground: Mask) -> Floats | None:
    """(h, w) log odds of hand against ground by colour; None without samples of both."""
    if min(np.count_nonzero(hand), np.count_nonzero(ground)) < MIN_SAMPLES:
        return None
    flat = lab.reshape(-1, 3)
    skin = with_shadows(fit_mixture(lab[hand], SKIN_PARTS))
    of_hand = skin.log_density(flat).reshape(hand.shape)
    # Face and arm are skin too; they must not teach the background their colour.
    typical = np.percentile(of_hand[hand], 20.0)
    foreign = ground & (of_hand < typical)
    if np.count_nonzero(foreign) >= max(MIN_SAMPLES, 0.3 * np.count_nonzero(ground)):
        ground = foreign
    of_ground = fit_mixture(lab[ground], GROUND_PARTS).log_density(flat).reshape(hand.shape)
    odds = np.clip(of_hand - of_ground, -COLOUR_LIMIT, COLOUR_LIMIT)
    # What looks like neither is rather a nail, a ring or a shadow of the hand than background.
    strange = np.maximum(of_hand, of_ground) < STRANGE_LOG_DENSITY
    return np.asarray(odds + STRANGE_LOGIT * strange, dtype=np.float32)


def _smooth(logit: Floats, lab: Floats) -> Floats:
    """Mean-field belief of a field whose neighbours agree where their colours do."""
    links = []
    for axis in (0, 1):
        step = (np.diff(lab, axis=axis) ** 2).sum(axis=2)
        scale = 2.0 * max(float(step.mean()) if step.size else 0.0, 1.0)
        links.append(SMOOTHNESS * np.exp(-step / scale))
    down, right = links
    belief = np.tanh(logit / 2.0)
    for _ in range(SMOOTH_ROUNDS):
        pull = logit.copy()
        pull[1:] += down * belief[:-1]
        pull[:-1] += down * belief[1:]
        pull[:, 1:] += right * belief[:, :-1]
        pull[:, :-1] += right * belief[:, 1:]
        belief = np.tanh(pull / 2.0)
    return np.asarray((belief + 1.0) / 2.0, dtype=np.float32)


def _keep_sensible(belief: Floats, expected: Expected) -> Floats:
    """Only what is connected with the old hand; the expectation where the answer is absurd."""
    likely = (belief > 0.5).astype(np.uint8)
    # Thin bridges lead into hair and clothes; thin ends of what is kept come back.
    solid = cv2.morphologyEx(likely, cv2.MORPH_OPEN, expected.bridge)
    _, labels = cv2.connectedComponents(solid, connectivity=4)
    wanted = np.zeros(int(labels.max()) + 1, dtype=bool)
    wanted[np.unique(labels[expected.flesh])] = True
    wanted[0] = False
    grown = np.asarray(cv2.dilate(wanted[labels].astype(np.uint8), expected.bridge))
    kept = (grown > 0) & (likely > 0)
    near = np.count_nonzero(kept & (expected.distance < FAR))
    area = np.count_nonzero(expected.flesh)
    if not TOO_LITTLE * area <= near <= TOO_MUCH * area:
        return _as_expected(expected)
    return np.where(kept | expected.core, np.maximum(belief, expected.core), 0.0).astype(np.float32)


def _as_expected(expected: Expected) -> Floats:
    return expected.flesh.astype(np.float32)
