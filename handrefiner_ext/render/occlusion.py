"""Which hand hides which where hands overlap in the picture.

Each mesh has metres and an assumed hand length. Focal length over the camera's scale is therefore
the hand's distance, and one z-buffer can show all hands. Real hands differ in length, so that a
small difference in distance proves nothing. Then the pair is decided as a whole: by whose contour
the picture shows inside the overlap, or else by the difference all the same. In both cases it is
reported as uncertain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import area, clip, grow, intersect, slices_within
from handrefiner_ext.types import Box, DepthMap, FloatArray, HandLayer, Image, Mask, Overlap

SLACK = 0.02
"""Distance allowed between a mesh's contour and the drawn one, as a share of the mesh's box."""
MIN_CONTOUR_PX = 8


def measure_contours(image: Image, one: HandLayer, two: HandLayer) -> tuple[float, float]:
    """Return how strongly the picture shows each hand's contour inside the other hand.

    Only the hand in front shows its contour there. In grey values per pixel; (0, 0) if a contour
    is too short to tell.
    """
    slack = max(1, round(SLACK * min(max(layer.depth.shape) for layer in (one, two))))
    common = intersect(one.box, two.box)
    window = clip(grow(common, slack + 1, slack + 1), *image.shape[:2])
    if not area(window):
        return 0.0, 0.0
    reach = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * slack + 1, 2 * slack + 1))
    edges = cv2.dilate(_edge_strength(image[window.slices]), reach)
    inside = [_silhouette_in(layer, window) for layer in (one, two)]
    strengths = []
    for own, other in ((0, 1), (1, 0)):
        contour = inside[own] & ~_shrink(inside[own], 1) & _shrink(inside[other], slack + 1)
        if np.count_nonzero(contour) < MIN_CONTOUR_PX:
            return 0.0, 0.0
        strengths.append(float(np.median(edges[contour])))
    return strengths[0], strengths[1]


def _edge_strength(image: Image) -> NDArray[np.float32]:
    """Return (h, w) the gradient of the strongest channel, grey values per pixel."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)
    return np.asarray(np.hypot(across, down).max(axis=2), dtype=np.float32)


def _silhouette_in(layer: HandLayer, window: Box) -> Mask:
    """Return the hand's silhouette over `window`."""
    silhouette = np.zeros((window.height, window.width), dtype=bool)
    common = intersect(layer.box, window)
    depth = layer.depth[slices_within(common, layer.box)]
    silhouette[slices_within(common, window)] = np.isfinite(depth)
    return silhouette


def _shrink(mask: Mask, radius: int) -> Mask:
    """Erode the mask; it does not shrink from the window's border."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel, borderValue=1) > 0)


LENGTH_TOLERANCE = 0.1
"""Two distances closer than this share of their mean may have either order: the length of adult
hands varies by about 5 % (one standard deviation) within a sex, two hands double the variance,
and the fitted scale has an error of its own."""
TOUCHING_M = 0.15
"""Two hands closer than this, nearly a hand's length, may also have either order: they can touch,
and the depth of a fitted hand that points at the viewer is wrong by as much."""
CLEAR_CONTOUR = 1.25
"""One contour must be this many times as strong as the other to decide."""
STEP_M = 1e-4
"""Metres between two hands of which one was moved behind the other."""


class Ground(IntEnum):
    """The evidence for an order, from weak to strong."""

    OTHERS = 0
    GAP = 1
    CONTOUR = 2
    DEPTH = 3
    REQUEST = 4


REASONS = {
    Ground.OTHERS: "as the order of other hands demands",
    Ground.GAP: "by depth, but the hands are too close for their unknown sizes to tell",
    Ground.CONTOUR: "its outline shows in the picture where the hands overlap",
    Ground.DEPTH: "its depth is clearly smaller",
    Ground.REQUEST: "by occlusion_order",
}


@dataclass(frozen=True)
class _Pair:
    """Two overlapping hands: which is in front, on what evidence, and the box of the overlap."""

    front: int
    back: int
    ground: Ground
    common: Box


@dataclass(frozen=True)
class _Scene:
    """All that an order is decided from; see `arrange` for the fields."""

    layers: Sequence[HandLayer]
    distances: FloatArray
    requested: tuple[int, ...]
    image: Image | None

    def place(self, number: int) -> tuple[float, Box]:
        """Return the key that breaks ties. It never depends on a hand's number."""
        return float(self.distances[number]), self.layers[number].box


@dataclass(frozen=True)
class Arrangement:
    """How hands lie behind one another.

    order: from front to back. distances: (n,) metres from the viewer. overlaps: for the report.
    neighbours: front, back and box of each overlap.
    """

    order: tuple[int, ...]
    distances: FloatArray
    overlaps: tuple[Overlap, ...]
    neighbours: tuple[tuple[int, int, Box], ...]


