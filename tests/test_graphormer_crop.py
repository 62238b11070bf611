"""The crop, its reflection and the way back from the network's camera to pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrefiner_ext.mesh.graphormer.backend import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    HandCrop,
    choose_hand_crop,
)
from handrefiner_ext.types import Box, Hand


def make_hand(landmarks, handedness="right"):
    zeros = np.zeros((21, 3))
    return Hand(handedness, 1.0, 1.0, Box(0, 0, 1, 1), landmarks, np.zeros(21), zeros)


def make_picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(-30, 30), st.integers(-30, 30),
    st.integers(1, 40), st.booleans(),
)  # fmt: skip
def test_outside_the_picture_lies_its_reflection(height, width, x0, y0, side, mirrored):
    image = make_picture(height, width)
    widened = np.pad(image, ((80, 80), (80, 80), (0, 0)), mode="symmetric")
    expected = widened[80 + y0 : 80 + y0 + side, 80 + x0 : 80 + x0 + side]
    cut = HandCrop(x0, y0, side, mirrored).cut(image)
    assert np.array_equal(cut[:, ::-1] if mirrored else cut, expected)


@pytest.mark.parametrize("side", [100, 600])
def test_the_network_sees_the_crop_in_imagenets_colours(side):
    image = np.full((700, 700, 3), (200, 100, 50), dtype=np.uint8)
    seen = HandCrop(20, 30, side, False).to_network(image)
    assert seen.shape == (3, 224, 224)
    assert seen.dtype == np.float32
    plain = seen * IMAGENET_DEVIATION[:, None, None] + IMAGENET_MEAN[:, None, None]
    assert np.allclose(plain[:, 111, 111] * 255.0, (200, 100, 50), atol=1e-3)


def test_a_bright_edge_does_not_turn_black_when_it_is_enlarged():
    """HandRefiner enlarges in floating point, so that 255 and a little becomes 0."""
    image = np.zeros((120, 120, 3), dtype=np.uint8)
    image[:, 60:] = 255
    seen = HandCrop(10, 10, 100, False).to_network(image)
    plain = seen * IMAGENET_DEVIATION[:, None, None] + IMAGENET_MEAN[:, None, None]
    assert plain[:, :, 120:].min() > 0.9


def test_the_crop_is_the_one_of_handrefiners_code():
    landmarks = np.full((21, 2), (250.0, 300.0))
    landmarks[4], landmarks[20] = (100.9, 200.2), (400.3, 350.7)
    crop = choose_hand_crop(make_hand(landmarks))
    # x_min 100, x_max 400: centre 250, side 480, from 250 - (240 - 1); y: centre 275.
    assert crop == HandCrop(11, 36, 480, False)
    assert choose_hand_crop(make_hand(landmarks, "left")) == HandCrop(11, 36, 480, True)


@given(st.floats(0.5, 12.0), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.booleans())
def test_the_camera_in_pixels_agrees_with_the_camera_in_the_crop(scale, x, y, mirrored):
    """(x, y) lies at scale * ((x, y) + shift) in a crop from -1 to 1, mirrored or not."""
    crop = HandCrop(-40, 25, 310, mirrored)
    points = np.random.default_rng(1).normal(0.0, 0.1, (5, 3))
    inside = scale * (points[:, :2] + (x, y))
    pixels = (inside + 1.0) / 2.0 * crop.side
    if mirrored:
        pixels[:, 0] = crop.side - pixels[:, 0]
    turned = points * (-1.0 if mirrored else 1.0, 1.0, 1.0)
    placed = crop.place(np.array([scale, x, y])).project(turned)
    assert np.allclose(placed, pixels + np.array([crop.x0, crop.y0]), atol=1e-9)


@given(st.floats(0.5, 12.0), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_on_the_plane_of_the_wrist_it_agrees_with_the_pinhole_camera(scale, x, y):
    """HandRefiner puts a pinhole at 2 f / (side * scale); there z = 0 shows the same point."""
    crop = HandCrop(0, 0, 224, False)
    points = np.random.default_rng(2).normal(0.0, 0.1, (5, 3)) * (1.0, 1.0, 0.0)
    f = 1000.0
    place = points + np.array([x, y, 2.0 * f / (crop.side * scale)])
    pinhole = f * place[:, :2] / place[:, 2:] + crop.side / 2.0
    assert np.allclose(crop.place(np.array([scale, x, y])).project(points), pinhole, atol=1e-8)
