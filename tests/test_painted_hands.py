"""A hand where a mask was drawn: found on a second look, else assumed and marked as such."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from detect_pictures import drawn
from hand_scenes import BOTH, make_stages, picture_with

from handrefiner_ext.api.body import answer_hints
from handrefiner_ext.detect.flow import DetectorWrapper
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.hands.others import DIFFERENT, distance
from handrefiner_ext.host.reports import describe
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.pipeline import hints, refine
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.report import describe_decision, describe_hands, list_decision_lines
from handrefiner_ext.stages import Stages
from handrefiner_ext.topology import MIDDLE_MCP, WRIST
from handrefiner_ext.types import Detection

DRAWN = RefineParams(mask="drawn", tiles="off")
SIDE = 400


class Negative:
    """Paints the picture's negative."""

    name = "negative"

    def paint(self, request):
        return 255 - request.image


@dataclass
class Blind(DetectorWrapper):
    """Sees no hand anywhere: what is assumed then does not hang on who has looked before."""

    def detect(self, image, params):
        return Detection(())


@pytest.fixture(scope="module")
def stages():
    return Stages(LitertDetector(), OpenHandReconstructor(), RasterRenderer(), Negative())


@pytest.fixture(scope="module")
def blind(stages):
    return replace(stages, detector=Blind(stages.detector, "blind"))


