"""Which pixels of a close-up show the old hand and its arm.

Colours are modelled by mixtures of normal distributions, fitted without random numbers, so that
the same picture always gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.inpaint.closeup import Floats, drawable
from handrefiner_ext.topology import BONES, FINGERS, PALM, THUMB_CMC, WRIST
from handrefiner_ext.types import FloatArray, Mask

CORE_WIDTH, FLESH_WIDTH = 0.035, 0.10
"""Hand sizes: line widths of the skeleton inside which all is surely, and probably, hand."""
FAR = 0.30
"""Hand sizes; what is farther than this from the expected hand is first taken for background."""
NEAR_LOGIT, LOGIT_PER_SIZE = 1.5, 9.0
COLOUR_LIMIT = 6.0
STRANGE_LOG_DENSITY, STRANGE_LOGIT = -16.0, 2.5
SMOOTHNESS, SMOOTH_ROUNDS, ROUNDS = 1.6, 16, 3
SKIN_PARTS, GROUND_PARTS = 3, 5
TOO_LITTLE, TOO_MUCH = 0.35, 4.0
"""Shares of the expected hand's area; if less or more is found, the colours did not tell."""
MIN_COLOURS = 12
THUMB_MCP = FINGERS["thumb"][1]
PALM_MARGIN, FINGER_WIDTH, PALM_RAMP = 0.10, 0.12, 0.03
"""Hand sizes: margin around the palm's joints, width over which new fingers replace the old palm,
and softness of its edge."""
BRIDGE = 0.045
"""Hand sizes; skin connected by a bridge thinner than this is something else."""


@dataclass(frozen=True)
class ExpectedHand:
    """Where the hand is expected in a close-up; all maps are (h, w).

    core: surely hand. fingers: the part of it beyond the palm. flesh: probably hand. arm: where the
    arm may be, which is not background. distance: from the flesh, in hand sizes. size_px: the hand
    size.
    """

    core: Mask
    fingers: Mask
    flesh: Mask
    arm: Mask
    distance: Floats
    size_px: float

    @property
    def bridge(self) -> NDArray[np.uint8]:
        """Structuring element as wide as the thinnest bridge that counts."""
        width = max(3, 2 * round(BRIDGE * self.size_px / 2.0) + 1)
        return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))

    def without(self, other: Mask, foreign: Mask) -> ExpectedHand:
        """Return the same where what has an `other` colour is not sure, and `foreign` no hand."""
        return replace(self, core=self.core & ~other, flesh=self.flesh & ~foreign)


def expect_hand(
    landmarks: FloatArray, silhouette: Mask, arm_zone: Mask, size_px: float
) -> ExpectedHand:
    """Return where the old hand is expected.

    Arguments:
        landmarks: (21, 2) pixels of the close-up, of the old hand.
        silhouette: (h, w) of the new hand.
        arm_zone: (h, w) where the arm may be.
        size_px: hand size in the close-up.
    """
    core = _draw_bones(landmarks, silhouette.shape, CORE_WIDTH * size_px)
    # The knuckles may be in a sleeve; the outer phalanges never are.
    knuckles = (*PALM, THUMB_MCP)
    fingers = _draw_fingers(landmarks, silhouette.shape, CORE_WIDTH * size_px, knuckles)
    flesh = _draw_bones(landmarks, silhouette.shape, FLESH_WIDTH * size_px) | silhouette
    away = cv2.distanceTransform((~flesh).astype(np.uint8), cv2.DIST_L2, 3)
    if not flesh.any():
        away = np.full(silhouette.shape, 1e3 * size_px, dtype=np.float32)
    return ExpectedHand(
        core, fingers, flesh, arm_zone, np.asarray(away / size_px, dtype=np.float32), size_px
    )


def _draw_bones(landmarks: FloatArray, shape: tuple[int, ...], width_px: float) -> Mask:
    """Return (h, w) bones and palm as filled shapes."""
    canvas = np.zeros(shape, dtype=np.uint8)
    points = drawable(landmarks)
    for parent, child in BONES:
        _draw_bone(canvas, points[[parent, child]], 1, width_px)
    cv2.fillConvexPoly(canvas, cv2.convexHull(points[list(PALM)]), 1)
    return canvas.astype(bool)


