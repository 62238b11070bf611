"""Control maps: depth, control image and masks of a picture's meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import InvalidParameter, show
from handrefiner_ext.geometry.boxes import RegionCrop
from handrefiner_ext.geometry.relief import find_layer
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Renderer
from handrefiner_ext.render.masks import DrawnParts, MaskedBox, MaskMaker
from handrefiner_ext.render.occlusion import arrange, find_owners
from handrefiner_ext.report import number_meshes
from handrefiner_ext.types import ControlMaps, FloatArray, HandLayer, HandMesh, Image, Mask

NEAREST_GREY, FARTHEST_GREY = 255, 51
"""Grey values that HandRefiner's ControlNet was trained with (Lu et al. 2023)."""


def shade_control(
    layers: Sequence[HandLayer],
    owner: NDArray[np.int16],
    distances: FloatArray,
    depth_range: str,
) -> NDArray[np.uint8]:
    """Return the control image (H, W) of the hands that are visible.

    Arguments:
        layers: depth of each hand.
        owner: (H, W) number of the hand visible at each pixel, -1 where there is none.
        distances: (n,) metres from the viewer to each hand's origin.
        depth_range: "hand" stretches each hand's own depth, hidden parts included; "common"
            stretches all hands together, each at its distance.
    """
    control = np.zeros(owner.shape, dtype=np.uint8)
    ranges = [_range(layer) for layer in layers]
    common = [(near + d, far + d) for (near, far), d in zip(ranges, distances, strict=True)]
    nearest = min((near for near, _ in common), default=0.0)
    farthest = max((far for _, far in common if far < np.inf), default=0.0)
    for number, layer in enumerate(layers):
        near, far = ranges[number]
        if depth_range == "common":
            near, far = nearest - distances[number], farthest - distances[number]
        seen = owner[layer.box.slices] == number
        control[layer.box.slices][seen] = _stretch(layer.depth[seen], near, far)
    return control


def _range(layer: HandLayer) -> tuple[float, float]:
    """Return nearest and farthest depth; infinite if the hand is not in the picture."""
    depth = layer.depth[np.isfinite(layer.depth)]
    return (float(depth.min()), float(depth.max())) if len(depth) else (np.inf, np.inf)


def _stretch(depth: NDArray[np.float32], near: float, far: float) -> NDArray[np.uint8]:
    """Return grey values; all of a flat hand is near."""
    share = (depth - near) / (far - near) if far > near else np.zeros_like(depth)
    grey = np.rint(NEAREST_GREY - np.clip(share, 0.0, 1.0) * (NEAREST_GREY - FARTHEST_GREY))
    return np.asarray(grey, dtype=np.uint8)


FOCAL_PER_SIDE = 1.2
"""Assumed focal length over the picture's long side: a field of view of 45°, common in pictures of
people. It scales all distances between hands alike, so that no order depends on it."""
MIN_SCALE = 1e-3
"""Least camera scale, pixels per metre; a smaller hand covers no pixel."""


def build_maps(
    meshes: Sequence[HandMesh],
    image_size: tuple[int, int],
    renderer: Renderer,
    params: RefineParams,
    drawn_mask: Mask | None = None,
    image: Image | None = None,
) -> ControlMaps:
    """Return depth, control image and masks of all hands.

    Arguments:
        meshes: one for each hand.
        image_size: (height, width) of every map.
        drawn_mask: (H, W), required if `params.mask` is "drawn".
        image: (H, W, 3), evidence for the order of hands that overlap.

    Raises:
        InvalidParameter: a parameter or the drawn mask does not fit the picture.
    """
    _check_drawn_mask(drawn_mask, image_size, params.mask)
    requested = order_meshes(params.occlusion_order, meshes)
    layers = tuple(_render(mesh, renderer, image_size) for mesh in meshes)
    arrangement = arrange(layers, _distances(meshes, image_size), requested, image)
    owner = find_owners(layers, arrangement, image_size)
    control = shade_control(layers, owner, arrangement.distances, params.depth_range)
    _lay_reliefs(control, meshes, owner)
    drawn = drawn_mask if params.uses_drawing else None
    parts = None if drawn is None else DrawnParts.of(drawn)
    maker = MaskMaker(params.mask, params.padding_bbox, image_size, parts)
    hand_masks = tuple(maker.make(mesh, layer) for mesh, layer in zip(meshes, layers, strict=True))
    mask = _join(hand_masks, image_size, drawn)
    return ControlMaps(layers, owner, control, mask, hand_masks, arrangement.overlaps)


