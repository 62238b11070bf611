"""pyrender against the z-buffer, where OpenGL can be had."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from render_scenes import MODELS, edge_of, place, shape_of

from handrefiner_ext.errors import BackendUnavailable, how_to_install
from handrefiner_ext.protocols import Renderer
from handrefiner_ext.registry import RENDERERS
from handrefiner_ext.render import renderers as backend
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.types import HandMesh


@pytest.fixture(scope="module")
def opengl() -> Iterator[Renderer]:
    try:
        renderer = RENDERERS.build("pyrender")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    yield renderer
    renderer.close()


def assert_same_depth(opengl: Renderer, mesh: HandMesh, height: int, width: int) -> None:
    ours = RasterRenderer().render(mesh, height, width)
    theirs = opengl.render(mesh, height, width)
    assert ours.box == theirs.box
    one, two = np.isfinite(ours.depth), np.isfinite(theirs.depth)
    assert one.any()
    assert not ((one != two) & ~edge_of(one)).any()
    assert (one != two).mean() < 1e-3
    both = one & two
    error = np.abs(ours.depth[both] - theirs.depth[both]) / np.ptp(ours.depth[both])
    assert (error > 0.005).mean() < 1e-5, "but for pixels on an edge inside the silhouette"
    assert np.median(error) < 1e-5


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("seed", "scale"), [(1, 400.0), (2, 2000.0), (3, 9000.0)])
def test_pyrender_is_raster(opengl: Renderer, model: str, seed: int, scale: float) -> None:
    assert_same_depth(opengl, place(shape_of(model, seed), scale), 400, 400)


def test_a_hand_larger_than_a_tile_has_no_seam(opengl: Renderer) -> None:
    mesh = place(shape_of("open_hand", 4), 12000.0, (900.0, 700.0))
    assert_same_depth(opengl, mesh, 1300, 2100)


def test_the_renderer_may_be_used_from_any_thread(opengl: Renderer) -> None:
    mesh = place(shape_of("torus", 5))
    here = opengl.render(mesh, 400, 400)
    with ThreadPoolExecutor(max_workers=2) as threads:
        there = list(threads.map(lambda _: opengl.render(mesh, 400, 400), range(4)))
    for layer in there:
        np.testing.assert_array_equal(here.depth, layer.depth)


def test_broken_vertices_cost_only_their_triangles(opengl: Renderer) -> None:
    mesh = place(shape_of("open_hand", 6))
    vertices = mesh.vertices.copy()
    vertices[[3, 50, 900]] = np.nan, np.inf, 1e300
    assert_same_depth(opengl, replace(mesh, vertices=vertices), 400, 400)


def test_nothing_to_see_is_an_empty_layer(opengl: Renderer) -> None:
    far = place(shape_of("box"), 1500.0, (-5000.0, 200.0))
    none = replace(far, vertices=np.full_like(far.vertices, np.nan))
    for mesh in (far, none):
        assert opengl.render(mesh, 400, 400).depth.size == 0


def test_a_flat_hand_has_a_depth(opengl: Renderer) -> None:
    vertices = np.array([[-0.05, -0.05, 0.02], [0.05, -0.05, 0.02], [0.0, 0.05, 0.02]])
    mesh = place((vertices, np.array([[0, 1, 2]], dtype=np.int32), np.zeros((21, 3))))
    depth = opengl.render(mesh, 400, 400).depth
    np.testing.assert_allclose(depth[np.isfinite(depth)], 0.02, atol=1e-6)


def test_a_missing_library_is_a_sentence_that_names_raster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    monkeypatch.setattr(backend, "find_library", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"EGL or OSMesa.*raster"):
        backend._Context()


def test_a_missing_package_is_a_sentence_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYOPENGL_PLATFORM", "egl")
    monkeypatch.setitem(sys.modules, "pyrender", None)
    with pytest.raises(BackendUnavailable, match=re.escape(how_to_install("pyrender"))):
        backend._Context()


def test_a_platform_that_does_not_exist_is_a_sentence(
    opengl: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYOPENGL_PLATFORM", "nonsense")
    with pytest.raises(BackendUnavailable, match="raster"):
        backend._Context()


def test_a_renderer_outlives_the_closing_of_another_and_its_own(opengl: Renderer) -> None:
    mesh = place(shape_of("torus", 8))
    before = opengl.render(mesh, 400, 400)
    other = backend.PyrenderRenderer()
    other.close()
    np.testing.assert_array_equal(before.depth, opengl.render(mesh, 400, 400).depth)
    np.testing.assert_array_equal(before.depth, other.render(mesh, 400, 400).depth)


def test_the_context_goes_with_its_last_user_and_comes_back(opengl: Renderer) -> None:
    script = """
import gc, threading
from handrefiner_ext.registry import RENDERERS
renderer = RENDERERS.build("pyrender")
threads = lambda: [t.name for t in threading.enumerate() if t.name.startswith("handrefiner-gl")]
assert len(threads()) == 1
for _ in range(3):
    renderer.close()
    gc.collect()
    assert not threads()
    renderer = RENDERERS.build("pyrender")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