def _draw_fingers(
    landmarks: FloatArray,
    shape: tuple[int, ...],
    width_px: float,
    without: tuple[int, ...] = (WRIST, THUMB_CMC),
) -> Mask:
    """Return (h, w) the bones, but those that begin at the joints `without`."""
    canvas = np.zeros(shape, dtype=np.uint8)
    points = drawable(landmarks)
    for parent, child in BONES:
        if parent not in without:
            _draw_bone(canvas, points[[parent, child]], 1, width_px)
    return canvas.astype(bool)


def old_fingers(landmarks: FloatArray, shape: tuple[int, ...], size_px: float) -> Mask:
    """Return (h, w) generously where the old fingers are, by their landmarks."""
    # The base of the thumb lies at the edge of the wrist, which would get a notch.
    return _draw_fingers(landmarks, shape, 2.0 * FLESH_WIDTH * size_px)


def find_other_skin(
    landmarks: FloatArray, skin: Mask, spared: Mask, others: Mask, size_px: float
) -> Mask:
    """Return (h, w) where beside the old hand a face or another hand is.

    Arguments:
        landmarks: (21, 2) pixels of the close-up, of the old hand.
        skin: (h, w) the old hand with all skin connected with it, without the arm.
        spared: (h, w) faces and other hands, where they must not change.
        others: (h, w) what the other new hands cover.
        size_px: hand size in the close-up.
    """
    # The mask leaves a rim around the old fingers. If skin were erased from it, the face would end
    # at the rim. Another hand is erased for its own sake or, if it is kept, not at all.
    outside = ~_draw_bones(landmarks, skin.shape, FLESH_WIDTH * size_px)
    beside = skin & outside
    _, labels = cv2.connectedComponents(beside.astype(np.uint8), connectivity=4)
    runs_on = np.zeros(int(labels.max()) + 1, dtype=bool)
    runs_on[np.unique(labels[beside & spared])] = True
    runs_on[0] = False
    return np.asarray(runs_on[labels] | (others & outside))


def _draw_bone(
    canvas: NDArray[np.uint8], ends: NDArray[np.int32], value: int, width_px: float
) -> None:
    a, b = (tuple(int(v) for v in end) for end in ends)
    cv2.line(canvas, a, b, value, max(1, round(width_px)))


def find_palm(joints: FloatArray, skin: Mask, covered: Mask, size_px: float) -> Floats:
    """Return (h, w) 0..1 where the old palm may stay under the new fingers.

    Arguments:
        joints: (21, 2) pixels of the close-up, of the new hand.
        skin: (h, w) where the old skin is.
        covered: (h, w) what the new hand covers.
        size_px: hand size in the close-up.
    """
    # It is the fingers that are drawn badly. A palm in the right place is better than any that
    # could be rendered.
    canvas = np.zeros(skin.shape, dtype=np.uint8)
    points = drawable(joints)
    hull = cv2.convexHull(points[list(PALM)])
    cv2.fillConvexPoly(canvas, hull, 1)
    cv2.polylines(canvas, [hull], True, 1, max(1, round(2.0 * PALM_MARGIN * size_px)))
    for parent, child in BONES:
        if parent not in (WRIST, THUMB_CMC):
            _draw_bone(canvas, points[[parent, child]], 0, FINGER_WIDTH * size_px)
    canvas &= (skin & covered).astype(np.uint8)
    inside = cv2.distanceTransform(cv2.copyMakeBorder(canvas, 1, 1, 1, 1, 0), cv2.DIST_L2, 3)
    ramp = max(PALM_RAMP * size_px, 1.0)
    return np.asarray(np.clip(inside[1:-1, 1:-1] / ramp - 0.5, 0.0, 1.0), dtype=np.float32)


