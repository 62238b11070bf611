"""Masks: what may change because of a hand.

- box: the box around landmarks and mesh, grown (as in HandRefiner's paper and code).
- silhouette: the mesh's silhouette and the landmarks' own fingers, grown all round.
- drawn: the drawn parts that reach the hand, and the mesh's silhouette.
- union: all of them.

Every mask covers the hand's pixels in the control image, so nothing is painted half. A hand that
does not show in the picture changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import bounding_box, clip, grow, slices_within
from handrefiner_ext.geometry.rasterize import picture_points
from handrefiner_ext.geometry.spans import is_usable
from handrefiner_ext.topology import BONES, INDEX_MCP, LITTLE_MCP, MIDDLE_MCP, WRIST
from handrefiner_ext.types import Box, FloatArray, HandLayer, HandMesh, Mask

BOX_MARGIN = 0.15
SILHOUETTE_MARGIN = 0.05
"""Least growth, as a share of the side that grows."""
FINGER_THICKNESS = 0.1
"""Of a finger drawn around its landmarks, in hand sizes."""
PALM = (WRIST, 1, INDEX_MCP, MIDDLE_MCP, 13, LITTLE_MCP)

Region = tuple[Box, Mask]
"""A box inside the picture and a mask over it."""


@dataclass(frozen=True)
class DrawnParts:
    """Connected parts of a mask drawn by hand.

    number: (H, W) of the part, 0 where none is. boxes: (parts, 4) x0, y0, x1, y1 of each number.
    """

    number: NDArray[np.int32]
    boxes: NDArray[np.int32]

    @classmethod
    def of(cls, drawn: Mask) -> DrawnParts:
        _, number, stats, _ = cv2.connectedComponentsWithStats(drawn.astype(np.uint8))
        corner = stats[:, :2]
        boxes = np.concatenate([corner, corner + stats[:, 2:4]], axis=1)
        return cls(np.asarray(number, dtype=np.int32), boxes.astype(np.int32))

    def that_reach(self, box: Box) -> list[Region]:
        """The parts of which any pixel lies in `box`, whole."""
        wanted = np.zeros(len(self.boxes), dtype=bool)
        wanted[self.number[box.slices]] = True
        wanted[0] = False
        if not wanted.any():
            return []
        least, most = self.boxes[wanted].min(axis=0), self.boxes[wanted].max(axis=0)
        whole = Box(int(least[0]), int(least[1]), int(most[2]), int(most[3]))
        return [(whole, wanted[self.number[whole.slices]])]


@dataclass(frozen=True)
class MaskMaker:
    """Makes the masks of one picture. padding: pixels; size: (height, width)."""

    kind: str
    padding: int
    size: tuple[int, int]
    drawn: DrawnParts | None

    def make(self, mesh: HandMesh, layer: HandLayer) -> Region:
        """What may change because of one hand."""
        silhouette = np.isfinite(layer.depth)
        if not silhouette.any():
            return Box(0, 0, 0, 0), np.zeros((0, 0), dtype=bool)
        makers: dict[str, Sequence[Callable[[HandMesh, HandLayer], list[Region]]]] = {
            "box": (self._box,),
            "silhouette": (self._silhouette,),
            "drawn": (self._drawn,),
            "union": (self._box, self._silhouette, self._drawn),
        }
        regions = [region for maker in makers[self.kind] for region in maker(mesh, layer)]
        return unite([(layer.box, silhouette), *regions])

    def _box(self, mesh: HandMesh, layer: HandLayer) -> list[Region]:
        box = self._padded_box(mesh)
        return [(box, np.ones((box.height, box.width), dtype=bool))]

    def _padded_box(self, mesh: HandMesh) -> Box:
        with np.errstate(all="ignore"):
            joints = mesh.joints_2d
        points = np.concatenate([picture_points(mesh)[:, :2], mesh.hand.landmarks, joints])
        box = bounding_box(points[is_usable(points)])
        margins = (max(ceil(BOX_MARGIN * side), self.padding) for side in (box.width, box.height))
        return clip(grow(box, *margins), *self.size)

    def _silhouette(self, mesh: HandMesh, layer: HandLayer) -> list[Region]:
        side = max(layer.box.width, layer.box.height)
        radius = max(ceil(SILHOUETTE_MARGIN * side), self.padding)
        hand = mesh.hand if is_usable(mesh.hand.landmarks).all() else None
        outer = layer.box
        if hand is not None:
            room = ceil(FINGER_THICKNESS * hand.size_px)
            outer = _enclose([outer, grow(bounding_box(hand.landmarks), room, room)])
        box = clip(grow(outer, radius, radius), *self.size)
        shape = np.zeros((box.height, box.width), dtype=np.uint8)
        shape[slices_within(layer.box, box)] = np.isfinite(layer.depth)
        if hand is not None:
            _draw_fingers(shape, hand.landmarks - (box.x0, box.y0), hand.size_px)
        distance = cv2.distanceTransform(1 - shape, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return [_trim((box, np.asarray(distance <= radius)))]

    def _drawn(self, mesh: HandMesh, layer: HandLayer) -> list[Region]:
        return [] if self.drawn is None else self.drawn.that_reach(self._padded_box(mesh))


def unite(regions: Sequence[Region]) -> Region:
    """One region that holds all."""
    box = _enclose([box for box, _ in regions])
    mask = np.zeros((box.height, box.width), dtype=bool)
    for part, inside in regions:
        mask[slices_within(part, box)] |= inside
    return box, mask


def _enclose(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return Box(min(x0), min(y0), max(x1), max(y1))


def _trim(region: Region) -> Region:
    """The region without empty rows and columns around it; it is not empty."""
    box, mask = region
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    part = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Box(box.x0 + part.x0, box.y0 + part.y0, box.x0 + part.x1, box.y0 + part.y1), mask[
        part.slices
    ]


def _draw_fingers(shape: NDArray[np.uint8], landmarks: FloatArray, size_px: float) -> None:
    """Set to 1 what a hand with these landmarks covers, so that the old fingers go too."""
    # OpenCV takes coordinates and thickness as 16-bit numbers.
    points = np.rint(np.clip(landmarks, -(2**14), 2**14)).astype(np.int32)
    thickness = int(np.clip(FINGER_THICKNESS * size_px, 1, 2**12))
    cv2.fillConvexPoly(shape, cv2.convexHull(points[list(PALM)]), 1)
    for parent, child in BONES:
        cv2.line(shape, points[parent].tolist(), points[child].tolist(), 1, thickness)
