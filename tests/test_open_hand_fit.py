"""The fit finds the hand that made the landmarks, and never leaves what a hand can do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reconstruction import measure_quality

from handrefiner_ext.dataset.plain import Placement, generator, make_mesh, make_scene
from handrefiner_ext.geometry.transforms import MIRROR
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.mesh.open_hand.anatomy import load_anatomy
from handrefiner_ext.mesh.open_hand.backend import (
    DEPTH_DEVIATION,
    MAX_REPROJECTION_ERROR,
    POINT_DEVIATION,
)
from handrefiner_ext.mesh.open_hand.fit import HandFitter, Target
from handrefiner_ext.mesh.open_hand.kinematics import Kinematics
from handrefiner_ext.mesh.open_hand.model import load_open_hand
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box, Hand, HandMesh, Refusal

GREY = np.full((512, 512, 3), 128, dtype=np.uint8)
PLAIN = RefineParams(outline=False)


@pytest.fixture(scope="module")
def reconstructor():
    return OpenHandReconstructor()


@pytest.fixture(scope="module")
def scenes():
    made = []
    for number in range(12):
        rng = generator("train", 10_000 + number)
        place = Placement(256, 256, rng.uniform(150, 280))
        made.append(make_scene(rng, 512, 512, (place,)))
    return made


def true_mesh(seed, size=200.0):
    rng = np.random.default_rng(seed)
    return make_mesh(rng, Placement(256, 256, size), load_open_hand())


@pytest.mark.parametrize("seed", range(8))
def test_true_landmarks_are_met_within_two_hundredths(reconstructor, seed):
    found = reconstructor.reconstruct(GREY, true_mesh(seed).hand, PLAIN)
    assert isinstance(found, HandMesh)
    assert found.reprojection_error < 0.02


def test_true_landmarks_give_silhouette_and_depth(reconstructor, scenes):
    qualities = [
        measure_quality(truth, reconstructor.reconstruct(scene.image, truth.mesh.hand, PLAIN))
        for scene in scenes
        for truth in scene.hands
    ]
    assert np.median([q.overlap for q in qualities]) > 0.93
    assert np.median([q.depth_rank for q in qualities]) > 0.96


def test_outline_mends_landmarks_that_are_off(reconstructor, scenes):
    random = np.random.default_rng(5)
    gains = []
    for scene in scenes:
        truth = scene.hands[0]
        hand = truth.mesh.hand
        wrong = hand.landmarks + random.normal(scale=0.03 * hand.size_px, size=(21, 2))
        hand = replace(hand, landmarks=wrong)
        plain, outlined = (
            measure_quality(truth, reconstructor.reconstruct(scene.image, hand, params))
            for params in (PLAIN, RefineParams())
        )
        gains.append(outlined.overlap - plain.overlap)
    assert np.median(gains) > 0.02


def test_outline_of_a_plain_picture_changes_nothing(reconstructor):
    hand = true_mesh(3).hand
    with_outline = reconstructor.reconstruct(GREY, hand, RefineParams())
    without = reconstructor.reconstruct(GREY, hand, PLAIN)
    np.testing.assert_array_equal(with_outline.vertices, without.vertices)


def test_disagreement_tells_a_read_hand_from_a_misread_one(reconstructor, scenes):
    right, wrong = [], []
    for scene in scenes:
        hand = scene.hands[0].mesh.hand
        centre = hand.landmarks.mean(axis=0)
        turned = replace(hand, landmarks=2 * centre - hand.landmarks)
        for where, reading in ((right, hand), (wrong, turned)):
            mesh = reconstructor.reconstruct(scene.image, reading, RefineParams())
            where.append(mesh.outline_disagreement)
    assert np.median(right) < 0.1
    assert np.median(wrong) > 0.3


@pytest.mark.parametrize("seed", range(6))
def test_mirrored_hand_gives_the_mirrored_mesh(reconstructor, seed):
    hand = true_mesh(seed).hand
    other = replace(
        hand,
        handedness="left" if hand.handedness == "right" else "right",
        landmarks=hand.landmarks * [-1, 1] + [512, 0],
        world_landmarks=hand.world_landmarks * MIRROR,
    )
    mesh, mirrored = (reconstructor.reconstruct(GREY, h, PLAIN) for h in (hand, other))
    np.testing.assert_allclose(mirrored.vertices, mesh.vertices * MIRROR, atol=1e-9)
    np.testing.assert_array_equal(mirrored.faces, mesh.faces[:, ::-1])
    np.testing.assert_allclose(mirrored.joints_2d, mesh.joints_2d * [-1, 1] + [512, 0], atol=1e-6)


@pytest.mark.parametrize(("factor", "shift"), [(0.1, (3.0, -20.0)), (7.0, (-900.0, 40.0))])
def test_moving_and_scaling_the_picture_only_changes_the_camera(reconstructor, factor, shift):
    hand = true_mesh(1).hand
    moved = replace(
        hand,
        landmarks=factor * hand.landmarks + shift,
        landmark_depth=factor * hand.landmark_depth,
    )
    mesh, other = (reconstructor.reconstruct(GREY, h, PLAIN) for h in (hand, moved))
    np.testing.assert_allclose(other.vertices, mesh.vertices, atol=1e-9)
    np.testing.assert_allclose(other.joints_2d, factor * mesh.joints_2d + shift, rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_one_finger_drawn_far_too_long_cannot_stretch_the_mesh(reconstructor, seed):
    hand = true_mesh(seed).hand
    points = hand.landmarks.copy()
    points[6:9] = points[5] + 2.0 * (points[6:9] - points[5])
    found = reconstructor.reconstruct(GREY, replace(hand, landmarks=points), PLAIN)
    if isinstance(found, Refusal):
        return
    chains = found.joints[1:].reshape(5, 4, 3)
    lengths = np.linalg.norm(np.diff(chains, axis=1), axis=2).sum(axis=1)
    assert 0.6 < lengths[1] / lengths[2] < 1.1


def finite(low, high):
    return st.floats(low, high, allow_nan=False, width=32)


@settings(max_examples=40, deadline=None)
@given(points=arrays(np.float64, (21, 2), elements=finite(0, 400)), depth=finite(-300, 300))
def test_any_landmarks_give_a_hand_within_its_limits(points, depth):
    kinematics = Kinematics(load_open_hand())
    anatomy = load_anatomy(kinematics.model.shape_names)
    target = Target(
        points / 400, np.linspace(0, depth / 400, 21), np.full(21, POINT_DEVIATION), DEPTH_DEVIATION
    )
    fit = HandFitter(kinematics).fit(target)
    assert (fit.pose.free_angles >= anatomy.low - 1e-12).all()
    assert (fit.pose.free_angles <= anatomy.high + 1e-12).all()
    assert np.isfinite(kinematics.place_vertices(fit.pose)).all()


def hand_at(points):
    return Hand("right", 1.0, 1.0, Box(0, 0, 9, 9), points, np.zeros(21), np.zeros((21, 3)))


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, (21, 2), elements=st.floats(-1e7, 1e7) | st.floats()))
def test_any_numbers_give_a_finite_mesh_or_a_sentence(points):
    found = OpenHandReconstructor().reconstruct(GREY, hand_at(points), RefineParams())
    if isinstance(found, Refusal):
        assert found.reason
    else:
        assert np.isfinite(found.vertices).all()
        assert found.reprojection_error <= MAX_REPROJECTION_ERROR


def test_scattered_points_are_refused_with_the_error_in_the_reason(reconstructor):
    scattered = np.random.default_rng(0).uniform(100, 400, (21, 2))
    found = reconstructor.reconstruct(GREY, hand_at(scattered), RefineParams())
    assert isinstance(found, Refusal)
    assert "No plausible hand" in found.reason
    assert "%" in found.reason


@pytest.mark.parametrize(
    ("points", "word"),
    [(np.full((21, 2), 50.0), "pixel"), (np.full((21, 2), np.nan), "finite")],
)
def test_points_without_extent_or_value_are_refused(reconstructor, points, word):
    found = reconstructor.reconstruct(GREY, hand_at(points), RefineParams())
    assert isinstance(found, Refusal)
    assert word in found.reason


def test_the_same_hand_is_fitted_to_its_landmarks_once(scenes, monkeypatch):
    """Readings are compared without the outline first; the best are then fitted with it."""
    scene, own = scenes[0], OpenHandReconstructor()
    hand = scene.hands[0].mesh.hand
    asked = []
    fit = own.fitter.fit
    monkeypatch.setattr(own.fitter, "fit", lambda *given: asked.append(given) or fit(*given))
    own.reconstruct(scene.image, hand, PLAIN)
    again = own.reconstruct(scene.image, hand, RefineParams())
    assert [len(given) for given in asked].count(1) == 1
    fresh = OpenHandReconstructor().reconstruct(scene.image, hand, RefineParams())
    np.testing.assert_array_equal(again.vertices, fresh.vertices)
    own.reconstruct(scene.image, replace(hand), PLAIN)
    assert [len(given) for given in asked].count(1) == 2