def arrange(
    layers: Sequence[HandLayer],
    distances: FloatArray,
    requested: tuple[int, ...],
    image: Image | None,
) -> Arrangement:
    """Decide every overlap, and move hands back until one z-buffer shows the decisions.

    Arguments:
        layers: depth of each hand, metres from its own origin.
        distances: (n,) metres from the viewer to each hand's origin.
        requested: numbers of hands, nearest first, as the user wants them.
        image: (H, W, 3) in which contours are looked for; None = by distance alone.
    """
    scene = _Scene(layers, distances, requested, image)
    pairs = [
        _decide(float(np.median(gaps)) + distances[pair[1]] - distances[pair[0]], pair, box, scene)
        for pair, box, gaps in _overlapping(layers)
    ]
    order = _sort_front_to_back(scene, pairs)
    pairs = [_follow(pair, order) for pair in pairs]
    moved = _move_back(scene, pairs, order)
    overlaps = tuple(
        Overlap(p.front, p.back, p.ground >= Ground.DEPTH, REASONS[p.ground]) for p in pairs
    )
    return Arrangement(order, moved, overlaps, tuple((p.front, p.back, p.common) for p in pairs))


def find_owners(
    layers: Sequence[HandLayer], arrangement: Arrangement, image_size: tuple[int, int]
) -> NDArray[np.int16]:
    """Return (H, W) the number of the hand nearest at each pixel, -1 where there is none."""
    owner = np.full(image_size, -1, dtype=np.int16)
    seen = [np.isfinite(layer.depth) for layer in layers]
    for front, back, common in arrangement.neighbours:
        gap = _gap(layers, (front, back), common)
        hidden = gap >= arrangement.distances[front] - arrangement.distances[back]
        seen[back][slices_within(common, layers[back].box)] &= ~hidden
        seen[front][slices_within(common, layers[front].box)] &= hidden | ~np.isfinite(gap)
    for number, layer in enumerate(layers):
        owner[layer.box.slices][seen[number]] = number
    return owner


def _gap(layers: Sequence[HandLayer], pair: tuple[int, int], common: Box) -> DepthMap:
    """Return by how much the second hand is deeper, each from its own origin.

    Finite only where both hands are.
    """
    one, two = (layers[k].depth[slices_within(common, layers[k].box)] for k in pair)
    with np.errstate(invalid="ignore"):
        return np.asarray(two - one, dtype=np.float32)


def _overlapping(layers: Sequence[HandLayer]) -> Iterator[tuple[tuple[int, int], Box, FloatArray]]:
    """Yield overlapping pairs of hands, the common part of their boxes, and their gaps."""
    for pair in combinations(range(len(layers)), 2):
        common = intersect(layers[pair[0]].box, layers[pair[1]].box)
        gap = _gap(layers, pair, common)
        both = gap[np.isfinite(gap)].astype(np.float64)
        if len(both):
            yield pair, common, both


def _decide(gap: float, pair: tuple[int, int], common: Box, scene: _Scene) -> _Pair:
    """Decide front and back of two hands on the strongest evidence; gap: metres, second - first."""
    one, two = pair
    if one in scene.requested and two in scene.requested:
        front = min(pair, key=scene.requested.index)
        return _Pair(front, one + two - front, Ground.REQUEST, common)
    tie = scene.place(one) < scene.place(two)
    nearer = pair if gap > 0 or (gap == 0 and tie) else (two, one)
    if abs(gap) > max(TOUCHING_M, LENGTH_TOLERANCE * float(scene.distances[list(pair)].mean())):
        return _Pair(*nearer, Ground.DEPTH, common)
    strengths = (0.0, 0.0)
    if scene.image is not None:
        strengths = measure_contours(scene.image, scene.layers[one], scene.layers[two])
    if max(strengths) > CLEAR_CONTOUR * min(strengths):
        clearer = pair if strengths[0] > strengths[1] else (two, one)
        return _Pair(*clearer, Ground.CONTOUR, common)
    return _Pair(*nearer, Ground.GAP, common)


def _sort_front_to_back(scene: _Scene, pairs: list[_Pair]) -> tuple[int, ...]:
    """Order all hands; where decisions contradict one another, the weakest are broken."""
    remaining, order = set(range(len(scene.layers))), []
    while remaining:
        burden = dict.fromkeys(remaining, -1)
        for pair in pairs:
            if pair.front in remaining and pair.back in remaining:
                burden[pair.back] = max(burden[pair.back], pair.ground)
        order.append(min(remaining, key=lambda k: (burden[k], *scene.place(k))))
        remaining.remove(order[-1])
    return tuple(order)


def _follow(pair: _Pair, order: tuple[int, ...]) -> _Pair:
    """Return the pair as the order of all hands shows it."""
    if order.index(pair.front) < order.index(pair.back):
        return pair
    return _Pair(pair.back, pair.front, Ground.OTHERS, pair.common)


def _move_back(scene: _Scene, pairs: list[_Pair], order: tuple[int, ...]) -> FloatArray:
    """Return (n,) distances at which every decided pair is apart.

    Pairs whose depth is clear stay as they are; a hand behind a moved one moves along, so that no
    clear order is lost.
    """
    moved = np.array(scene.distances)
    for back in order:
        shift = 0.0
        for pair in (p for p in pairs if p.back == back):
            if pair.ground == Ground.DEPTH:
                along = moved[pair.front] - scene.distances[pair.front]
            else:
                gap = _gap(scene.layers, (pair.front, back), pair.common)
                apart = STEP_M - float(gap[np.isfinite(gap)].min())
                along = moved[pair.front] + apart - scene.distances[back]
            shift = max(shift, along)
        moved[back] += shift
    return moved