def landscape(seed=0):
    """No hand: a gradient with noise."""
    rng = np.random.default_rng(seed)
    grey = np.linspace(60, 190, SIDE)[:, None, None] + np.array([0, 10, 30])
    return np.clip(grey + rng.normal(0, 5, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def ellipse(centre, axes, angle=0.0, shape=(SIDE, SIDE)):
    canvas = np.zeros(shape, np.uint8)
    return cv2.ellipse(canvas, centre, axes, angle, 0, 360, 1, -1) > 0


def one(image, mask, stages, **changes):
    seen = hints(image, replace(DRAWN, **changes), stages, mask)
    (mesh,) = seen.meshes
    assert mesh.hand.assumed
    return mesh, seen


def direction(mesh):
    towards = mesh.hand.landmarks[MIDDLE_MCP] - mesh.hand.landmarks[WRIST]
    return towards / np.linalg.norm(towards)


def test_a_picture_without_hands_gets_a_plausible_hand_of_the_painted_place_and_size(stages):
    mask = ellipse((150, 220), (65, 110))
    mesh, seen = one(landscape(), mask, stages)
    assert mesh.reprojection_error < 0.01
    assert 0.85 < np.ptp(mesh.hand.landmarks[:, 1]) / 220 < 0.95
    np.testing.assert_allclose(np.mean(mesh.hand.box.slices[1].indices(SIDE)[:2]), 150, atol=6)
    shown = seen.maps.owner == 0  # the stub of the wrist may reach beyond what was painted
    assert (shown & mask).sum() > 0.65 * mask.sum()
    assert shown.sum() < 1.4 * mask.sum()
    assert (seen.maps.mask & mask).sum() == mask.sum()
    assert mesh.backend == "open_hand"


@pytest.mark.parametrize("angle", [0, 30, 60, -40])
def test_without_evidence_the_wrist_is_at_the_lower_end_of_the_painted_axis(blind, angle):
    mesh, _ = one(landscape(), ellipse((200, 200), (55, 100), angle), blind)
    radians = np.radians(angle)
    assert direction(mesh) @ (np.sin(radians), -np.cos(radians)) > 0.97


@pytest.mark.parametrize(
    ("centre", "axes", "towards"),
    [
        ((390, 200), (90, 50), (-1, 0)),
        ((10, 200), (90, 50), (1, 0)),
        ((200, 10), (50, 90), (0, 1)),
        ((200, 390), (50, 90), (0, -1)),
    ],
)
def test_the_wrist_is_where_the_edge_cuts_the_part_off(blind, centre, axes, towards):
    mesh, _ = one(landscape(), ellipse(centre, axes), blind)
    assert direction(mesh) @ towards > 0.97


@pytest.mark.parametrize("turn", range(0, 360, 45))
def test_the_wrist_is_where_an_arm_goes_on(blind, turn):
    out = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
    image, middle = landscape(), np.array([200.0, 200.0])
    ends = [tuple(np.rint(middle + r * out).astype(int).tolist()) for r in (20, 400)]
    cv2.line(image, *ends, (205, 150, 120), 44)
    mesh, _ = one(image, ellipse((200, 200), (70, 70)), blind)
    assert direction(mesh) @ -out > 0.9


def test_a_raised_hand_shows_its_palm_and_its_thumb_points_to_the_body(blind):
    for x, side in ((100, "right"), (300, "left")):
        mesh, _ = one(landscape(), ellipse((x, 200), (60, 100)), blind)
        assert mesh.handedness == side
        thumb = mesh.hand.landmarks[4, 0] - mesh.hand.landmarks[20, 0]
        assert np.sign(thumb) == np.sign(SIDE / 2 - x)


@pytest.mark.parametrize("mask_kind", ["drawn", "union"])
def test_assumed_is_said_everywhere_and_the_agreement_before_is_unknown(stages, mask_kind):
    image, mask = landscape(), ellipse((150, 200), (65, 110))
    params = replace(DRAWN, mask=mask_kind, keep_best=False)
    result = refine(image, params, stages, mask)
    (decision,) = result.decisions
    assert decision.refined
    assert decision.before.mpjpe is None
    hands = describe_hands(image, result.hints)["hands"]
    assert [hand["assumed"] for hand in hands] == [True]
    assert answer_hints(image, result.hints)["hands"][0]["assumed"] is True
    assert describe(result).words == "1 right assumed refined"
    said = list_decision_lines(hands, [describe_decision(decision, result.hints)])
    assert said[0].startswith("hand 1 (right, assumed) repainted")
    seen = hints(image, params, stages, mask)
    real = replace(seen.meshes[0], hand=replace(seen.meshes[0].hand, assumed=False))
    other = draw_overlay(image, replace(seen, meshes=(real,)))
    assert not np.array_equal(draw_overlay(image, seen), other)
    changed = (result.image != image).any(axis=2)
    assert not changed[~result.hints.maps.mask].any()


def test_what_was_asked_for_is_not_held_back(stages):
    image, mask = landscape(), ellipse((150, 200), (65, 110))
    result = refine(image, replace(DRAWN, keep_best=True), stages, mask)
    assert [decision.refined for decision in result.decisions] == [True]
    assert (result.image != image).any()


@pytest.mark.parametrize("mask_kind", ["box", "silhouette"])
def test_a_mask_that_is_not_used_adds_no_hand(stages, mask_kind):
    seen = hints(landscape(), replace(DRAWN, mask=mask_kind), stages, ellipse((150, 200), (65, 99)))
    assert seen.meshes == ()


def test_a_hand_that_the_first_look_missed_is_found_by_the_second(stages):
    scene = drawn(10_003, 512, 512, (256, 256, 220.0))
    blind = replace(DRAWN, detection_threshold=1.0)
    empty = np.zeros((512, 512), bool)
    empty[:2, :2] = True
    assert hints(scene.image, blind, stages, empty).meshes == ()
    box = scene.hands[0].mesh.hand.box
    centre = ((box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2)
    mask = ellipse(centre, (box.width // 2, box.height // 2), shape=(512, 512))
    (mesh,) = hints(scene.image, blind, stages, mask).meshes
    assert not mesh.hand.assumed
    apart = np.linalg.norm(mesh.hand.landmarks - scene.hands[0].mesh.hand.landmarks, axis=1).mean()
    assert apart < 0.1 * mesh.hand.size_px


def test_a_part_over_or_beside_a_found_hand_belongs_to_it(stages):
    scene = drawn(10_003, 512, 512, (256, 256, 200.0))
    box = scene.hands[0].mesh.hand.box
    for mask in (
        ellipse((256, 256), (130, 130), shape=(512, 512)),
        ellipse((box.x1 + 10, (box.y0 + box.y1) // 2), (25, 15), shape=(512, 512)),
    ):
        seen = hints(scene.image, DRAWN, stages, mask)
        assert [mesh.hand.assumed for mesh in seen.meshes] == [False]


def test_added_hands_are_numbered_with_the_others_and_can_be_chosen():
    image = picture_with(("right half",), 200, 400)
    mask = ellipse((90, 100), (40, 80), shape=(200, 400))
    mask |= ellipse((300, 100), (30, 30), shape=(200, 400))
    seen = hints(image, DRAWN, make_stages(), mask)
    assert [(m.hand.number, m.hand.assumed) for m in seen.meshes] == [(1, True), (2, False)]
    assert seen.meshes[0].handedness == "right"
    chosen = hints(image, replace(DRAWN, hands="-2"), make_stages(), mask)
    assert [(m.hand.number, m.hand.assumed) for m in chosen.meshes] == [(1, True)]


def test_specks_and_a_mask_over_everything_are_no_hands():
    image = picture_with((), 200, 400)
    specks = np.zeros((200, 400), bool)
    specks[50:54, 50:54] = specks[100:104, 300:304] = True
    (refusal,) = hints(image, DRAWN, make_stages(), specks).detection.refused
    assert refusal.reason.startswith("2 painted parts without hands are smaller")
    (refusal,) = hints(image, DRAWN, make_stages(), ~specks).detection.refused
    assert "most of the picture" in refusal.reason
    everywhere = hints(picture_with(BOTH), DRAWN, make_stages(), np.ones((60, 120), bool))
    assert [mesh.hand.assumed for mesh in everywhere.meshes] == [False, False]


def test_another_mesh_of_an_assumed_hand_lies_in_the_same_place_in_another_way(blind):
    image, mask = landscape(), ellipse((150, 200), (65, 110))
    meshes = [one(image, mask, blind, another=n)[0] for n in range(8)]
    apart = [distance(a, b) for n, a in enumerate(meshes) for b in meshes[:n]]
    assert min(apart) >= DIFFERENT
    assert sum(direction(mesh) @ (0, -1) > 0.95 for mesh in meshes[:4]) == 4
    assert sum(direction(mesh) @ (0, 1) > 0.95 for mesh in meshes[4:]) == 4
    assert {mesh.handedness for mesh in meshes[:4]} == {"left", "right"}
