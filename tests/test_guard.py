"""keep_best gives a hand back where the new picture shows no such hand, and only that hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hand_scenes import BOTH, BrightDetector, FloodPainter, make_stages, picture_with

from handrefiner_ext import pipeline
from handrefiner_ext.dataset.plain import Placement, generator, make_scene
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.judge.agreement import is_changed
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.params import RefineParams
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.repaint.keep_best import FARTHEST, SAME, explain_loss
from handrefiner_ext.stages import Stages
from handrefiner_ext.types import Agreement, Box

KEEP, NO_GUARD = RefineParams(keep_best=True), RefineParams(keep_best=False)


@dataclass
class NoisePainter:
    """A model that paints no hands, as a random one does."""

    name: str = "noise"

    def paint(self, request):
        return np.random.default_rng(0).integers(0, 256, request.image.shape, dtype=np.uint8)


@dataclass
class SamePainter:
    """Repaints the same hand a little darker."""

    name: str = "same"

    def paint(self, request):
        return (request.image * 0.9).astype(np.uint8)


@dataclass
class GrainPainter:
    """Repaints the same hand with other grain."""

    name: str = "grain"

    def paint(self, request):
        noisy = request.image + np.random.default_rng(0).normal(scale=3.0, size=request.image.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@dataclass
class MirrorPainter:
    """Paints each hand's mirror image in its place: the other side's hand."""

    name: str = "mirror"

    def paint(self, request):
        painted = request.image.copy()
        for box, _ in request.maps.hand_masks:
            painted[box.slices] = request.image[box.slices][:, ::-1]
        return painted


@dataclass
class OneLost(BrightDetector):
    """Does not see the first hand again once the picture was painted."""

    def redetect(self, image, hands, params):
        seen = super().redetect(image, hands, params)
        return (None, *seen[1:]) if (image == 255).any() else seen


@pytest.fixture(scope="module")
def scene():
    return make_scene(generator("train", 10_005), 512, 512, (Placement(256, 256, 200.0),))


def real_stages(painter):
    return Stages(LitertDetector(), OpenHandReconstructor(), RasterRenderer(), painter)


def test_noise_does_not_replace_a_hand(scene):
    result = pipeline.refine(scene.image, KEEP, real_stages(NoisePainter()))
    assert result.image is scene.image
    assert result.decisions
    for decision in result.decisions:
        assert not decision.refined
        assert "original was kept" in decision.reason


def test_without_the_guard_noise_does_replace_it(scene):
    result = pipeline.refine(scene.image, NO_GUARD, real_stages(NoisePainter()))
    assert (result.image != scene.image).any()


def test_a_hand_that_is_drawn_no_better_does_not_replace_the_original(scene):
    result = pipeline.refine(scene.image, KEEP, real_stages(SamePainter()))
    assert result.image is scene.image
    assert all("quality" in decision.reason for decision in result.decisions)


def test_other_grain_does_not_replace_the_original_whatever_the_margin(scene):
    params = replace(KEEP, keep_margin=0.0)
    result = pipeline.refine(scene.image, params, real_stages(GrainPainter()))
    assert result.image is scene.image
    assert [decision.reason for decision in result.decisions] == [SAME]


def test_a_hand_of_the_other_side_does_not_replace_the_original(scene):
    params = replace(KEEP, keep_margin=0.0)
    result = pipeline.refine(scene.image, params, real_stages(MirrorPainter()))
    assert result.image is scene.image
    assert all("off its mesh" in decision.reason for decision in result.decisions)


def test_a_change_the_size_of_half_a_fingertip_is_seen_and_a_smaller_one_is_not(scene):
    box, size = Box(100, 100, 400, 400), 200.0
    place = box, np.ones((300, 300), dtype=bool)
    for side, seen in ((6, False), (22, True)):
        painted = scene.image.copy()
        painted[200 : 200 + side, 200 : 200 + side] = 255 - painted[200, 200]
        assert is_changed(scene.image, painted, place, size) is seen


def test_one_lost_hand_does_not_cost_the_other(scene):
    image = picture_with(BOTH, height=100, width=400)
    params = replace(KEEP, padding_bbox=0)
    result = pipeline.refine(image, params, make_stages(detector=OneLost()))
    lost, kept = result.decisions
    assert (lost.refined, kept.refined) == (False, True)
    (lost_box, lost_mask), (kept_box, kept_mask) = result.hints.maps.hand_masks
    assert not (result.image[lost_box.slices] != image[lost_box.slices])[lost_mask].any()
    assert (result.image[kept_box.slices][kept_mask] == FloodPainter().colour).all()


def test_a_lost_hand_does_not_cost_the_other_one_of_its_region():
    image = picture_with(BOTH, height=100, width=120)
    params = replace(KEEP, padding_bbox=60)
    result = pipeline.refine(image, params, make_stages(detector=OneLost()))
    assert [decision.refined for decision in result.decisions] == [False, True]
    lost, kept = (mesh.joints_2d.mean(axis=0).astype(int) for mesh in result.hints.meshes)
    assert (result.image[lost[1], lost[0]] == image[lost[1], lost[0]]).all()
    assert tuple(result.image[kept[1], kept[0]]) == FloodPainter().colour


def test_the_reason_names_the_distance_and_what_is_allowed():
    assert "no such hand" in explain_loss(Agreement(None, None))
    assert "40%" in explain_loss(Agreement(80.0, 0.4))
    assert f"{FARTHEST:.0%}" in explain_loss(Agreement(80.0, 0.4))
