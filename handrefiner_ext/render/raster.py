"""Depth by the numpy z-buffer: no driver, the same answer everywhere."""

from __future__ import annotations

from handrefiner_ext.geometry.rasterize import covered_box, picture_points, z_buffer
from handrefiner_ext.types import HandLayer, HandMesh


class RasterRenderer:
    """Exact depth at pixel centres under the mesh's weak-perspective camera."""

    name = "raster"

    def render(self, mesh: HandMesh, height: int, width: int) -> HandLayer:
        """Depth of `mesh` over its own box in a picture of the given size."""
        points = picture_points(mesh)
        box = covered_box(points, height, width)
        depth, _ = z_buffer(points, mesh.faces, box)
        return HandLayer(box, depth)
