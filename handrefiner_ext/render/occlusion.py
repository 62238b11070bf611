"""Which hand hides which where hands overlap in the picture.

Each hand is known in metres at an assumed length, so its distance is the focal length over the
camera's scale, and one z-buffer over all hands follows. Real hands differ in length, so a small
gap in distance proves nothing: the pair is then decided as a whole, by whose outline the picture
shows inside the overlap, else by the gap all the same, and reported as uncertain.
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
"""A mesh's outline may be this share of its box away from the drawn one."""
MIN_OUTLINE_PX = 8


def measure_outlines(image: Image, one: HandLayer, two: HandLayer) -> tuple[float, float]:
    """Strength of each hand's outline inside the other hand, in grey values per pixel.

    Only the hand in front shows its outline there. (0, 0) where an outline is too short to tell.
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
        outline = inside[own] & ~_shrink(inside[own], 1) & _shrink(inside[other], slack + 1)
        if np.count_nonzero(outline) < MIN_OUTLINE_PX:
            return 0.0, 0.0
        strengths.append(float(np.median(edges[outline])))
    return strengths[0], strengths[1]


def _edge_strength(image: Image) -> NDArray[np.float32]:
    """(h, w): the strongest channel's gradient."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)
    return np.asarray(np.hypot(across, down).max(axis=2), dtype=np.float32)


def _silhouette_in(layer: HandLayer, window: Box) -> Mask:
    """The hand's silhouette over `window`."""
    silhouette = np.zeros((window.height, window.width), dtype=bool)
    common = intersect(layer.box, window)
    depth = layer.depth[slices_within(common, layer.box)]
    silhouette[slices_within(common, window)] = np.isfinite(depth)
    return silhouette


def _shrink(mask: Mask, radius: int) -> Mask:
    """The mask without its rim; a window's border is no rim."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel, borderValue=1) > 0)


LENGTH_TOLERANCE = 0.1
"""Two distances closer than this share of their mean may have either order: the length of adult
hands varies by about 5 % (one standard deviation) within a sex, two hands double the variance,
and the fitted scale has an error of its own."""
TOUCHING_M = 0.15
"""So may two hands closer than nearly a hand's length, whatever their distance: they can touch, and
a fitted hand that points at the viewer is wrong in depth by as much."""
CLEAR_OUTLINE = 1.25
"""One outline must be this much stronger than the other to decide."""
STEP_M = 1e-4
"""Room between two hands of which one was put behind the other."""


class Ground(IntEnum):
    """What an order rests on, from weak to strong."""

    OTHERS = 0
    GAP = 1
    OUTLINE = 2
    DEPTH = 3
    REQUEST = 4


REASONS = {
    Ground.OTHERS: "as the order of other hands demands",
    Ground.GAP: "by depth, but the hands are too close for their unknown sizes to tell",
    Ground.OUTLINE: "its outline shows in the picture where the hands overlap",
    Ground.DEPTH: "its depth is clearly smaller",
    Ground.REQUEST: "by occlusion_order",
}


@dataclass(frozen=True)
class _Pair:
    """Two overlapping hands: which is in front, on what ground; common: box of the overlap."""

    front: int
    back: int
    ground: Ground
    common: Box


@dataclass(frozen=True)
class _Scene:
    layers: Sequence[HandLayer]
    distances: FloatArray
    requested: tuple[int, ...]
    image: Image | None

    def place(self, number: int) -> tuple[float, Box]:
        """What orders hands where nothing else does: never their numbers."""
        return float(self.distances[number]), self.layers[number].box


@dataclass(frozen=True)
class Arrangement:
    """The hands' places: from front to back, distance of each hand in metres, overlaps."""

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

    distances: (n,) metres of each hand's origin. requested: numbers of hands, nearest first.
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
    """(H, W) number of the hand that is nearest at a pixel, -1 where none is."""
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
    """How much deeper the second hand lies from its own origin; not finite but where both are."""
    one, two = (layers[k].depth[slices_within(common, layers[k].box)] for k in pair)
    with np.errstate(invalid="ignore"):
        return np.asarray(two - one, dtype=np.float32)


def _overlapping(layers: Sequence[HandLayer]) -> Iterator[tuple[tuple[int, int], Box, FloatArray]]:
    """Pairs of hands with the common part of their boxes and their gaps where both are."""
    for pair in combinations(range(len(layers)), 2):
        common = intersect(layers[pair[0]].box, layers[pair[1]].box)
        gap = _gap(layers, pair, common)
        both = gap[np.isfinite(gap)].astype(np.float64)
        if len(both):
            yield pair, common, both


def _decide(gap: float, pair: tuple[int, int], common: Box, scene: _Scene) -> _Pair:
    """Front and back of two hands on the strongest ground. gap: metres, second minus first."""
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
        strengths = measure_outlines(scene.image, scene.layers[one], scene.layers[two])
    if max(strengths) > CLEAR_OUTLINE * min(strengths):
        clearer = pair if strengths[0] > strengths[1] else (two, one)
        return _Pair(*clearer, Ground.OUTLINE, common)
    return _Pair(*nearer, Ground.GAP, common)


def _sort_front_to_back(scene: _Scene, pairs: list[_Pair]) -> tuple[int, ...]:
    """All hands in an order that breaks only the weakest decisions, where they contradict."""
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
    """The pair as the order of all hands shows it."""
    if order.index(pair.front) < order.index(pair.back):
        return pair
    return _Pair(pair.back, pair.front, Ground.OTHERS, pair.common)


def _move_back(scene: _Scene, pairs: list[_Pair], order: tuple[int, ...]) -> FloatArray:
    """(n,) distances at which every decided pair is apart; pairs clear by depth stay as they are.

    A hand behind a moved one moves along, so no clear order is upset.
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
