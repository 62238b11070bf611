"""Backend `open_hand`: a mesh fitted to a detected hand, or a refusal with its reason.

It also gives the relaxed hand that is assumed where nobody can see how a hand lies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.geometry.transforms import MIRROR
from handrefiner_ext.mesh.open_hand.anatomy import RELAXED_DEGREES
from handrefiner_ext.mesh.open_hand.fit import POINT_DEVIATION, Fit, HandFitter, Target
from handrefiner_ext.mesh.open_hand.kinematics import Pose, load_kinematics
from handrefiner_ext.mesh.open_hand.outline import (
    FitSpace,
    OutlineEvidence,
    find_outline_evidence,
)
from handrefiner_ext.mesh.open_hand.posing import describe_pose
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import (
    FloatArray,
    Hand,
    Handedness,
    HandMesh,
    Image,
    Refusal,
    WeakPerspective,
)

MAX_REPROJECTION_ERROR = 0.12
"""Hand sizes; a mesh with a larger error would show another hand than the one drawn."""

DEPTH_DEVIATION = 1.5 * np.array([0.16, 0.11, 0.09, 0.1, 0.13, *([0.07, 0.07, 0.1, 0.15] * 4)])
"""Expected errors in depth of a detector's landmarks in hand sizes, measured joint by joint on
rendered hands. They are enlarged by half, because neighbouring joints err together."""

OUTLINE_ROUNDS = 2

REMEMBERED = 12
"""Hands whose fit is kept: a hand is fitted without the outline first, then with it."""

MOST_PX = 1e6
"""Landmarks farther away are refused: no picture is that large, and squares would overflow."""


class OpenHandReconstructor:
    """Fits the open hand; a left hand is fitted as its mirror image."""

    name = "open_hand"

    def __init__(self) -> None:
        self.kinematics = load_kinematics()
        self.fitter = HandFitter(self.kinematics)
        self._last: tuple[tuple[Hand, Fit], ...] = ()

    def reconstruct(self, image: Image, hand: Hand, params: RefineParams) -> HandMesh | Refusal:
        """Return the mesh of one hand, or the reason why there is none.

        image: (H, W, 3), used only if `params.outline` is on.
        """
        problem = _find_problem(hand)
        if problem:
            return Refusal(hand.box, problem)
        space = _fit_space(hand)
        target = _target(hand, space)
        fit = self._fit_landmarks(hand, target)
        if not fit.reprojection_error <= MAX_REPROJECTION_ERROR:
            return Refusal(
                hand.box,
                f"No plausible hand fits these landmarks: the best one misses them by "
                f"{fit.reprojection_error:.0%} of the hand's size; "
                f"{MAX_REPROJECTION_ERROR:.0%} is allowed.",
            )
        # The cost before the outline is added, since strain compares fits of the same landmarks.
        strain = fit.cost
        outline = None
        if params.outline:
            outline = find_outline_evidence(self.kinematics, fit.pose, image, space)
        if outline is None:
            return self._mesh(hand, space, fit, strain)
        fit = self._follow(outline, target, fit)
        mesh = self._mesh(hand, space, fit, strain)
        disagreement = outline.measure_disagreement(self.kinematics, fit.pose)
        return replace(mesh, outline_disagreement=disagreement)

    def _fit_landmarks(self, hand: Hand, target: Target) -> Fit:
        """Fit the landmarks alone; a hand that was fitted a moment ago is not fitted again."""
        known = next((fit for old, fit in self._last if old is hand), None)
        if known is not None:
            return known
        fit = self.fitter.fit(target)
        self._last = ((hand, fit), *self._last)[:REMEMBERED]
        return fit

    def _follow(self, outline: OutlineEvidence, target: Target, first: Fit) -> Fit:
        """Fit to the outline too, unless that moves the mesh too far off the landmarks."""
        fit = first
        for _ in range(OUTLINE_ROUNDS):
            further = outline.find_target(self.kinematics, fit.pose)
            if further is not None:
                fit = self.fitter.fit(replace(target, outline=further), fit.pose)
        return fit if fit.reprojection_error <= MAX_REPROJECTION_ERROR else first

    def _mesh(self, hand: Hand, space: FitSpace, fit: Fit, strain: float) -> HandMesh:
        pose = fit.pose
        mirror = MIRROR if hand.handedness == "left" else np.ones(3)
        turn = pose.rotation.T * mirror
        shift = space.to_picture(pose.shift)
        camera = WeakPerspective(pose.scale * hand.size_px, float(shift[0]), float(shift[1]))
        faces = self.kinematics.model.faces
        return HandMesh(
            hand=hand,
            vertices=self.kinematics.skin(pose) @ turn,
            faces=faces[:, ::-1] if hand.handedness == "left" else faces,
            joints=self.kinematics.pose_skeleton(pose).landmarks @ turn,
            camera=camera,
            reprojection_error=fit.reprojection_error,
            backend=self.name,
            strain=strain,
            pose=describe_pose(pose, hand.handedness, camera),
        )


def _find_problem(hand: Hand) -> str | None:
    """Say in one sentence why a hand cannot be fitted; None if it can."""
    points = (hand.landmarks, hand.world_landmarks, hand.landmark_depth)
    if not all(np.isfinite(p).all() for p in points):
        return "Its landmarks are not finite numbers."
    if any(np.abs(p).max() > MOST_PX for p in points):
        return f"Its landmarks lie more than {MOST_PX:g} pixels away."
    if hand.size_px < 1.0:
        return "Its landmarks all lie in one pixel."
    return None


def _fit_space(hand: Hand) -> FitSpace:
    centre = (hand.landmarks.min(axis=0) + hand.landmarks.max(axis=0)) / 2.0
    mirror = MIRROR[:2] if hand.handedness == "left" else np.ones(2)
    return FitSpace(centre, hand.size_px, mirror)


def _target(hand: Hand, space: FitSpace) -> Target:
    """Return the hand as the fit's target: centred, in hand sizes, a left hand mirrored."""
    points = (hand.landmarks - space.centre) / space.size_px * space.mirror
    depth = relative_depth(hand) / space.size_px
    return Target(points, depth, np.full(len(points), POINT_DEVIATION), DEPTH_DEVIATION)


