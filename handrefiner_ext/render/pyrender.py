"""Depth by pyrender: OpenGL off-screen through EGL or OSMesa, where they exist."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from threading import Lock
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary, finalize

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import BackendUnavailable, how_to_install
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


class _Context:
    """An off-screen context on a thread of its own, since OpenGL binds a context to its thread.

    There is one in a process, shared by all renderers: pyrender ends the whole display, and so
    every other context, when it deletes one. It goes when the last renderer lets go of it.
    """

    def __init__(self) -> None:
        _choose_platform()
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="handrefiner-gl")
        try:
            self.pyrender, self.canvas = self.thread.submit(_open_canvas).result()
        except BackendUnavailable:
            self.thread.shutdown()
            raise
        ending = finalize(self, _release, self.thread, self.canvas)
        # At exit the thread has ended already. Typeshed leaves this property out of the slots.
        ending.atexit = False  # type: ignore[misc]

    @classmethod
    def shared(cls) -> _Context:
        with _LOCK:
            context = _CONTEXTS.get("opengl")
            if context is None:
                context = _CONTEXTS["opengl"] = cls()
            return context


_LOCK = Lock()
_CONTEXTS: WeakValueDictionary[str, _Context] = WeakValueDictionary()


def _release(thread: ThreadPoolExecutor, canvas: Any) -> None:
    thread.submit(canvas.delete).result()
    thread.shutdown()


class PyrenderRenderer:
    """Renders with OpenGL, from whichever thread; `close` it to free the driver's memory."""

    name = "pyrender"

    def __init__(self) -> None:
        self._context: _Context | None = _Context.shared()

    def render(self, mesh: HandMesh, height: int, width: int) -> HandLayer:
        """Depth of `mesh` over its own box in a picture of the given size."""
        points = picture_points(mesh)
        faces = mesh.faces[is_usable(points)[mesh.faces].all(axis=1)]
        box = covered_box(points, height, width)
        depth = np.full((box.height, box.width), np.inf, dtype=np.float32)
        if depth.size and len(faces):
            scene = _Scene(self._open(), points, faces, box)
            self._open().thread.submit(scene.draw, depth).result()
        return HandLayer(box, depth)

    def close(self) -> None:
        """Let go of OpenGL; the renderer opens it again if it is used again."""
        self._context = None

    def _open(self) -> _Context:
        self._context = self._context or _Context.shared()
        return self._context


class _Scene:
    """One mesh before the camera. points: (n, 3) pixels and metres. box: what is looked at."""

    def __init__(
        self, context: _Context, points: FloatArray, faces: NDArray[np.int32], box: Box
    ) -> None:
        self.context, self.box = context, box
        self.nearest, self.scale = _depth_range(points[np.unique(faces)])
        self.scene = context.pyrender.Scene()
        self.node = self.scene.add(self._to_mesh(points, faces))

    def draw(self, depth: DepthMap) -> None:
        """Fill `depth`, which spans the box, tile by tile."""
        for tile in _tiles(self.box.height, self.box.width):
            seen = self._shoot(tile)
            empty = seen == 0.0
            # pyrender undoes a perspective camera's depth; ours is orthographic.
            along = FAR + NEAR - NEAR * FAR / np.where(empty, NEAR, seen).astype(np.float64)
            metres = self.nearest + (along - NEAR - MARGIN) / self.scale
            depth[tile.slices] = np.where(empty, np.inf, metres)

    def _to_mesh(self, points: FloatArray, faces: NDArray[np.int32]) -> Any:
        """The mesh in OpenGL's axes: pixels from the box's corner, y up, z towards the viewer."""
        corner = (self.box.x0, self.box.y0, self.nearest)
        shown = np.where(is_usable(points)[:, None], points, 0.0) - corner
        positions = shown * (1.0, -1.0, -self.scale) - (0.0, 0.0, NEAR + MARGIN)
        # Both sides of each face, since the pass that is used below leaves out those turned away.
        both_sides = np.concatenate([faces, faces[:, ::-1]])
        primitive = self.context.pyrender.Primitive(
            positions=positions.astype(np.float32), indices=both_sides.astype(np.uint32)
        )
        return self.context.pyrender.Mesh([primitive])

    def _shoot(self, tile: Box) -> DepthMap:
        """pyrender's own depth over one tile of the box, 0 where empty."""
        package, canvas = self.context.pyrender, self.context.canvas
        width, height = (_round_up(n) for n in (tile.width, tile.height))
        canvas.viewport_width, canvas.viewport_height = width, height
        camera = package.OrthographicCamera(width / 2, height / 2, znear=NEAR, zfar=FAR)
        pose = np.eye(4)
        pose[:2, 3] = tile.x0 + width / 2, -(tile.y0 + height / 2)
        view = self.scene.add(camera, pose=pose)
        # Only the segmentation pass switches multisampling off, which would move the sample
        # away from the pixel's centre.
        _, depth = canvas.render(
            self.scene, flags=package.RenderFlags.SEG, seg_node_map={self.node: (255, 255, 255)}
        )
        self.scene.remove_node(view)
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
            f"run {how_to_install('pyrender')}. {INSTEAD}"
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