def find_skin(image: Floats, expected: ExpectedHand) -> Floats:
    """Return (h, w) 0..1 the probability that a pixel shows skin connected with the old hand.

    Colour models of hand and background alternate with a random field whose borders prefer the
    picture's edges: the idea of GrabCut (Rother et al. 2004), solved by mean field.

    Arguments:
        image: (h, w, 3), 0..1.
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
    """Return (h, w) log-odds of hand against ground by colour; None without samples of both."""
    if min(np.count_nonzero(hand), np.count_nonzero(ground)) < MIN_COLOURS:
        return None
    flat = lab.reshape(-1, 3)
    skin = with_shadows(fit_mixture(lab[hand], SKIN_PARTS))
    of_hand = skin.log_density(flat).reshape(hand.shape)
    # Face and arm are skin too; the background must not learn their colour.
    typical = np.percentile(of_hand[hand], 20.0)
    foreign = ground & (of_hand < typical)
    if np.count_nonzero(foreign) >= max(MIN_COLOURS, 0.3 * np.count_nonzero(ground)):
        ground = foreign
    of_ground = fit_mixture(lab[ground], GROUND_PARTS).log_density(flat).reshape(hand.shape)
    odds = np.clip(of_hand - of_ground, -COLOUR_LIMIT, COLOUR_LIMIT)
    # What looks like neither is more likely a nail, a ring or a shadow on the hand.
    strange = np.maximum(of_hand, of_ground) < STRANGE_LOG_DENSITY
    return np.asarray(odds + STRANGE_LOGIT * strange, dtype=np.float32)


def _smooth(logit: Floats, lab: Floats) -> Floats:
    """Return the mean-field belief of a field whose neighbours agree where their colours do."""
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


def _keep_sensible(belief: Floats, expected: ExpectedHand) -> Floats:
    """Keep what is connected with the old hand, or the expectation if the answer is absurd."""
    likely = (belief > 0.5).astype(np.uint8)
    # Thin bridges lead into hair and clothes, so they are cut; dilating brings thin ends back.
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


def _as_expected(expected: ExpectedHand) -> Floats:
    return expected.flesh.astype(np.float32)


MIXTURE_SAMPLES = 1500
SMALLEST_DEVIATION = 2.5
"""In units of Lab; JPEG and grain alone spread a flat colour by about this much."""
LIGHTNESS_WEIGHT = 0.6
"""Weight of lightness, which says less than hue because light and shadow change it most."""
OUTLIER_SHARE, OUTLIER_LOG_DENSITY = 0.02, -13.8
"""For colours that no component explains: uniform over Lab's volume of about 1e6 units."""
LLOYD_ROUNDS = 6
SHADOWS, SHADOW_SHARE = (0.45, 0.2), 0.05
"""Light left in half and in deep shadow, and the share of each in the mixture."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of k normal distributions of colours.

    means: (k, 3). whitening: (k, 3, 3), where whitening @ whitening.T is the inverse covariance.
    constants: (k,) logarithms of weight times normalisation.
    """

    means: FloatArray
    whitening: FloatArray
    constants: FloatArray

    def log_density(self, colours: Floats) -> Floats:
        """Return (n,) log-densities of (n, 3) colours under the likeliest component.

        None is below the density of an outlier.
        """
        outlier = np.log(OUTLIER_SHARE) + OUTLIER_LOG_DENSITY
        total = np.full(len(colours), outlier, dtype=np.float32)
        for mean, white, constant in zip(self.means, self.whitening, self.constants, strict=True):
            away = (colours - mean.astype(np.float32)) @ white.astype(np.float32)
            squared = np.einsum("nk,nk->n", away, away)
            np.maximum(total, constant - 0.5 * squared, out=total)
        return total


def with_shadows(mixture: Mixture) -> Mixture:
    """Add the same colours in shadow: Lab shrinks by the cube root of the light."""
    factors = np.cbrt([1.0, *SHADOWS])
    share = np.log([1.0, *[SHADOW_SHARE] * len(SHADOWS)])
    return Mixture(
        np.concatenate([mixture.means * f for f in factors]),
        np.concatenate([mixture.whitening] * len(factors)),
        np.concatenate([mixture.constants + s for s in share]),
    )


def to_lab(image: Floats) -> Floats:
    """Convert (h, w, 3) RGB, 0..1, to Lab with reduced lightness."""
    lab = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2Lab), dtype=np.float32)
    lab[..., 0] *= LIGHTNESS_WEIGHT
    return lab


def fit_mixture(colours: Floats, count: int) -> Mixture:
    """Fit a mixture of at most `count` components to (n, 3) colours, n > 0.

    Orchard and Bouman's splitting along the largest spread (1991, "Color quantization of
    images") gives the start; rounds of Lloyd's algorithm follow.
    """
    step = max(1, len(colours) // MIXTURE_SAMPLES)
    samples = colours[::step].astype(np.float64)
    label = _assign(samples, _split_colours(samples, count))
    for _ in range(LLOYD_ROUNDS):
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


def _split_colours(samples: FloatArray, count: int) -> FloatArray:
    """Return at most `count` means, (k, 3), by repeatedly halving the group of largest spread."""
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
