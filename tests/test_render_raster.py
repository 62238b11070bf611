"""The z-buffer against ray casting, against arithmetic and against hostile input."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from render_scenes import MODELS, edge_of, place, shape_of
from trimesh.ray.ray_pyembree import RayMeshIntersector

from handrefiner_ext.geometry import rasterize as rasterizing
from handrefiner_ext.geometry.rasterize import interpolate, picture_points, rasterize, z_buffer
from handrefiner_ext.registry import RENDERERS
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.types import Box, WeakPerspective

MIB = 2**20


def soup(seed: int, count: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Triangles anywhere in a square of `size` pixels, each with corners of its own."""
    points = np.random.default_rng(seed).uniform(-0.2 * size, 1.2 * size, (3 * count, 3))
    return points, np.arange(3 * count).reshape(-1, 3)


def cast_rays(points: np.ndarray, faces: np.ndarray, box: Box) -> np.ndarray:
    """Depth over `box` by embree; infinity where a ray meets nothing."""
    rows, columns = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    start = points[:, 2].min() - 10.0
    origins = np.column_stack(
        [columns.ravel() + 0.5, rows.ravel() + 0.5, np.full(rows.size, start)]
    )
    caster = RayMeshIntersector(trimesh.Trimesh(points, faces, process=False))
    towards = np.tile([0.0, 0.0, 1.0], (len(origins), 1))
    places, rays, _ = caster.intersects_location(origins, towards, multiple_hits=False)
    depth = np.full(rows.size, np.inf)
    depth[rays] = places[:, 2]
    return depth.reshape(rows.shape)


def brute_force(points: np.ndarray, faces: np.ndarray, box: Box) -> np.ndarray:
    """Depth by testing each pixel against each triangle."""
    rows, columns = np.mgrid[box.y0 : box.y1, box.x0 : box.x1] + 0.5
    depth = np.full(rows.shape, np.inf)
    for a, b, c in points[faces]:
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area == 0:
            continue
        second = ((columns - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (rows - a[1])) / area
        third = ((b[0] - a[0]) * (rows - a[1]) - (columns - a[0]) * (b[1] - a[1])) / area
        inside = (second >= 0) & (third >= 0) & (second + third <= 1)
        here = a[2] + second * (b[2] - a[2]) + third * (c[2] - a[2])
        depth = np.where(inside & (here < depth), here, depth)
    return depth


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("seed", "scale"), [(1, 700.0), (2, 2000.0), (3, 9000.0)])
def test_raster_is_ray_casting(model: str, seed: int, scale: float) -> None:
    mesh = place(shape_of(model, seed), scale)
    layer = RasterRenderer().render(mesh, 400, 400)
    points = picture_points(mesh) * (1, 1, scale)
    cast = cast_rays(points, mesh.faces, layer.box) / scale
    ours, theirs = np.isfinite(layer.depth), np.isfinite(cast)
    assert ours.sum() > 100
    assert not ((ours != theirs) & ~edge_of(theirs)).any()
    assert (ours != theirs).sum() <= 2
    both = ours & theirs
    error = np.abs(layer.depth[both] - cast[both]) / np.ptp(cast[both])
    assert (error > 0.005).sum() <= 2, "but for rays that slip past an edge"
    assert np.median(error) < 1e-6


@given(seed=st.integers(0, 10**6), count=st.integers(1, 12), grid=st.booleans())
@settings(max_examples=60, deadline=None)
def test_raster_is_the_brute_force_answer(seed: int, count: int, grid: bool) -> None:
    points, faces = soup(seed, count, 24.0)
    if grid:
        points = np.rint(points * 2) / 2 + 0.125
    box = Box(-3, 2, 27, 21)
    depth, _ = z_buffer(points, faces, box)
    expected = brute_force(points, faces, box)
    # A centre on an edge up to rounding may fall on either side; there are hardly any.
    differ = ~np.isclose(depth, expected, rtol=1e-5, atol=1e-4)
    assert differ.sum() <= 1


