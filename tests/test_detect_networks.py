"""Our pre- and post-processing of the hand networks against mediapipe's and against geometry."""

from __future__ import annotations

import importlib.util
import math
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from detect_pictures import NUMBERS, mirrored, photo, turned
from hypothesis import given
from hypothesis import strategies as st

from handrefiner_ext.detect.anchors import blend
from handrefiner_ext.detect.networks import (
    MOST_ALTERNATIVES,
    HandNetworks,
    Palm,
    anchor_centers,
    decode_palms,
    distinct,
)
from handrefiner_ext.geometry.windows import (
    Roi,
    around_box,
    around_landmarks,
    around_palm,
    rotation,
    warp,
)
from handrefiner_ext.tflite import read_bundle, read_network
from handrefiner_ext.types import Box

TOOL = Path(__file__).parent.parent / "tools" / "bundle_networks.py"
TASKS_UPRIGHT = 90.0
"""What mediapipe's Tasks API takes for 'up', in radians by mistake."""
CHANGES = {
    "as it is": lambda image: image,
    "mirrored": mirrored,
    "upside down": lambda image: np.ascontiguousarray(image[::-1, ::-1]),
    "turned": lambda image: turned(image, 37),
}


@pytest.fixture(scope="module")
def landmarkers():
    pytest.importorskip("mediapipe")
    from handrefiner_ext.detect.mediapipe import Landmarkers

    made = Landmarkers()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tasks_networks():
    return HandNetworks(upright=TASKS_UPRIGHT)


@pytest.mark.mediapipe
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("number", NUMBERS)
def test_networks_agree_with_mediapipe(landmarkers, tasks_networks, number, change):
    image = CHANGES[change](photo(number))
    height, width = image.shape[:2]
    expected = landmarkers.look(image, 0.5, 0.5)
    palms = tasks_networks.find_palms(image, [Box(0, 0, width, height)], 0.5, 0.5)
    seen = [hand for palm in palms if (hand := tasks_networks.read(image, palm.roi)).score > 0.5]
    assert len(seen) == len(expected) > 0
    for ours, theirs in zip(seen, expected, strict=True):
        assert ours.handedness == theirs.handedness
        assert abs(ours.handedness_score - theirs.handedness_score) < 1e-3
        size = theirs.size_px
        assert np.abs(ours.landmarks - theirs.landmarks).max() < 1e-3 * size
        assert np.abs(ours.landmark_depth - theirs.landmark_depth).max() < 1e-3 * size
        assert np.abs(ours.world_landmarks - theirs.world_landmarks).max() < 1e-3 * 0.2


def test_anchors_are_the_cells_of_the_grids():
    centers = anchor_centers()
    assert centers.shape == (2016, 2)
    assert np.unique(centers[: 24 * 24 * 2], axis=0).shape == (24 * 24, 2)
    assert np.unique(centers[24 * 24 * 2 :], axis=0).shape == (12 * 12, 2)
    np.testing.assert_allclose(centers.mean(axis=0), 0.5)
    np.testing.assert_allclose(centers[2] - centers[0], [1 / 24, 0])


def test_a_box_without_offsets_sits_on_its_anchor():
    raw = np.zeros((2016, 18))
    raw[:, 2:4] = 19.2
    logits = np.full(2016, -200.0)
    logits[[7, 1999]] = [2.0, 3.0]
    boxes, scores = decode_palms(raw, logits, 0.5)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-3.0, -2.0])))
    np.testing.assert_allclose(boxes[:, :2], anchor_centers()[[1999, 7]] - 0.05)
    np.testing.assert_allclose(boxes[:, 4:6], anchor_centers()[[1999, 7]])


def test_blending_averages_by_score_and_keeps_what_lies_apart():
    near, moved, far = np.zeros(18), np.zeros(18), np.zeros(18)
    near[:4], moved[:4], far[:4] = [0, 0, 1, 1], [0.1, 0, 1.1, 1], [3, 3, 4, 4]
    found = blend(np.stack([near, moved, far]), np.array([0.9, 0.6, 0.5]), 9)
    assert [score for score, _ in found] == [0.9, 0.5]
    np.testing.assert_allclose(found[0][1], (0.9 * near + 0.6 * moved) / 1.5)
    np.testing.assert_allclose(found[1][1], far)


