"""Backend `open_hand`: from a detected hand to a fitted mesh, or a refusal with its reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from handrefiner_ext.mesh.open_hand.fit import Fit, HandFitter, Target
from handrefiner_ext.mesh.open_hand.kinematics import Kinematics
from handrefiner_ext.mesh.open_hand.model import load_open_hand
from handrefiner_ext.mesh.open_hand.outline import Outline, Placing, look_at_outline
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import (
    FloatArray,
    Hand,
    HandMesh,
    Image,
    Refusal,
    WeakPerspective,
)

MAX_REPROJECTION_ERROR = 0.12
"""Hand sizes; above it the mesh would show another hand than the one drawn."""

POINT_DEVIATION = 0.025
DEPTH_DEVIATION = 1.5 * np.array([0.16, 0.11, 0.09, 0.1, 0.13, *([0.07, 0.07, 0.1, 0.15] * 4)])
"""Expected errors of a detector's landmarks in hand sizes, measured joint by joint on rendered
hands (the depth ones enlarged by half, because neighbouring joints err together)."""

OUTLINE_ROUNDS = 2

FARTHEST = 1e6
"""No picture has so many pixels; beyond it squares overflow."""

MIRROR = np.array([-1.0, 1.0, 1.0])


class OpenHandReconstructor:
    """Fits the open hand; left hands are fitted as their mirror image."""

    name = "open_hand"

    def __init__(self) -> None:
        self.kinematics = Kinematics(load_open_hand())
        self.fitter = HandFitter(self.kinematics)

    def reconstruct(self, image: Image, hand: Hand, params: RefineParams) -> HandMesh | Refusal:
        problem = _find_problem(hand)
        if problem:
            return Refusal(hand.box, problem)
        placing = _placing(hand)
        target = _target(hand, placing)
        fit = self.fitter.fit(target)
        if not fit.reprojection_error <= MAX_REPROJECTION_ERROR:
            return Refusal(
                hand.box,
                f"No plausible hand fits these landmarks: the best one misses them by "
                f"{fit.reprojection_error:.0%} of the hand's size; "
                f"{MAX_REPROJECTION_ERROR:.0%} is allowed.",
            )
        strain = fit.cost
        outline = None
        if params.outline:
            outline = look_at_outline(self.kinematics, fit.pose, image, placing)
        if outline is None:
            return self._mesh(hand, placing, fit, strain)
        fit = self._follow(outline, target, fit)
        mesh = self._mesh(hand, placing, fit, strain)
        disagreement = outline.disagreement(self.kinematics, fit.pose)
        return replace(mesh, outline_disagreement=disagreement)

    def _follow(self, outline: Outline, target: Target, first: Fit) -> Fit:
        """The fit that heeds the outline too, unless that loses the landmarks."""
        fit = first
        for _ in range(OUTLINE_ROUNDS):
            contour = outline.find_contour(self.kinematics, fit.pose)
            if contour is not None:
                fit = self.fitter.fit(replace(target, contour=contour), fit.pose)
        return fit if fit.reprojection_error <= MAX_REPROJECTION_ERROR else first

    def _mesh(self, hand: Hand, placing: Placing, fit: Fit, strain: float) -> HandMesh:
        pose = fit.pose
        mirror = MIRROR if hand.handedness == "left" else np.ones(3)
        turn = pose.rotation.T * mirror
        shift = placing.to_picture(pose.shift)
        faces = self.kinematics.model.faces
        return HandMesh(
            hand=hand,
            vertices=self.kinematics.skin(pose) @ turn,
            faces=faces[:, ::-1] if hand.handedness == "left" else faces,
            joints=self.kinematics.pose_skeleton(pose).landmarks @ turn,
            camera=WeakPerspective(pose.scale * hand.size_px, float(shift[0]), float(shift[1])),
            reprojection_error=fit.reprojection_error,
            backend=self.name,
            strain=strain,
        )


def _find_problem(hand: Hand) -> str | None:
    points = (hand.landmarks, hand.world_landmarks, hand.landmark_depth)
    if not all(np.isfinite(p).all() for p in points):
        return "Its landmarks are not finite numbers."
    if any(np.abs(p).max() > FARTHEST for p in points):
        return f"Its landmarks lie more than {FARTHEST:g} pixels away."
    if hand.size_px < 1.0:
        return "Its landmarks all lie in one pixel."
    return None


def _placing(hand: Hand) -> Placing:
    centre = (hand.landmarks.min(axis=0) + hand.landmarks.max(axis=0)) / 2.0
    mirror = MIRROR[:2] if hand.handedness == "left" else np.ones(2)
    return Placing(centre, hand.size_px, mirror)


def _target(hand: Hand, placing: Placing) -> Target:
    """The hand as the fit's target: centred, in hand sizes, mirrored if it is a left hand."""
    points = (hand.landmarks - placing.centre) / placing.size_px * placing.mirror
    depth = relative_depth(hand) / placing.size_px
    return Target(points, depth, np.full(len(points), POINT_DEVIATION), DEPTH_DEVIATION)


def relative_depth(hand: Hand) -> FloatArray:
    """(21,) depth of the landmarks in pixels, up to an offset.

    The picture's own depth is the better one (its error on rendered hands is 0.11 hand sizes, that
    of the world landmarks 0.14); where a detector has none, the world landmarks' metres become
    pixels by the scale that takes their x, y nearest to the picture's.
    """
    if np.ptp(hand.landmark_depth) > 0.0:
        return hand.landmark_depth
    world = hand.world_landmarks - hand.world_landmarks.mean(axis=0)
    points = hand.landmarks - hand.landmarks.mean(axis=0)
    power = float((world[:, :2] ** 2).sum())
    scale = float((world[:, :2] * points).sum()) / power if power > 0.0 else 0.0
    return np.asarray(max(scale, 0.0) * world[:, 2])
