"""Masks: which pixels may change because of a hand.

- box: the box around landmarks and mesh, with a margin (as in HandRefiner's paper and code).
- silhouette: the mesh's silhouette and fingers drawn along the landmarks, with a margin.
- drawn: the drawn parts that reach the hand, and nothing else: whoever draws a mask says what may
  change, half a hand too.
- union: all of them.

Where depth is the user's own (`Relief`), its silhouette is taken in place of the box. Where a hand
was posed by somebody, the box of the hand that lay there before belongs to both.

Every mask but the drawn one covers the hand's pixels in the control image, so that no hand is
repainted by half. A hand outside the picture has an empty mask.

`spare` takes out of the masks what lies beside a hand and must stay: faces, and hands that are not
repainted. What the new hand covers, and the old fingers with a small rim, stays paintable, even in
front of a face.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import (
    area,
    bounding_box,
    clip,
    grow,
    intersect,
    slices_within,
)
from handrefiner_ext.geometry.rasterize import is_usable, picture_points
from handrefiner_ext.topology import BONES, PALM
from handrefiner_ext.types import Box, ControlMaps, FloatArray, HandLayer, HandMesh, Mask

BOX_MARGIN = 0.15
SILHOUETTE_MARGIN = 0.05
"""Least margin, as a share of the side that grows."""
FINGER_THICKNESS = 0.1
"""Of a finger drawn along its landmarks, in hand sizes."""

MaskedBox = tuple[Box, Mask]
"""A box inside the picture and a mask over it."""
NOTHING: MaskedBox = (Box(0, 0, 0, 0), np.zeros((0, 0), dtype=bool))


@dataclass(frozen=True)
class DrawnParts:
    """Connected parts of a mask drawn by hand.

    number: (H, W) of the part, 0 where there is none. boxes: (parts, 4) x0, y0, x1, y1, by number.
    """

    number: NDArray[np.int32]
    boxes: NDArray[np.int32]

    @classmethod
    def of(cls, drawn: Mask) -> DrawnParts:
        """Return the parts of a mask (H, W)."""
        _, number, stats, _ = cv2.connectedComponentsWithStats(drawn.astype(np.uint8))
        corner = stats[:, :2]
        boxes = np.concatenate([corner, corner + stats[:, 2:4]], axis=1)
        return cls(np.asarray(number, dtype=np.int32), boxes.astype(np.int32))

    def that_reach(self, box: Box) -> list[MaskedBox]:
        """Return the parts, whole, that have a pixel in `box`."""
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
    """Makes the masks of one picture.

    kind: box, silhouette, drawn or union. padding: pixels. size: (height, width).
    """

    kind: str
    padding: int
    size: tuple[int, int]
    drawn: DrawnParts | None

    def make(self, mesh: HandMesh, layer: HandLayer) -> MaskedBox:
        """Return which pixels may change because of one hand."""
        silhouette = np.isfinite(layer.depth)
        if not silhouette.any():
            return NOTHING
        makers: dict[str, Sequence[Callable[[HandMesh, HandLayer], list[MaskedBox]]]] = {
            "box": (self._box,),
            "silhouette": (self._silhouette,),
            "drawn": (self._drawn,),
            "union": (self._box, self._silhouette, self._drawn),
        }
        boxed = mesh.relief is not None and self.kind == "box"
        kind = "silhouette" if boxed else self.kind
        regions = [region for maker in makers[kind] for region in maker(mesh, layer)]
        if self.kind != "drawn":
            regions.append((layer.box, silhouette))
        return unite(regions) if regions else NOTHING

    def _box(self, mesh: HandMesh, layer: HandLayer) -> list[MaskedBox]:
        box = self._padded_box(mesh)
        return [(box, np.ones((box.height, box.width), dtype=bool))]

    def _padded_box(self, mesh: HandMesh) -> Box:
        with np.errstate(all="ignore"):
            joints = mesh.joints_2d
        known = [picture_points(mesh)[:, :2], mesh.hand.landmarks, joints]
        if mesh.pose and mesh.pose.old:
            known.append(np.reshape(mesh.pose.old, (2, 2)))
        points = np.concatenate(known)
        box = bounding_box(points[is_usable(points)])
        margins = (max(ceil(BOX_MARGIN * side), self.padding) for side in (box.width, box.height))
        return clip(grow(box, *margins), *self.size)

    def _silhouette(self, mesh: HandMesh, layer: HandLayer) -> list[MaskedBox]:
        side = max(layer.box.width, layer.box.height)
        radius = max(ceil(SILHOUETTE_MARGIN * side), self.padding)
        was_seen = mesh.relief is None or not mesh.hand.assumed
        hand = mesh.hand if was_seen and is_usable(mesh.hand.landmarks).all() else None
        outer = layer.box
        if hand is not None:
            room = ceil(FINGER_THICKNESS * hand.size_px)
            outer = _enclose([outer, grow(bounding_box(hand.landmarks), room, room)])
        old = self._old_box(mesh)
        box = clip(grow(_enclose([outer, *old]), radius, radius), *self.size)
        shape = np.zeros((box.height, box.width), dtype=np.uint8)
        shape[slices_within(layer.box, box)] = np.isfinite(layer.depth)
        for place in old:
            shape[slices_within(place, box)] = 1
        if hand is not None:
            draw_hand(shape, hand.landmarks - (box.x0, box.y0), hand.size_px)
        return [_trim((box, widen(shape, radius)))]

    def _old_box(self, mesh: HandMesh) -> list[Box]:
        """Return where the hand lay that somebody posed anew, if it lay in the picture."""
        if not (mesh.pose and mesh.pose.old):
            return []
        box = clip(bounding_box(np.reshape(mesh.pose.old, (2, 2))), *self.size)
        return [box] if area(box) else []

    def _drawn(self, mesh: HandMesh, layer: HandLayer) -> list[MaskedBox]:
        return [] if self.drawn is None else self.drawn.that_reach(self._padded_box(mesh))


def unite(regions: Sequence[MaskedBox]) -> MaskedBox:
    """Return the union of all masks over the box around all boxes."""
    box = _enclose([box for box, _ in regions])
    mask = np.zeros((box.height, box.width), dtype=bool)
    for part, inside in regions:
        mask[slices_within(part, box)] |= inside
    return box, mask


def _enclose(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return Box(min(x0), min(y0), max(x1), max(y1))


def _trim(region: MaskedBox) -> MaskedBox:
    """Cut empty rows and columns off around a mask that is not empty."""
    box, mask = region
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    part = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Box(box.x0 + part.x0, box.y0 + part.y0, box.x0 + part.x1, box.y0 + part.y1), mask[
        part.slices
    ]


def widen(shape: NDArray[np.uint8], radius: float) -> Mask:
    """Return what is 1 in a shape, (H, W), and what lies within `radius` pixels of it."""
    distance = cv2.distanceTransform(1 - shape, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= radius)


def draw_hand(shape: NDArray[np.uint8], landmarks: FloatArray, size_px: float) -> None:
    """Set to 1 what a hand with these landmarks covers, so that its old fingers are repainted."""
    # OpenCV limits coordinates and line thickness to about 16 bits.
    points = np.rint(np.clip(landmarks, -(2**14), 2**14)).astype(np.int32)
    thickness = int(np.clip(FINGER_THICKNESS * size_px, 1, 2**12))
    cv2.fillConvexPoly(shape, cv2.convexHull(points[list(PALM)]), 1)
    for parent, child in BONES:
        cv2.line(shape, points[parent].tolist(), points[child].tolist(), 1, thickness)


def spare(
    maps: ControlMaps, meshes: Sequence[HandMesh], places: Sequence[Box]
) -> tuple[ControlMaps, tuple[int, ...]]:
    """Take `places` out of the masks.

    Arguments:
        meshes: those of the maps, in the same order.
        places: boxes in the picture that must stay as they are.

    Returns:
        The maps, unchanged if no place lies in a mask, and the numbers of the meshes whose masks
        changed.
    """
    height, width = maps.mask.shape
    maker = MaskMaker("silhouette", 0, (height, width), None)
    masks, changed = [], []
    for number, (mesh, layer) in enumerate(zip(meshes, maps.layers, strict=True)):
        box, mask = maps.hand_masks[number]
        hits = [place for place in places if area(intersect(place, box))]
        if hits and mask.any():
            spared = mask.copy()
            for place in hits:
                spared[slices_within(intersect(place, box), box)] = False
            own_box, own = maker.make(mesh, layer)
            common = intersect(own_box, box)
            part = slices_within(common, box)
            spared[part] |= own[slices_within(common, own_box)] & mask[part]
            if (spared != mask).any():
                changed.append(number)
                mask = spared
        masks.append((box, mask))
    if not changed:
        return maps, ()
    spared = replace(maps, spared=(*maps.spared, *places))
    return spared.narrow(masks), tuple(changed)