def test_a_palm_seen_from_two_tiles_is_kept_once_with_the_other_window_to_spare():
    window, twin = Roi(100, 100, 80, 0.1), Roi(103, 99, 85, 0.2)
    other = Roi(100, 100, 80, 2.0)
    palms = [Palm(0.6, twin), Palm(0.9, window), Palm(0.7, other)]
    assert distinct(palms) == [Palm(0.9, window, alternatives=(twin,)), Palm(0.7, other)]


def test_no_palm_has_more_spare_windows_than_are_worth_a_look():
    palms = [Palm(0.5, Roi(100 + n, 100, 80, 0.1)) for n in range(9)]
    (kept,) = distinct(palms)
    assert len(kept.alternatives) == MOST_ALTERNATIVES


finite = st.floats(-50, 50)


@given(
    points=st.lists(st.tuples(finite, finite), min_size=4, max_size=4, unique=True),
    angle=st.floats(-math.pi, math.pi),
)
def test_a_turned_hand_gets_a_turned_window(points, angle):
    wrist, middle = np.array(points[0]), np.add(points[0], [3.0, -20.0])
    box = np.array([*(wrist - 9), *(wrist + 9)])
    plain = around_palm(box, wrist, middle)
    spun = around_palm(box, wrist, wrist + rotation(angle) @ (middle - wrist))
    assert math.isclose(plain.side, spun.side)
    assert math.isclose(
        math.cos(plain.angle + angle), math.cos(spun.angle), rel_tol=0, abs_tol=1e-9
    )
    shift = np.array([plain.center_x, plain.center_y]) - wrist
    spun_shift = np.array([spun.center_x, spun.center_y]) - wrist
    np.testing.assert_allclose(rotation(angle) @ shift, spun_shift, atol=1e-9)


def test_the_window_around_landmarks_turns_and_scales_with_them():
    rng = np.random.default_rng(3)
    landmarks = rng.normal(size=(21, 2)) * 20 + np.linspace(0, -80, 21)[:, None] * [0, 1]
    plain = around_landmarks(landmarks)
    spun = around_landmarks(landmarks @ rotation(1.0).T * 2 + [30, 40])
    assert math.isclose(spun.side, 2 * plain.side)
    assert math.isclose(spun.angle, plain.angle + 1.0)
    centre = rotation(1.0) @ [plain.center_x, plain.center_y] * 2 + [30, 40]
    np.testing.assert_allclose([spun.center_x, spun.center_y], centre)


def test_a_warp_of_the_whole_picture_is_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    seen = warp(image, around_box(Box(0, 0, 64, 64)), 64, cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(seen * 255, image, atol=1e-3)


def test_a_warp_shows_the_outside_as_its_border_says():
    image = np.full((10, 10, 3), 200, dtype=np.uint8)
    outside = Roi(500, -300, 40, 0.7)
    assert np.all(warp(image, outside, 16, cv2.BORDER_CONSTANT) == 0)
    np.testing.assert_allclose(warp(image, outside, 16, cv2.BORDER_REPLICATE), 200 / 255)


def test_a_picture_too_long_for_opencv_is_warped_all_the_same():
    image = np.zeros((2, 70_000, 3), dtype=np.uint8)
    image[:, 35_000:] = 255
    seen = warp(image, around_box(Box(0, 0, 70_000, 2)), 64, cv2.BORDER_REPLICATE)
    assert np.all(seen[:, :30] == 0)
    assert np.all(seen[:, 34:] > 0.999)


@pytest.fixture(scope="module")
def bundling_tool():
    spec = importlib.util.spec_from_file_location("bundle_networks", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.mark.parametrize("bundle", ["hand_landmarker.task", "people.zip"])
def test_a_bundle_is_what_its_tool_builds(bundling_tool, tmp_path, bundle):
    networks = bundling_tool.BUNDLES[bundle]
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        for name, (path, _) in networks.items():
            packed.writestr(path, read_network(name))
    assert bundling_tool.build_bundle(wheel, networks) == read_bundle(bundle)


def test_a_wheel_without_networks_is_refused(bundling_tool, tmp_path):
    with zipfile.ZipFile(tmp_path / "new.whl", "w") as packed:
        packed.writestr("mediapipe/__init__.py", "")
    with pytest.raises(ValueError, match=r"use mediapipe 0\.10\.5 to 0\.10\.21"):
        bundling_tool.build_bundle(tmp_path / "new.whl", bundling_tool.PEOPLE_NETWORKS)