def test_a_sphere_has_the_depth_of_a_sphere() -> None:
    radius, centre = 100.0, 120.0
    ball = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    points = np.asarray(ball.vertices) + np.array([centre, centre, 0.0])
    depth, _ = z_buffer(points, ball.faces, Box(0, 0, 240, 240))
    rows, columns = np.mgrid[0:240, 0:240] + 0.5 - centre
    square = rows**2 + columns**2
    # The facets lie between the sphere and a slightly smaller one.
    inner = float(np.einsum("mk,mk->m", ball.face_normals, ball.triangles[:, 0]).min())
    assert inner > 0.999 * radius
    assert np.isfinite(depth[square < inner**2]).all()
    assert np.isinf(depth[square > radius**2]).all()
    clear = square < inner**2
    assert (depth[clear] >= -np.sqrt(radius**2 - square[clear]) - 1e-4).all()
    assert (depth[clear] <= -np.sqrt(inner**2 - square[clear]) + 1e-4).all()


@pytest.mark.parametrize("model", MODELS)
def test_moving_the_hand_by_whole_pixels_moves_the_depth(model: str) -> None:
    shape = shape_of(model, 5)
    here = RasterRenderer().render(place(shape, 1500, (300.3, 300.7)), 900, 900)
    there = RasterRenderer().render(place(shape, 1500, (517.3, 411.7)), 900, 900)
    assert there.box == tuple(np.add(here.box, (217, 111, 217, 111)))
    np.testing.assert_allclose(here.depth, there.depth, atol=1e-7)


def test_a_hand_cut_by_the_border_is_the_cut_of_the_whole_hand() -> None:
    shape = shape_of("open_hand", 6)
    whole = RasterRenderer().render(place(shape, 1500, (500.0, 500.0)), 1000, 1000)
    cut = RasterRenderer().render(place(shape, 1500, (20.0, 30.0)), 1000, 1000)
    assert cut.box.x0 == cut.box.y0 == 0
    assert 0 < cut.depth.size < whole.depth.size
    corner = whole.depth[-cut.box.height :, -cut.box.width :]
    np.testing.assert_allclose(cut.depth, corner, atol=1e-7)


@pytest.mark.parametrize("model", MODELS)
def test_interpolated_positions_are_pixel_centres_and_depth(model: str) -> None:
    mesh = place(shape_of(model, 7), 1800.0)
    points = picture_points(mesh)
    box = Box(40, 60, 370, 350)
    fragments = rasterize(points, mesh.faces, box)
    seen = fragments.triangle >= 0
    assert (seen == np.isfinite(fragments.depth)).all()
    np.testing.assert_allclose(fragments.barycentric.sum(axis=2), seen, atol=1e-6)
    found = interpolate(fragments, mesh.faces, points)[seen]
    rows, columns = np.nonzero(seen)
    np.testing.assert_allclose(found[:, 0], columns + box.x0 + 0.5, atol=1e-3)
    np.testing.assert_allclose(found[:, 1], rows + box.y0 + 0.5, atol=1e-3)
    np.testing.assert_allclose(found[:, 2], fragments.depth[seen], atol=1e-5)


def test_neither_the_order_of_faces_nor_of_corners_matters() -> None:
    mesh = place(shape_of("capsules", 8), 1500.0)
    random = np.random.default_rng(0)
    shuffled = random.permuted(random.permutation(mesh.faces), axis=1)
    one = RasterRenderer().render(mesh, 400, 400)
    two = RasterRenderer().render(replace(mesh, faces=shuffled), 400, 400)
    np.testing.assert_array_equal(one.depth, two.depth)