def relative_depth(hand: Hand) -> FloatArray:
    """Return (21,) the depth of the landmarks in pixels, up to an offset."""
    # On rendered hands the picture's own depth errs by 0.11 hand sizes, that of the world landmarks
    # by 0.14. A detector without the former has its world landmarks scaled so that their x and y
    # best match the picture's.
    if np.ptp(hand.landmark_depth) > 0.0:
        return hand.landmark_depth
    world = hand.world_landmarks - hand.world_landmarks.mean(axis=0)
    points = hand.landmarks - hand.landmarks.mean(axis=0)
    power = float((world[:, :2] ** 2).sum())
    scale = float((world[:, :2] * points).sum()) / power if power > 0.0 else 0.0
    return np.asarray(max(scale, 0.0) * world[:, 2])


UNKNOWN_SIDE_SCORE = 0.5


@dataclass(frozen=True)
class HandExtent:
    """Place, direction and length of a hand in the picture.

    centre: (2,) pixels, middle of the landmarks' extent. towards: (2,) unit vector from the wrist
    to the fingertips. length_px: of that extent along `towards`.
    """

    centre: FloatArray
    towards: FloatArray
    length_px: float


def relaxed_landmarks() -> FloatArray:
    """Return (21, 3) a relaxed right hand seen from its back, fingers up, metres."""
    kinematics = load_kinematics()
    anatomy = kinematics.anatomy
    places = list(zip(*anatomy.where, strict=True))
    free = np.radians([RELAXED_DEGREES.get((int(f), int(j), int(a)), 0) for f, j, a in places])
    pose = Pose(np.eye(3), 1.0, np.zeros(2), 0.0, free, np.zeros(len(anatomy.shapes)))
    return np.asarray(kinematics.pose_skeleton(pose).landmarks)


def assume_hand(
    extent: HandExtent, handedness: Handedness, shows_palm: bool, picture_size: tuple[int, int]
) -> Hand:
    """Return a relaxed hand as if it had been detected.

    Arguments:
        extent: where it is.
        shows_palm: whether the palm faces the viewer.
        picture_size: (height, width).
    """
    points = relaxed_landmarks()
    if shows_palm:
        points = points * (-1.0, 1.0, -1.0)
    if handedness == "left":
        points = points * (-1.0, 1.0, 1.0)
    x, y = extent.towards
    roll = np.array([[-y, -x, 0.0], [x, -y, 0.0], [0.0, 0.0, 1.0]])
    length = float(np.ptp(points[:, 1]))
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    points = (points - middle) @ roll.T
    scale = extent.length_px / length
    landmarks = scale * points[:, :2] + extent.centre
    return Hand(
        handedness=handedness,
        handedness_score=UNKNOWN_SIDE_SCORE,
        score=0.0,
        box=clip(bounding_box(landmarks), *picture_size),
        landmarks=landmarks,
        landmark_depth=scale * (points[:, 2] - points[0, 2]),
        world_landmarks=points - points.mean(axis=0),
        assumed=True,
    )
