"""The pieces of the draft backend, each against an answer that is known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from draft_scenes import SKIN, make_scene, open_mesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from handrefiner_ext.geometry.boxes import tiles
from handrefiner_ext.inpaint.blend import fill_hole, make_grain, measure_grain, order_from_far
from handrefiner_ext.inpaint.closeup import blur, make_closeup
from handrefiner_ext.inpaint.light import estimate_light
from handrefiner_ext.inpaint.old_hand import expect_hand, find_skin, fit_mixture, with_shadows
from handrefiner_ext.inpaint.surface import (
    find_surface,
    mesh_pixels,
    shade_hollows,
    subdivide,
    viewer_normals,
)
from handrefiner_ext.inpaint.wrist import (
    DrawnArm,
    bend_to_arm,
    fade_at_wrist,
    find_arm,
    find_wrist,
    keep_arm,
    turn_to_arm,
)
from handrefiner_ext.types import Box, Overlap


@settings(max_examples=60, deadline=None)
@given(
    x0=st.integers(-50, 50),
    y0=st.integers(-50, 50),
    width=st.integers(8, 90),
    height=st.integers(8, 90),
    scale=st.floats(0.4, 2.5),
)
def test_a_ramp_seen_at_any_scale_keeps_its_values_at_the_same_places(x0, y0, width, height, scale):
    view = make_closeup(Box(x0, y0, x0 + width, y0 + height), scale)
    local = np.mgrid[0 : view.height, 0 : view.width].astype(np.float32) + 0.5
    y, x = local[0] / view.scale[1] + y0, local[1] / view.scale[0] + x0
    whole = make_closeup(Box(x0 + 3, y0 + 3, x0 + width - 3, y0 + height - 3), 1.0)
    seen = view.sample_for((2.0 * x + y).astype(np.float32), whole)
    rows, columns = np.mgrid[0 : whole.height, 0 : whole.width] + 0.5
    expected = 2.0 * (columns + x0 + 3) + rows + y0 + 3
    # OpenCV interpolates with 5 fractional bits.
    np.testing.assert_allclose(seen, expected, atol=0.2 + 3.0 / 32.0 / min(view.scale))


def test_points_and_maps_agree_about_where_a_pixel_is():
    view = make_closeup(Box(10, 20, 50, 80), 0.5)
    np.testing.assert_allclose(view.to_local(np.array([[10.0, 20.0]])), [[0.0, 0.0]])
    np.testing.assert_allclose(view.to_local(np.array([[50.0, 80.0]])), [[20.0, 30.0]])


@given(x0=st.integers(-9, 9), width=st.integers(0, 2500), height=st.integers(0, 2500))
def test_tiles_cover_a_box_once(x0, width, height):
    box = Box(x0, 3, x0 + width, 3 + height)
    parts = list(tiles(box))
    assert sum(p.width * p.height for p in parts) == width * height
    assert all(p.width <= 1024 and p.height <= 1024 for p in parts)


@pytest.mark.parametrize("sigma", [0.8, 5.0, 20.0])
def test_a_blur_keeps_what_is_even(sigma):
    even = np.full((40, 60, 3), 0.37, dtype=np.float32)
    np.testing.assert_allclose(blur(even, sigma), even, rtol=1e-5)


def test_one_component_has_the_density_that_scipy_gives():
    rng = np.random.default_rng(0)
    colours = rng.normal((40.0, 10.0, 12.0), (5.0, 3.0, 4.0), (900, 3)).astype(np.float32)
    mixture = fit_mixture(colours, 1)
    covariance = np.cov(colours.T, bias=True) + 2.5**2 * np.eye(3)
    expected = multivariate_normal(colours.mean(axis=0), covariance).logpdf(colours[:50])
    np.testing.assert_allclose(mixture.log_density(colours[:50]), expected, atol=1e-2)


@given(st.integers(1, 40), st.integers(1, 6), st.booleans())
def test_a_mixture_of_any_few_colours_is_finite(count, parts, same):
    rng = np.random.default_rng(count)
    colours = rng.random((1 if same else count, 3)).astype(np.float32) * 100.0
    colours = np.repeat(colours, count, axis=0) if same else colours
    mixture = with_shadows(fit_mixture(colours, parts))
    assert np.isfinite(mixture.log_density(colours)).all()


def test_darker_skin_counts_as_shadow_of_skin():
    skin = np.tile(np.array([[40.0, 15.0, 18.0]], dtype=np.float32), (50, 1))
    plain = fit_mixture(skin, 1)
    shadow = skin[:1] * np.cbrt(0.45)
    assert with_shadows(plain).log_density(shadow)[0] > plain.log_density(shadow)[0] + 3.0


def sphere_normals(size=64):
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    z = np.sqrt(np.clip(1.0 - x**2 - y**2, 0.0, 1.0))
    return np.stack([x, y, -z], axis=-1).astype(np.float32), x**2 + y**2 < 0.98


@pytest.mark.parametrize("towards", [(-0.6, -0.3, -0.74), (0.7, 0.1, -0.7), (0.0, 0.6, -0.8)])
def test_light_on_a_sphere_is_found_in_spite_of_outliers(towards):
    normals, inside = sphere_normals()
    shading = 0.6 + 0.4 * normals @ np.array(towards)
    image = (shading[..., None] * np.array([0.8, 0.6, 0.5])).astype(np.float32)
    spoiled = image.copy()
    spots = np.random.default_rng(1).random(inside.shape) < 0.2
    spoiled[spots] = (0.1, 0.0, 0.0)
    light = estimate_light(spoiled, normals, inside, inside)
    error = np.abs(light.colour(normals) - image)[inside]
    assert error.mean() < 0.035
    assert np.percentile(error, 95) < 0.1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_light_is_never_brighter_or_darker_than_the_old_skin_allows(seed, share):
    rng = np.random.default_rng(seed)
    normals, inside = sphere_normals(24)
    image = rng.random((24, 24, 3)).astype(np.float32) ** 2
    skin = rng.random((24, 24)) < share
    light = estimate_light(image, normals, skin, inside)
    lit = light.colour(normals)
    assert np.isfinite(lit).all()
    assert (lit >= 0.0).all()
    assert (lit <= 1.0).all()
    assert (light.shade > 0.0).all()
    assert (light.shade <= 1.0).all()


def test_a_hole_in_a_ramp_is_filled_with_the_ramp():
    y, x = np.mgrid[0:80, 0:100] / 100.0
    image = np.stack([0.2 + 0.5 * x, 0.3 + 0.3 * y, 0.5 + 0.0 * x], axis=-1).astype(np.float32)
    hole = np.zeros((80, 100), dtype=bool)
    hole[30:50, 40:64] = True
    spoiled = image.copy()
    spoiled[hole] = 1.0
    filled = fill_hole(spoiled, hole, ~hole)
    assert np.abs(filled - image)[hole].max() < 0.05
    np.testing.assert_array_equal(filled[~hole], image[~hole])


def test_unusable_neighbours_lend_no_colour():
    image = np.full((60, 60, 3), 0.2, dtype=np.float32)
    image[:, 30:] = (0.9, 0.5, 0.4)
    hole = np.zeros((60, 60), dtype=bool)
    hole[20:40, 24:36] = True
    usable = np.ones((60, 60), dtype=bool)
    usable[:, 30:] = False
    assert np.abs(fill_hole(image, hole, usable)[hole] - 0.2).max() < 0.02


def test_a_filled_hole_has_the_measure_grain_its_surroundings():
    rng = np.random.default_rng(2)
    image = np.clip(0.5 + rng.normal(scale=0.05, size=(90, 90, 1)), 0, 1).repeat(3, axis=2)
    hole = np.zeros((90, 90), dtype=bool)
    hole[35:55, 35:55] = True
    filled = fill_hole(image.astype(np.float32), hole, ~hole)
    assert filled[hole].std() == pytest.approx(0.05, rel=0.35)


def test_nothing_known_leaves_the_picture_alone():
    image = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32)
    everything = np.ones((20, 20), dtype=bool)
    assert fill_hole(image, everything, everything) is image
    assert fill_hole(image, everything & False, everything) is image


@pytest.mark.parametrize("deviation", [0.002, 0.006, 0.01])
def test_grain_that_is_made_is_measured_again(deviation):
    noise = make_grain((120, 120), np.random.default_rng(3))
    assert noise.std() == pytest.approx(1.0, rel=0.15)
    image = (0.5 + deviation * np.random.default_rng(4).standard_normal((120, 120, 1))).repeat(3, 2)
    assert measure_grain(image.astype(np.float32)) == pytest.approx(deviation, rel=0.25)


@pytest.mark.parametrize("size_px", [40, 110])
def test_skin_is_told_from_background_finger_too_many_and_arm_included(size_px):
    scene = make_scene(size_px=size_px)
    mesh = scene.meshes[0]
    view = make_closeup(Box(0, 0, 256, 256), 1.0)
    silhouette = find_surface(
        mesh.faces, mesh_pixels(mesh), np.zeros((len(mesh.vertices), 0)), view
    )
    wrist = find_wrist(mesh, mesh_pixels(mesh), view, size_px)
    expected = expect_hand(mesh.hand.landmarks, silhouette.covered, wrist.zone(256, 256), size_px)
    y, x = np.mgrid[0:256, 0:256]
    face = (x - 28) ** 2 + (y - 30) ** 2 < 18**2
    image = scene.image.copy()
    image[face] = SKIN
    skin = find_skin(view.take(image), expected) > 0.5
    common = np.count_nonzero(skin & scene.old) / np.count_nonzero(skin | scene.old)
    assert common > 0.93
    assert not (skin & face).any()


def test_skin_without_any_sample_is_where_it_is_expected():
    nowhere = np.full((21, 2), 1e5)
    empty = np.zeros((30, 30), dtype=bool)
    expected = expect_hand(nowhere, empty, empty, 20.0)
    assert not find_skin(np.zeros((30, 30, 3), dtype=np.float32), expected).any()


def wrist_of(scene):
    mesh = scene.meshes[0]
    view = make_closeup(Box(0, 0, 256, 256), 1.0)
    return mesh, view, find_wrist(mesh, mesh_pixels(mesh), view, mesh.hand.size_px)


def test_the_arm_is_found_and_its_direction_is_that_of_the_drawn_one():
    scene = make_scene()
    _, _, wrist = wrist_of(scene)
    turned = turn_to_arm(wrist, scene.old.astype(np.float32), np.ones((256, 256), dtype=bool))
    assert turned.direction @ (0.0, 1.0) > 0.99
    arm = find_arm(turned, scene.old)
    assert arm is not None
    np.testing.assert_array_equal(arm.area[200:], scene.old[200:])


def test_a_hand_without_arm_has_none_and_stays_as_it_is():
    scene = make_scene()
    mesh, view, wrist = wrist_of(scene)
    assert find_arm(wrist, np.zeros((256, 256), dtype=bool)) is None
    pixels = mesh_pixels(mesh)
    assert bend_to_arm(pixels, wrist, None, view) is pixels


def test_the_arm_is_kept_and_takes_over_from_the_new_hand():
    scene = make_scene()
    _, view, wrist = wrist_of(scene)
    skin = scene.old.astype(np.float32)
    covered = scene.old & (np.arange(256)[:, None] < wrist.origin[1])
    arm = find_arm(wrist, scene.old)
    kept = keep_arm(wrist, skin, arm, covered)
    np.testing.assert_array_equal(kept[arm.area], 1.0)
    presence = fade_at_wrist(wrist, skin, kept * ~covered)
    along = wrist.along(view.height, view.width)
    assert (presence[along > wrist.end] == 0.0).all()
    assert (presence[along < -0.5 * wrist.size_px] > 0.99).all()


@pytest.mark.parametrize("offset", [-6.0, 0.0, 7.0])
@pytest.mark.parametrize("degrees", [-25.0, 0.0, 30.0])
def test_the_mesh_ends_between_the_edges_of_the_drawn_arm(offset, degrees):
    mesh, view, wrist = wrist_of(make_scene())
    turn = np.radians(degrees)
    wrist = replace(wrist, direction=np.array([np.sin(turn), np.cos(turn)]))
    half = 0.13 * mesh.hand.size_px
    arm = DrawnArm(np.ones((256, 256), dtype=bool), (offset - half, offset + half))
    moved = bend_to_arm(mesh_pixels(mesh), wrist, arm, view)
    local = moved[:, :2] - wrist.origin
    stub = local @ wrist.direction > wrist.begin + 0.05 * wrist.size_px
    across = (local @ wrist.across)[stub]
    slack = 0.35 * half
    assert offset - half - slack < across.min() < offset - half + 2.0 * slack
    assert offset + half - 2.0 * slack < across.max() < offset + half + slack
    fingers = mesh.vertices[:, 1] < -0.09
    np.testing.assert_allclose(moved[fingers], mesh_pixels(mesh)[fingers], atol=1e-9)


def test_normals_of_a_hand_are_unit_vectors_towards_the_viewer():
    mesh = open_mesh((50, 50), 60, (100, 100))
    normals = viewer_normals(mesh_pixels(mesh), mesh.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-9)
    assert (normals[:, 2] <= 0.0).all()


def test_hollows_are_dark_on_the_far_side_of_a_step_only():
    scene = make_scene()
    mesh = scene.meshes[0]
    view = make_closeup(Box(0, 0, 256, 256), 1.0)
    surface = find_surface(mesh.faces, mesh_pixels(mesh), np.zeros((len(mesh.vertices), 0)), view)
    step = np.zeros((256, 256), dtype=np.float32)
    step[:, 128:] = 20.0
    surface = replace(surface, covered=np.ones((256, 256), dtype=bool), depth_px=step)
    lost = shade_hollows(surface, 100.0)
    assert lost[:, 129].min() > 0.3
    assert lost[:, :128].max() == 0.0
    assert lost[:, 220].max() < 0.01


class Maps:
    def __init__(self, *pairs):
        self.overlaps = tuple(Overlap(front, back, True, "") for front, back in pairs)


@given(st.permutations(range(5)))
def test_hands_are_painted_from_far_to_near(order):
    pairs = [(order[i], order[j]) for i in range(5) for j in range(i + 1, 5)]
    assert order_from_far(list(range(5)), Maps(*pairs)) == list(reversed(order))


def test_a_ring_of_hands_comes_to_an_end():
    assert sorted(order_from_far([0, 1, 2], Maps((0, 1), (1, 2), (2, 0)))) == [0, 1, 2]


def test_subdivision_agrees_with_trimesh():
    from trimesh.remesh import subdivide_loop

    mesh = open_mesh((50, 50), 60, (100, 100))
    ours, faces = subdivide(mesh_pixels(mesh), mesh.faces)
    theirs, their_faces = subdivide_loop(mesh_pixels(mesh), mesh.faces, 1)
    assert len(faces) == len(their_faces) == 4 * len(mesh.faces)

    def triangles(points, corners):
        middles = points[corners].mean(axis=1)
        return middles[np.lexsort(np.round(middles, 6).T)]

    np.testing.assert_allclose(triangles(ours, faces), triangles(theirs, their_faces), atol=1e-6)


def test_subdivision_rounds_an_octahedron_towards_a_sphere():
    points = np.concatenate([np.eye(3), -np.eye(3)])
    corners = [
        (0, 1, 2),
        (1, 3, 2),
        (3, 4, 2),
        (4, 0, 2),
        (1, 0, 5),
        (3, 1, 5),
        (4, 3, 5),
        (0, 4, 5),
    ]
    faces = np.array(corners, dtype=np.int32)
    for _ in range(4):
        points, faces = subdivide(points, faces)
    radii = np.linalg.norm(points, axis=1)
    assert radii.max() / radii.min() < 1.21


def test_an_open_sheet_keeps_its_rim_and_a_broken_vertex_does_not_spread_far():
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    faces = np.array([(0, 1, 2), (1, 3, 2)], dtype=np.int32)
    finer, _ = subdivide(points, faces)
    np.testing.assert_array_equal(finer[:4], points)
    mesh = open_mesh((50, 50), 60, (100, 100))
    pixels = mesh_pixels(mesh)
    pixels[7] = np.nan
    spoiled = ~np.isfinite(subdivide(pixels, mesh.faces)[0]).all(axis=1)
    assert 0 < np.count_nonzero(spoiled) < 60


def test_a_painted_nail_counts_as_hand_although_it_has_no_colour_of_skin():
    scene = make_scene()
    mesh, view, wrist = wrist_of(scene)
    y, x = np.mgrid[0:256, 0:256]
    tip = mesh.joints_2d[0] + 110 * np.array([-0.58, -0.66])
    finger = np.array([mesh.joints_2d[0], tip]).round().astype(int)
    image = cv2.line(
        scene.image.copy(), *(tuple(map(int, end)) for end in finger), SKIN.tolist(), 10
    )
    nail = (x - tip[0]) ** 2 + (y - tip[1]) ** 2 < 5.5**2
    image[nail] = (250, 40, 250)
    silhouette = find_surface(
        mesh.faces, mesh_pixels(mesh), np.zeros((len(mesh.vertices), 0)), view
    ).covered
    expected = expect_hand(mesh.hand.landmarks, silhouette, wrist.zone(256, 256), 110.0)
    skin = find_skin(view.take(image), expected) > 0.5
    assert np.count_nonzero(skin & nail) > 0.9 * np.count_nonzero(nail)
