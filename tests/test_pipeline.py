"""The flow from picture to refined picture, whatever the stages are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_scenes import (
    BOTH,
    BrightDetector,
    FloodPainter,
    PlateReconstructor,
    make_hand,
    make_mesh,
    make_stages,
    picture_with,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from handrefiner_ext import pipeline
from handrefiner_ext.errors import PictureError
from handrefiner_ext.judge.agreement import compare, measure_agreement
from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import INPAINTERS
from handrefiner_ext.stages import LazyInpainter
from handrefiner_ext.types import Agreement, ModelHome

PARAMS = RefineParams(padding_bbox=2)


def test_no_hands_give_back_the_very_same_picture():
    image = picture_with(())
    result = pipeline.refine(image, PARAMS, make_stages())
    assert result.image is image
    assert result.decisions == ()
    assert not result.hints.maps.mask.any()


def test_every_hand_is_painted_and_measured_before_and_after():
    image = picture_with(BOTH)
    result = pipeline.refine(image, PARAMS, make_stages())
    assert [d.number for d in result.decisions] == [0, 1]
    assert all(d.refined for d in result.decisions)
    assert all(d.before.mpjpe is not None and d.after.mpjpe is not None for d in result.decisions)


def test_pixels_outside_the_mask_stay_whatever_the_backend_paints():
    image = picture_with(("left half",))
    before = image.copy()
    result = pipeline.refine(image, PARAMS, make_stages())
    mask = result.hints.maps.mask
    assert mask.any()
    assert not mask.all()
    np.testing.assert_array_equal(result.image[~mask], before[~mask])
    assert (result.image[mask] == (0, 255, 0)).all()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("fault", ["refuses", "breaks_on"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_one_bad_hand_does_not_lose_the_other(fault, side):
    stages = make_stages(reconstructor=PlateReconstructor(**{fault: side}))
    result = pipeline.refine(picture_with(BOTH), PARAMS, stages)
    assert [mesh.handedness for mesh in result.hints.meshes] != [side]
    assert len(result.hints.meshes) == len(result.hints.refused) == 1
    assert [d.refined for d in result.decisions] == [True]


def test_a_backend_that_changes_nothing_leaves_the_picture_object_itself():
    class Copier(FloodPainter):
        def paint(self, request):
            return request.image.copy()

    image = picture_with(BOTH)
    result = pipeline.refine(image, PARAMS, make_stages(inpainter=Copier()))
    assert result.image is image
    assert not any(d.refined for d in result.decisions)
    assert all(d.after is None for d in result.decisions)


def test_hints_ask_for_no_inpainter(monkeypatch):
    monkeypatch.setitem(INPAINTERS.where, "draft", "no.such.module:Nothing")
    stages = make_stages(inpainter=LazyInpainter("draft", ModelHome()))
    assert len(pipeline.hints(picture_with(BOTH), PARAMS, stages).meshes) == 2
    with pytest.raises(ModuleNotFoundError):
        pipeline.refine(picture_with(BOTH), PARAMS, stages)


def test_an_ignored_strength_is_said():
    stages = make_stages(inpainter=FloodPainter(name="draft"))
    notes = pipeline.refine(picture_with(BOTH), RefineParams(strength=0.7), stages).notes
    assert [note.partition(":")[0] for note in notes] == ["strength"]
    assert pipeline.refine(picture_with(BOTH), RefineParams(), stages).notes == ()


def test_what_was_drawn_by_hand_may_change_too():
    image = picture_with(("left half",))
    drawn = np.zeros(image.shape[:2], dtype=bool)
    drawn[50:55, 3:9] = True
    params = RefineParams(mask="union", padding_bbox=0)
    result = pipeline.refine(image, params, make_stages(), drawn)
    assert result.hints.maps.mask[drawn].all()
    assert (result.image[drawn] == (0, 255, 0)).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)
def test_what_is_no_picture_is_refused_with_a_sentence(image):
    with pytest.raises(PictureError, match="picture"):
        pipeline.hints(image, PARAMS, make_stages())


def test_a_drawn_mask_of_another_size_is_refused_with_both_sizes():
    drawn = np.zeros((5, 6), dtype=bool)
    with pytest.raises(PictureError, match="has 6 × 5 pixels but the picture has 120 × 60"):
        pipeline.hints(picture_with(()), PARAMS, make_stages(), drawn)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    value=st.integers(0, 255),
    padding=st.integers(0, 512),
    mask=st.sampled_from(["box", "silhouette", "union"]),
)
def test_maps_and_output_have_the_pictures_size(height, width, value, padding, mask):
    image = np.full((height, width, 3), value, dtype=np.uint8)
    result = pipeline.refine(image, RefineParams(padding_bbox=padding, mask=mask), make_stages())
    maps = result.hints.maps
    assert result.image.shape == image.shape
    assert maps.control.shape == maps.mask.shape == maps.owner.shape == (height, width)
    assert maps.mask[maps.control > 0].all()


def test_agreement_is_the_mean_distance_in_pixels_and_in_hand_sizes():
    hand = make_hand((50, 50), 40, (100, 100))
    mesh = make_mesh(hand)
    moved = make_hand((53, 54), 40, (100, 100))
    agreement = compare(mesh, moved)
    assert agreement.mpjpe_px == pytest.approx(5.0)
    assert agreement.mpjpe == pytest.approx(5.0 / hand.size_px)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_agreement_in_hand_sizes_does_not_depend_on_the_pictures_size(factor):
    agreements = []
    for f in (1.0, factor):
        mesh = make_mesh(make_hand((50 * f, 50 * f), 40 * f, (400, 400)))
        agreements.append(compare(mesh, make_hand((53 * f, 54 * f), 42 * f, (400, 400))))
    assert agreements[0].mpjpe == pytest.approx(agreements[1].mpjpe)
    assert agreements[1].mpjpe_px == pytest.approx(factor * agreements[0].mpjpe_px)


def test_pck_is_the_share_of_landmarks_within_a_tenth_of_the_hand():
    hand = make_hand((50, 50), 40, (100, 100))
    landmarks = hand.landmarks.copy()
    landmarks[:5, 0] += 0.11 * hand.size_px
    landmarks[5:, 0] += 0.09 * hand.size_px
    assert compare(make_mesh(hand), replace(hand, landmarks=landmarks)).pck == 16 / 21


def test_no_hand_is_no_agreement():
    image = picture_with(BOTH)
    meshes = pipeline.hints(image, PARAMS, make_stages()).meshes
    seen = measure_agreement(BrightDetector(blind_again=True), image, meshes, PARAMS)
    assert seen == (Agreement(None, None),) * 2


def test_a_side_read_otherwise_is_no_loss_while_the_landmarks_agree():
    image = picture_with(BOTH)
    meshes = pipeline.hints(image, PARAMS, make_stages()).meshes
    seen = measure_agreement(BrightDetector(other_side=True), image, meshes, PARAMS)
    assert [agreement.mpjpe for agreement in seen] == [0.0, 0.0]


def test_without_meshes_nothing_is_looked_for_again():
    class Unasked(BrightDetector):
        def redetect(self, image, hands, params):
            raise AssertionError("asked")

    assert measure_agreement(Unasked(), picture_with(()), (), PARAMS) == ()
