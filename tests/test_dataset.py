"""The generator of labelled pictures: its truth is true, and a seed makes one set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from trimesh import Trimesh

from handrefiner_ext.dataset import Options, iterate, make_samples
from handrefiner_ext.dataset.faults import FAULTS, well_formed
from handrefiner_ext.dataset.hands import BentHand
from handrefiner_ext.dataset.hull import convex_hull
from handrefiner_ext.dataset.looks import STYLES
from handrefiner_ext.dataset.plain import Placement, generator, make_scene
from handrefiner_ext.dataset.poses import GESTURES, bend_hand
from handrefiner_ext.dataset.scene import ARRANGEMENTS, sample_scene
from handrefiner_ext.mesh.open_hand.model import load_open_hand
from handrefiner_ext.topology import WRIST

SMALL = Options(size=96)
MIXED = Options(size=96, malformed=0.5, drafts=0.2)
PLAIN_SCENE = ([[27850, 44502], [28854, 39001]], 2183722)


@pytest.fixture(scope="module")
def samples():
    return list(iterate(7, 8, MIXED))


def test_a_scene_is_the_same_whenever_and_in_whatever_order_it_is_made(samples):
    for number in (7, 3):
        (again,) = make_samples(7, number, MIXED)
        np.testing.assert_array_equal(again.image, samples[number].image)
        np.testing.assert_array_equal(again.maps.control, samples[number].maps.control)
        assert again.describe() == samples[number].describe()


def test_another_seed_makes_other_scenes(samples):
    (other,) = make_samples(8, 3, SMALL)
    assert not np.array_equal(other.image, samples[3].image)


def test_the_landmarks_are_where_the_lens_sees_them(samples):
    for sample in samples:
        for hand in sample.hands:
            x, y, z = hand.landmarks_3d.T
            seen = sample.lens.focal_px * np.column_stack([x / z, y / z]) + sample.lens.centre
            clear = z > 0.07
            np.testing.assert_allclose(hand.mesh.hand.landmarks[clear], seen[clear], atol=1e-6)
            np.testing.assert_allclose(hand.mesh.joints_2d, hand.mesh.hand.landmarks, atol=1e-6)


def test_the_bones_have_one_length_whatever_the_lens(samples):
    """The joints in space are a hand: every bone is as long as in the model that was posed."""
    for sample in samples:
        for hand in sample.hands:
            lengths = np.linalg.norm(np.diff(hand.joints_3d[9:13], axis=0), axis=1)
            assert np.all((lengths > 0.009) & (lengths < 0.08))


def test_the_control_image_follows_the_convention(samples):
    for sample in samples:
        control, owner = sample.maps.control, sample.maps.owner
        assert np.array_equal(control > 0, owner >= 0)
        assert not len(control[control > 0]) or control[control > 0].min() >= 51
        assert np.all(sample.maps.mask[owner >= 0])


def test_a_malformed_twin_differs_only_around_the_hand():
    options = Options(size=96, twins=True, styles=("render",), drafts=0.0)
    for number in range(3):
        good, bad = make_samples(3, number, options)
        assert not good.is_malformed
        assert bad.is_malformed
        assert [h.mesh.hand.landmarks.tolist() for h in good.hands] == [
            h.mesh.hand.landmarks.tolist() for h in bad.hands
        ]
        assert not np.array_equal(good.image, bad.image)
        np.testing.assert_array_equal(good.maps.control, bad.maps.control)


def test_the_draft_paints_good_hands_and_malformed_ones():
    options = Options(size=96, twins=True, drafts=1.0)
    painted = [make_samples(5, number, options) for number in range(2)]
    painters = {(s.is_malformed, h.painted_by) for pair in painted for s in pair for h in s.hands}
    assert (False, "draft") in painters
    assert (True, "draft") in painters


def test_a_description_is_json_without_paths_or_dates(samples):
    for sample in samples:
        text = json.dumps(sample.describe(), allow_nan=False)
        assert "/" not in text
        assert "20" + "26-" not in text


def test_scenes_are_various():
    scenes = [sample_scene(np.random.default_rng([1, k]), 64) for k in range(150)]
    assert {scene.arrangement for scene in scenes} == set(ARRANGEMENTS)
    gestures = {hand.gesture for scene in scenes for hand in scene.hands}
    assert gestures >= set(GESTURES)
    assert {"holding_ball", "holding_stick", "holding_cup", "holding_phone"} <= gestures
    fields = np.array([np.degrees(2 * np.arctan(32 / scene.lens.focal_px)) for scene in scenes])
    assert fields.min() < 20
    assert fields.max() > 70


@pytest.mark.parametrize("style", STYLES)
def test_every_style_shows_the_hand(style):
    """The hand's place differs from the same background without one."""
    (sample,) = make_samples(2, 1, Options(size=128, styles=(style,)))
    assert sample.style == style
    seen = sample.image[sample.maps.owner >= 0]
    assert len(seen) > 50
    assert seen.std() > 1.0


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_changes_the_hand_and_keeps_its_wrist(name):
    model = load_open_hand()
    hand = BentHand(model, np.zeros(model.shape_count), bend_hand(GESTURES["open"]))
    good, bad = well_formed(hand), FAULTS[name](hand, np.random.default_rng(4))
    moved = np.linalg.norm(good.body - bad.body, axis=1)
    assert moved.max() > 0.004 or bad.extra
    assert len(bad.extra) == len(bad.sources)
    for (points, faces), source in zip(bad.extra, bad.sources, strict=True):
        assert len(points) == len(source)
        assert faces.max() < len(points)
    near_wrist = np.linalg.norm(good.body - hand.joints()[WRIST], axis=1) < 0.02
    assert moved[near_wrist].max() < 0.006


def test_the_hull_agrees_with_another_implementation():
    points = np.random.default_rng(0).normal(size=(120, 3))
    corners, faces = convex_hull(points)
    other = Trimesh(points, process=False).convex_hull
    np.testing.assert_array_equal(points[corners], other.vertices)
    assert Trimesh(points[corners], faces, process=False).volume == pytest.approx(other.volume)


def test_the_plain_scenes_stay_as_the_benchmarks_measured_them():
    """Figures of the benchmarks compare only while their scenes are the same."""
    scene = make_scene(generator("validation", 0), 64, 64, (Placement(30, 32, 30),))
    mesh = scene.hands[0].mesh
    corner = (mesh.joints_2d[[0, 12]] * 1000).round().astype(int).tolist()
    assert corner == PLAIN_SCENE[0]
    # Blur and rounding differ by a grey level between versions of OpenCV.
    assert int(scene.image.sum()) == pytest.approx(PLAIN_SCENE[1], rel=1e-3)
