"""Regions: which hands share one, what it shows, and that laying it back harms nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hand_scenes import make_hand, make_mesh
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from handrefiner_ext.geometry.boxes import (
    LATENT_PX,
    choose_region_crop,
    feather,
    group_overlapping,
    lay_over,
    seam_shift,
)
from handrefiner_ext.params import RefineParams
from handrefiner_ext.render.maps import build_maps
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.types import Box

boxes = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    *(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200), st.integers(1, 200)),
)
SIZE = (500, 500)


def full(box: Box):
    return box, np.ones((box.height, box.width), dtype=bool)


def share(a: Box, b: Box) -> bool:
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


@given(st.lists(boxes, max_size=7))
def test_hands_share_a_region_exactly_when_a_chain_of_overlaps_joins_them(found):
    groups = group_overlapping([full(box) for box in found])
    assert sorted(n for group in groups for n in group) == list(range(len(found)))
    home = {n: group for group in groups for n in group}
    reach = {n: {n} for n in home}
    for _ in found:
        for n in reach:
            reach[n] |= {m for m in home if any(share(found[m], found[k]) for k in reach[n])}
    assert all(set(home[n]) == reach[n] for n in home)


def test_boxes_that_overlap_where_no_mask_is_are_two_regions():
    a, b = np.zeros((10, 10), dtype=bool), np.zeros((10, 10), dtype=bool)
    a[:, :2] = True
    b[:, -2:] = True
    assert group_overlapping([(Box(0, 0, 10, 10), a), (Box(5, 0, 15, 10), b)]) == [(0,), (1,)]


def test_an_empty_mask_is_in_no_region():
    empty = Box(0, 0, 0, 0), np.zeros((0, 0), dtype=bool)
    assert group_overlapping([empty, full(Box(0, 0, 5, 5))]) == [(1,)]


@given(boxes, st.integers(8, 600), st.integers(8, 600), st.sampled_from([256, 512, 1000, 1024]))
def test_a_crop_holds_the_mask_lies_in_the_picture_and_suits_the_model(box, height, width, side):
    box = Box(box.x0 % width, box.y0 % height, width, height)
    crop = choose_region_crop(box, (height, width), side)
    inner = crop.box
    assert 0 <= inner.x0 <= box.x0
    assert 0 <= inner.y0 <= box.y0
    assert box.x1 <= inner.x1 <= width
    assert box.y1 <= inner.y1 <= height
    assert crop.width % LATENT_PX == crop.height % LATENT_PX == 0
    assert abs(max(crop.width, crop.height) - side) <= LATENT_PX / 2


def test_a_crop_in_the_middle_of_a_large_picture_is_square_and_has_context():
    crop = choose_region_crop(Box(400, 300, 500, 360), (1000, 1000), 512)
    assert (crop.width, crop.height) == (512, 512)
    assert crop.box.width == crop.box.height == 180
    assert crop.scale[0] == crop.scale[1]


@given(boxes, st.integers(0, 10))
def test_a_moved_mesh_projects_where_its_points_move(box, seed):
    crop = choose_region_crop(box, SIZE, 512)
    mesh = make_mesh(make_hand((120.0 + seed, 150.0), 80.0, (*SIZE, 3)))
    moved = crop.move_mesh(mesh)
    assert np.allclose(moved.joints_2d, crop.move_points(mesh.joints_2d))
    assert np.allclose(
        moved.camera.project(moved.vertices), crop.move_points(mesh.camera.project(mesh.vertices))
    )
    assert np.array_equal(moved.vertices[:, 2], mesh.vertices[:, 2])


def test_depth_rendered_in_a_region_is_the_pictures_own_enlarged():
    mesh = make_mesh(make_hand((250.0, 250.0), 80.0, (*SIZE, 3)))
    params = RefineParams()
    whole = build_maps([mesh], SIZE, RasterRenderer(), params)
    crop = choose_region_crop(whole.hand_masks[0][0], SIZE, 1024)
    part = build_maps([crop.move_mesh(mesh)], (crop.height, crop.width), RasterRenderer(), params)
    expected = crop.take_mask(whole.control > 0)
    differing = (part.control > 0) != expected
    assert (part.control > 0).sum() > 4 * (whole.control > 0).sum()
    assert differing.mean() < 0.02


def test_laying_over_changes_nothing_outside_the_mask_and_everything_deep_inside():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    original = picture.copy()
    mask = np.zeros((60, 80), dtype=bool)
    mask[10:50, 20:60] = True
    box = Box(10, 5, 70, 55)
    part = np.full((50, 60, 3), 200, dtype=np.uint8)
    result = lay_over(picture, part, box, mask, 4)
    assert np.array_equal(picture, original)
    assert np.array_equal(result[~mask], picture[~mask])
    assert len(np.unique(result[20:40, 30:50].reshape(-1, 3), axis=0)) == 1


@given(arrays.arrays(bool, (20, 30)), st.integers(0, 9))
def test_the_feather_is_zero_outside_positive_inside_and_never_above_one(mask, width):
    weight = feather(mask, width)
    assert (weight[~mask] == 0).all()
    assert (weight[mask] > 0).all()
    assert weight.max(initial=0.0) <= 1.0


def test_the_pictures_edge_is_no_edge_of_the_mask():
    mask = np.zeros((40, 40), dtype=bool)
    mask[:, :20] = True
    weight = feather(mask, 5)
    assert (weight[:, :10] == 1.0).all()


@pytest.mark.parametrize("shift", [-10, 0, 7])
def test_a_shift_of_colour_is_undone_at_the_seam(shift):
    before = np.full((50, 50, 3), 120, dtype=np.uint8)
    after = (before.astype(int) + shift).astype(np.uint8)
    mask = np.zeros((50, 50), dtype=bool)
    mask[20:30, 20:30] = True
    assert np.array_equal(seam_shift(before, after, mask), [-shift] * 3)
    assert np.array_equal(lay_over(before, after, Box(0, 0, 50, 50), mask, 3), before)


def test_a_mask_that_fills_the_region_has_no_seam_to_match():
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    assert not seam_shift(picture, picture + 9, np.ones((8, 8), dtype=bool)).any()
