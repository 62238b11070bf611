"""Our depth of hands as a preprocessor of ControlNet, for workflows that people build."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext import weights
from handrefiner_ext.errors import BackendUnavailable, HandRefinerError
from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.mesh.graphormer.backend import find_files
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import hints
from handrefiner_ext.report import list_panel_lines
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import Image

logger = logging.getLogger(__name__)
Preprocess = Callable[[np.ndarray, int], Image]
OPEN, GRAPHORMER = "depth_hand_open", "depth_hand_graphormer"
MESHES = {OPEN: "open_hand", GRAPHORMER: "graphormer"}
"""Preprocessor -> the mesh whose depth it draws."""


def add_preprocessors() -> None:
    """Add ours to ControlNet's list, once; never break the WebUI's start."""
    for name in list_usable():
        try:
            the_host().add_preprocessor(name, partial(draw_depth, name))
        except Exception:
            logger.exception("HandRefiner could not add the preprocessor %s to ControlNet.", name)


def list_usable() -> list[str]:
    """Return the names of our preprocessors for which everything is there."""
    folder = read_model_home().models_dir
    try:
        find_files(lambda name: weights.find(name, folder))
    except BackendUnavailable:
        return [OPEN]
    return [OPEN, GRAPHORMER]


def draw_depth(name: str, picture: np.ndarray, resolution: int) -> Image:
    """Return the control image of the hands in `picture`, (h, w, 3) uint8; black without a hand.

    It is what the hand ControlNet was trained with: near is bright, 51 to 255 for each hand, 0
    outside. Whatever fails is logged, and the map is empty.

    picture: (H, W), or (H, W, n) of which the first three channels are RGB.
    resolution: shorter side of the result, as ControlNet asks; below 1, the picture's own.
    """
    image = _as_rgb(picture)
    height, width = image.shape[:2]
    factor = resolution / min(height, width) if resolution > 0 else 1.0
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # Hands are looked for where there is most to see, and drawn where there is most room.
    if factor > 1:
        image = _resize(image, size, cv2.INTER_LANCZOS4)
    control = _find_control(name, image)
    if control.shape != (size[1], size[0]):
        control = _resize(control, size, cv2.INTER_AREA)
    return np.repeat(control[..., None], 3, axis=2)


def _resize(image: np.ndarray, size: tuple[int, int], how: int) -> NDArray[np.uint8]:
    """Return a picture of uint8 at another size, (width, height)."""
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)


def _as_rgb(picture: np.ndarray) -> Image:
    channels = picture if picture.ndim == 3 else picture[..., None]
    if channels.shape[2] < 3:
        channels = np.repeat(channels[..., :1], 3, axis=2)
    return np.ascontiguousarray(channels[..., :3], dtype=np.uint8)


def _find_control(name: str, image: Image) -> NDArray[np.uint8]:
    """Return the control image of `image`, (H, W) uint8; log why it is empty, where it is."""
    params = RefineParams(mesh=MESHES[name])
    try:
        found = hints(image, params, build_stages(params, read_model_home()))
    except HandRefinerError as reason:
        logger.warning("%s gives an empty map: %s", name, reason)
    except Exception:
        logger.exception("%s gives an empty map, as it failed.", name)
    else:
        if not found.meshes:
            said = " ".join(list_panel_lines(found))
            logger.warning("%s gives an empty map: no hand could be fitted. %s", name, said)
        return found.maps.control
    return np.zeros(image.shape[:2], np.uint8)
