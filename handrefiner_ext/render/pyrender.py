"""Depth by pyrender: OpenGL off-screen through EGL or OSMesa, where they exist."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.geometry.rasterize import covered_box, picture_points
from handrefiner_ext.geometry.spans import is_usable
from handrefiner_ext.types import Box, DepthMap, FloatArray, HandLayer, HandMesh

PLATFORMS = {"egl": "EGL", "osmesa": "OSMesa"}
"""Value of PYOPENGL_PLATFORM -> the system library that it needs."""
TILE_PX = 1024
VIEWPORT_STEP_PX = 256
NEAR, FAR = 1.0, 2.0
"""The hand's depths are laid between these planes, so that 24 bits resolve it finely."""
MARGIN = 0.01
INSTEAD = "Choose the renderer raster, which gives the same depth and needs no driver."


class PyrenderRenderer:
    """Renders on a thread of its own, since an OpenGL context belongs to one thread.

    `close` frees the context; the object is of no use afterwards.
    """

    name = "pyrender"

    def __init__(self) -> None:
        _choose_platform()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="handrefiner-gl")
        try:
            self._pyrender, self._canvas = self._thread.submit(_open_canvas).result()
        except BackendUnavailable:
            self._thread.shutdown()
            raise

    def render(self, mesh: HandMesh, height: int, width: int) -> HandLayer:
        """Depth of `mesh` over its own box in a picture of the given size."""
        points = picture_points(mesh)
        faces = mesh.faces[is_usable(points)[mesh.faces].all(axis=1)]
        box = covered_box(points, height, width)
        depth = np.full((box.height, box.width), np.inf, dtype=np.float32)
        if depth.size and len(faces):
            self._thread.submit(self._draw, points, faces, box, depth).result()
        return HandLayer(box, depth)

    def close(self) -> None:
        """Free the OpenGL context and its thread."""
        self._thread.submit(self._canvas.delete).result()
        self._thread.shutdown()

    def _draw(
        self, points: FloatArray, faces: NDArray[np.int32], box: Box, depth: DepthMap
    ) -> None:
        """Fill `depth`, which spans `box`, tile by tile."""
        nearest, scale = _depth_range(points[np.unique(faces)])
        scene = self._pyrender.Scene()
        node = scene.add(self._to_primitive(points, faces, (nearest, scale), box))
        for tile in _tiles(box.height, box.width):
            seen = self._shoot(scene, node, tile)
            empty = seen == 0.0
            # pyrender undoes a perspective camera's depth; ours is orthographic.
            along = FAR + NEAR - NEAR * FAR / np.where(empty, NEAR, seen).astype(np.float64)
            depth[tile.slices] = np.where(empty, np.inf, nearest + (along - NEAR - MARGIN) / scale)

    def _to_primitive(
        self,
        points: FloatArray,
        faces: NDArray[np.int32],
        depth_range: tuple[float, float],
        box: Box,
    ) -> Any:
        """The mesh in OpenGL's axes: pixels from the box's corner, y up, z towards the viewer."""
        nearest, scale = depth_range
        shown = np.where(is_usable(points)[:, None], points, 0.0) - (box.x0, box.y0, nearest)
        positions = shown * (1.0, -1.0, -scale) - (0.0, 0.0, NEAR + MARGIN)
        primitive = self._pyrender.Primitive(
            positions=positions.astype(np.float32), indices=faces.astype(np.uint32)
        )
        return self._pyrender.Mesh([primitive])

    def _shoot(self, scene: Any, node: Any, tile: Box) -> DepthMap:
        """pyrender's own depth over one tile of the box, 0 where empty."""
        width, height = (_round_up(n) for n in (tile.width, tile.height))
        self._canvas.viewport_width, self._canvas.viewport_height = width, height
        camera = self._pyrender.OrthographicCamera(width / 2, height / 2, znear=NEAR, zfar=FAR)
        pose = np.eye(4)
        pose[:2, 3] = tile.x0 + width / 2, -(tile.y0 + height / 2)
        view = scene.add(camera, pose=pose)
        flags = self._pyrender.RenderFlags
        # Only the segmentation pass switches multisampling off, which would move the sample
        # away from the pixel's centre.
        _, depth = self._canvas.render(
            scene, flags=flags.SEG | flags.SKIP_CULL_FACES, seg_node_map={node: (255, 255, 255)}
        )
        scene.remove_node(view)
        return np.asarray(depth[: tile.height, : tile.width])


def _choose_platform() -> None:
    """Name the off-screen platform to PyOpenGL, unless the user has done so."""
    if "PYOPENGL_PLATFORM" in os.environ:
        return
    for platform, library in PLATFORMS.items():
        if find_library(library):
            os.environ["PYOPENGL_PLATFORM"] = platform
            return
    raise BackendUnavailable(
        f"The renderer pyrender needs the system library EGL or OSMesa. {INSTEAD}"
    )


def _open_canvas() -> tuple[ModuleType, Any]:
    """The package and an off-screen context of it."""
    try:
        import pyrender
    except (AttributeError, ImportError, OSError) as error:
        raise BackendUnavailable(
            f"The renderer pyrender needs the package pyrender with OpenGL ({error}): "
            f"pip install 'handrefiner[pyrender]'. {INSTEAD}"
        ) from error
    from OpenGL.error import Error as OpenGLError

    # What pyrender and PyOpenGL raise where a driver is missing or too old.
    missing = (OpenGLError, AssertionError, AttributeError, ImportError, IndexError)
    try:
        return pyrender, pyrender.OffscreenRenderer(VIEWPORT_STEP_PX, VIEWPORT_STEP_PX)
    except (*missing, OSError, RuntimeError, ValueError) as error:
        raise BackendUnavailable(
            f"The renderer pyrender found no OpenGL 4.1 driver for off-screen rendering "
            f"({type(error).__name__}: {error}). {INSTEAD}"
        ) from error


def _depth_range(points: FloatArray) -> tuple[float, float]:
    """Nearest depth and the factor that lays all depths between the planes."""
    nearest, farthest = float(points[:, 2].min()), float(points[:, 2].max())
    room = FAR - NEAR - 2 * MARGIN
    return nearest, room / max(farthest - nearest, 1e-9)


def _tiles(height: int, width: int) -> Iterator[Box]:
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            yield Box(x, y, min(x + TILE_PX, width), min(y + TILE_PX, height))


def _round_up(length: int) -> int:
    """Few viewport sizes, so that buffers are reused."""
    return -(-length // VIEWPORT_STEP_PX) * VIEWPORT_STEP_PX
