"""The two renderers of depth: a z-buffer in numpy, and pyrender with off-screen OpenGL.

The z-buffer needs no driver and gives the same answer everywhere. pyrender needs EGL or OSMesa.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from threading import Lock
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary, finalize

import numpy as np

from handrefiner_ext.errors import BackendUnavailable, how_to_install
from handrefiner_ext.geometry.boxes import tiles
from handrefiner_ext.geometry.rasterize import (
    covered_box,
    is_usable,
    picture_points,
    z_buffer,
)
from handrefiner_ext.types import Box, DepthMap, Faces, FloatArray, HandLayer, HandMesh


class RasterRenderer:
    """Renders exact depth at pixel centres under the mesh's weak-perspective camera."""

    name = "raster"

    def render(self, mesh: HandMesh, height: int, width: int) -> HandLayer:
        """Return the depth of `mesh` over its own box in a picture of the given size, pixels."""
        points = picture_points(mesh)
        box = covered_box(points, height, width)
        depth, _ = z_buffer(points, mesh.faces, box)
        return HandLayer(box, depth)


PLATFORMS = {"egl": "EGL", "osmesa": "OSMesa"}
"""Values of PYOPENGL_PLATFORM and the system library that each needs."""
VIEWPORT_STEP_PX = 256
NEAR_PLANE, FAR_PLANE = 1.0, 2.0
"""The hand's depths are mapped between these planes, so that the 24-bit buffer resolves them."""
PLANE_MARGIN = 0.01
INSTEAD = "Choose the renderer raster, which gives the same depth and needs no driver."


class _Context:
    """An off-screen context on a thread of its own, since OpenGL binds a context to a thread.

    All renderers of a process share one, because pyrender closes the whole display, and with it
    every other context, when it deletes one. It is released with the last renderer that uses it.
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
        # At exit the thread has ended already. Typeshed does not know this property.
        ending.atexit = False  # type: ignore[misc]

    @classmethod
    def shared(cls) -> _Context:
        """Return the context of this process, opened if necessary."""
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
    """Renders depth with OpenGL, from any thread; `close` frees the driver's memory.

    Raises BackendUnavailable if the package or a driver is missing.
    """

    name = "pyrender"

    def __init__(self) -> None:
        self._context: _Context | None = _Context.shared()

    def render(self, mesh: HandMesh, height: int, width: int) -> HandLayer:
        """Return the depth of `mesh` over its own box in a picture of the given size, pixels."""
        points = picture_points(mesh)
        faces = mesh.faces[is_usable(points)[mesh.faces].all(axis=1)]
        box = covered_box(points, height, width)
        depth = np.full((box.height, box.width), np.inf, dtype=np.float32)
        if depth.size and len(faces):
            scene = _GLScene(self._open(), points, faces, box)
            self._open().thread.submit(scene.draw, depth).result()
        return HandLayer(box, depth)

    def close(self) -> None:
        """Release OpenGL; rendering again opens it again."""
        self._context = None

    def _open(self) -> _Context:
        self._context = self._context or _Context.shared()
        return self._context


class _GLScene:
    """One mesh before the camera.

    points: (n, 3) x and y in pixels, z in metres. box: the part of the picture to render.
    """

    def __init__(self, context: _Context, points: FloatArray, faces: Faces, box: Box) -> None:
        self.context, self.box = context, box
        self.nearest, self.scale = _depth_range(points[np.unique(faces)])
        self.scene = context.pyrender.Scene()
        self.node = self.scene.add(self._to_mesh(points, faces))

    def draw(self, depth: DepthMap) -> None:
        """Fill `depth` (h, w), which spans the box, tile by tile."""
        for tile in tiles(Box(0, 0, self.box.width, self.box.height)):
            seen = self._shoot(tile)
            empty = seen == 0.0
            # pyrender linearises depth as for a perspective camera, but ours is orthographic, so
            # that is undone here.
            linear = np.where(empty, NEAR_PLANE, seen).astype(np.float64)
            along = FAR_PLANE + NEAR_PLANE - NEAR_PLANE * FAR_PLANE / linear
            metres = self.nearest + (along - NEAR_PLANE - PLANE_MARGIN) / self.scale
            depth[tile.slices] = np.where(empty, np.inf, metres)

    def _to_mesh(self, points: FloatArray, faces: Faces) -> Any:
        """Return the mesh in OpenGL's axes: pixels from the box's corner, y up, z to the viewer."""
        corner = (self.box.x0, self.box.y0, self.nearest)
        shown = np.where(is_usable(points)[:, None], points, 0.0) - corner
        positions = shown * (1.0, -1.0, -self.scale) - (0.0, 0.0, NEAR_PLANE + PLANE_MARGIN)
        # Each face is added from both sides, since the segmentation pass culls back faces.
        both_sides = np.concatenate([faces, faces[:, ::-1]])
        primitive = self.context.pyrender.Primitive(
            positions=positions.astype(np.float32), indices=both_sides.astype(np.uint32)
        )
        return self.context.pyrender.Mesh([primitive])

    def _shoot(self, tile: Box) -> DepthMap:
        """Return pyrender's own depth over one tile of the box, 0 where empty."""
        package, canvas = self.context.pyrender, self.context.canvas
        width, height = (_round_up(n) for n in (tile.width, tile.height))
        canvas.viewport_width, canvas.viewport_height = width, height
        camera = package.OrthographicCamera(width / 2, height / 2, znear=NEAR_PLANE, zfar=FAR_PLANE)
        pose = np.eye(4)
        pose[:2, 3] = tile.x0 + width / 2, -(tile.y0 + height / 2)
        view = self.scene.add(camera, pose=pose)
        # Multisampling moves the samples away from the pixel's centre, and only the segmentation
        # pass switches it off.
        _, depth = canvas.render(
            self.scene, flags=package.RenderFlags.SEG, seg_node_map={self.node: (255, 255, 255)}
        )
        self.scene.remove_node(view)
        return np.asarray(depth[: tile.height, : tile.width])


def _choose_platform() -> None:
    """Tell PyOpenGL the off-screen platform, unless the user has chosen one."""
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
    """Return the package and an off-screen context; BackendUnavailable if either is missing."""
    try:
        import pyrender
    except (AttributeError, ImportError, OSError) as error:
        raise BackendUnavailable(
            f"The renderer pyrender needs the package pyrender with OpenGL ({error}): "
            f"run {how_to_install('pyrender')}. {INSTEAD}"
        ) from error
    from OpenGL.error import Error as OpenGLError

    # pyrender and PyOpenGL raise any of these where a driver is missing or too old.
    missing = (OpenGLError, AssertionError, AttributeError, ImportError, IndexError)
    try:
        return pyrender, pyrender.OffscreenRenderer(VIEWPORT_STEP_PX, VIEWPORT_STEP_PX)
    except (*missing, OSError, RuntimeError, ValueError) as error:
        raise BackendUnavailable(
            f"The renderer pyrender found no OpenGL 4.1 driver for off-screen rendering "
            f"({type(error).__name__}: {error}). {INSTEAD}"
        ) from error


def _depth_range(points: FloatArray) -> tuple[float, float]:
    """Return the nearest depth and the factor that maps all depths between the planes."""
    nearest, farthest = float(points[:, 2].min()), float(points[:, 2].max())
    room = FAR_PLANE - NEAR_PLANE - 2 * PLANE_MARGIN
    return nearest, room / max(farthest - nearest, 1e-9)


def _round_up(length: int) -> int:
    """Round a length up, so that few viewport sizes occur and buffers are reused."""
    return -(-length // VIEWPORT_STEP_PX) * VIEWPORT_STEP_PX