def test_the_size_of_the_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = place(shape_of("open_hand", 9), 1500.0)
    whole = rasterize(picture_points(mesh), mesh.faces, Box(0, 0, 400, 400))
    for name, size in {"CHUNK_ROWS": 11, "CHUNK_PIXELS": 501, "BAND_PIXELS": 7001}.items():
        monkeypatch.setattr(rasterizing, name, size)
    parts = rasterize(picture_points(mesh), mesh.faces, Box(0, 0, 400, 400))
    for name in ("depth", "triangle", "barycentric"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_a_closed_mesh_has_no_cracks_even_where_corners_lie_on_pixel_centres() -> None:
    steps = np.arange(21.0)
    x, y = (part.ravel() for part in np.meshgrid(steps, steps))
    points = np.column_stack([x * 2.5 + 0.5, y * 2.5 + 0.5, np.sin(x) + y])
    corner = (np.arange(20)[:, None] * 21 + np.arange(20)).ravel()
    faces = np.concatenate([corner[:, None] + (0, 1, 21), corner[:, None] + (22, 21, 1)])
    depth, _ = z_buffer(points, faces, Box(0, 0, 51, 51))
    assert np.isfinite(depth).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e12])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_vertex_that_is_no_number_costs_only_its_own_triangles(bad: float, axis: int) -> None:
    mesh = place(shape_of("open_hand", 10), 1500.0)
    vertices = mesh.vertices.copy()
    vertices[17, axis] = bad
    kept = mesh.faces[(mesh.faces != 17).all(axis=1)]
    broken = RasterRenderer().render(replace(mesh, vertices=vertices), 400, 400)
    without = RasterRenderer().render(replace(mesh, faces=kept), 400, 400)
    assert 0 < len(mesh.faces) - len(kept) < 20
    np.testing.assert_array_equal(broken.depth, without.depth)


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf, -1.0, 1e-30, 1e300])
def test_a_camera_that_is_broken_renders_nothing_or_something_but_never_fails(
    scale: float,
) -> None:
    mesh = replace(place(shape_of("box")), camera=WeakPerspective(scale, 10.0, 10.0))
    layer = RasterRenderer().render(mesh, 30, 20)
    assert layer.depth.shape == (layer.box.height, layer.box.width)
    assert not np.isnan(layer.depth).any()


def test_an_empty_mesh_and_a_hand_elsewhere_render_nothing() -> None:
    mesh = place(shape_of("box"))
    none = replace(mesh, vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), dtype=np.int32))
    far = place(shape_of("box"), 1500.0, (-5000.0, 200.0))
    for empty in (none, far):
        assert RasterRenderer().render(empty, 400, 400).depth.size == 0


@pytest.mark.parametrize(
    ("height", "width", "limit_mib"), [(64, 8192, 40), (8192, 64, 40), (1500, 1500, 80)]
)
def test_memory_stays_bounded_for_a_mesh_of_huge_triangles(
    height: int, width: int, limit_mib: int
) -> None:
    points, faces = soup(3, 300, 1.0)
    mesh = place((points * (width, height, 1.0), faces, points[:21]), 1.0, (0.0, 0.0))
    tracemalloc.start()
    layer = RasterRenderer().render(mesh, height, width)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(layer.depth).mean() > 0.9
    assert peak < limit_mib * MIB


@given(
    vertices=hnp.arrays(np.float64, (9, 3), elements=st.floats(width=64)),
    faces=hnp.arrays(np.int32, (6, 3), elements=st.integers(0, 8)),
    scale=st.floats(1e-3, 1e5),
    shift=st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)),
    size=st.sampled_from([(1, 1), (3, 200), (200, 3), (64, 8192), (128, 128)]),
)
@settings(max_examples=80, deadline=None)
def test_whatever_the_mesh_depth_fits_the_picture_and_is_a_number(
    vertices: np.ndarray,
    faces: np.ndarray,
    scale: float,
    shift: tuple[float, float],
    size: tuple[int, int],
) -> None:
    mesh = place((np.zeros((9, 3)), faces, np.zeros((21, 3))), scale, shift)
    layer = RasterRenderer().render(replace(mesh, vertices=vertices), *size)
    height, width = size
    assert 0 <= layer.box.x0 <= layer.box.x1 <= width
    assert 0 <= layer.box.y0 <= layer.box.y1 <= height
    assert layer.depth.shape == (layer.box.height, layer.box.width)
    assert layer.depth.dtype == np.float32
    seen = layer.depth[np.isfinite(layer.depth)]
    assert not np.isnan(layer.depth).any()
    assert not np.isneginf(layer.depth).any()
    if len(seen):
        usable = vertices[np.abs(vertices[:, 2]) < 1e7, 2].astype(np.float32)
        slack = 1e-3 * max(1.0, float(np.abs(usable).max()))
        assert usable.min() - slack <= seen.min()
        assert seen.max() <= usable.max() + slack


def test_auto_is_raster() -> None:
    assert RENDERERS.build("auto").name == "raster"