def _render(mesh: HandMesh, renderer: Renderer, image_size: tuple[int, int]) -> HandLayer:
    """Return the depth of a mesh, or the one that was given instead."""
    return renderer.render(mesh, *image_size) if mesh.relief is None else find_layer(mesh.relief)


def _lay_reliefs(
    control: NDArray[np.uint8], meshes: Sequence[HandMesh], owner: NDArray[np.int16]
) -> None:
    """Put depth that was given into the control image, grey by grey."""
    for number, mesh in enumerate(meshes):
        if mesh.relief is not None:
            seen = owner[mesh.relief.box.slices] == number
            control[mesh.relief.box.slices][seen] = mesh.relief.grey[seen]


def order_meshes(text: str, meshes: Sequence[HandMesh]) -> tuple[int, ...]:
    """Return which meshes come first, nearest first: "2,1" -> (1, 0).

    Hands without a mesh are left out.
    """
    places = {number: place for place, number in enumerate(number_meshes(meshes))}
    return tuple(places[number] for number in parse_order(text) if number in places)


def parse_order(text: str) -> tuple[int, ...]:
    """Return the hands, as users number them from 1, nearest first: "2,1" -> (2, 1)."""
    try:
        numbers = [int(word) for word in text.split(",")] if text.strip() else []
    except ValueError:
        numbers = [0]
    if len(set(numbers)) != len(numbers) or any(n < 1 for n in numbers):
        raise InvalidParameter(
            f"occlusion_order = {show(text)} is not possible; it must be the numbers of hands, "
            f"each once, from the nearest to the farthest, such as 2,1."
        )
    return tuple(numbers)


def check_order(text: str, count: int) -> None:
    """Raise InvalidParameter if `text` names a hand beyond the `count` that were found.

    A picture without hands accepts any order.
    """
    highest = max(parse_order(text), default=0)
    if count and highest > count:
        raise InvalidParameter(
            f"occlusion_order = {show(text)} names hand {highest}, but this picture's hands are "
            f"numbered from 1 to {count}."
        )


def _check_drawn_mask(drawn: Mask | None, image_size: tuple[int, int], kind: str) -> None:
    if drawn is None and kind == "drawn":
        raise InvalidParameter(
            "mask = 'drawn' needs a mask that is drawn over the picture; draw one or choose "
            "box, silhouette or union."
        )
    if drawn is not None and drawn.shape != image_size:
        raise InvalidParameter(
            f"The drawn mask's (height, width) is {drawn.shape}; it must be the picture's, "
            f"{image_size}."
        )


def _distances(meshes: Sequence[HandMesh], image_size: tuple[int, int]) -> FloatArray:
    """Return (n,) metres from the viewer to each hand's origin, assuming hands of one length."""
    scales = np.array([mesh.camera.scale for mesh in meshes], dtype=np.float64)
    usable = np.isfinite(scales) & (scales > MIN_SCALE)
    return np.asarray(FOCAL_PER_SIDE * max(image_size) / np.where(usable, scales, MIN_SCALE))


def _join(hand_masks: Sequence[MaskedBox], image_size: tuple[int, int], drawn: Mask | None) -> Mask:
    """Return the union of all masks, and of what was drawn if there is a hand to paint."""
    joined = np.zeros(image_size, dtype=bool)
    for box, mask in hand_masks:
        joined[box.slices] |= mask
    if drawn is not None and joined.any():
        joined |= drawn
    return joined


MOST_PADDING = 512
"""Padding of the mask at most, in pixels of the region."""


def render_region(
    crop: RegionCrop,
    image: Image,
    meshes: Sequence[HandMesh],
    mask: Mask,
    renderer: Renderer,
    params: RefineParams,
) -> ControlMaps:
    """Return the maps of a region, each (crop.height, crop.width).

    Arguments:
        image: the whole picture (H, W, 3).
        meshes: those of the region, placed in the whole picture.
        mask: (H, W), what may change in the whole picture.
        params: `padding_bbox` is in pixels of the picture.
    """
    padding = min(round(params.padding_bbox * max(crop.scale)), MOST_PADDING)
    return build_maps(
        [crop.move_mesh(mesh) for mesh in meshes],
        (crop.height, crop.width),
        renderer,
        replace(params, padding_bbox=padding),
        drawn_mask=crop.take_mask(mask),
        image=crop.take(image),
    )
