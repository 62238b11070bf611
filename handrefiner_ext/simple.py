"""Offer `hints` and `refine` to scripts and notebooks: a picture in, a picture out, one call each.

    from handrefiner_ext import refine
    result = refine("picture.png", mask="silhouette")
    result.save("refined.png")

The parameters have the same names as on the command line (`RefineParams`). The networks are kept
between calls.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext import pipeline
from handrefiner_ext.api.body import DEPTH_IN, DRAWN_MASK, check_names, read_parameters
from handrefiner_ext.hands.posed import describe_openpose, describe_poses
from handrefiner_ext.knobs import CLI, WEBUI
from handrefiner_ext.params import RefineParams, fields_of
from handrefiner_ext.pictures import (
    Picture,
    encode_as,
    encode_map,
    encode_picture,
    read_file,
    take_picture,
    to_depth,
    to_mask,
    write_atomically,
)
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import Hints, Image, Mask, ModelHome, RefineResult

NAMES = tuple(dict.fromkeys(f.name for surface in (CLI, WEBUI) for f in fields_of(surface)))
HOME = ("models_dir", "device", "dtype")


@dataclass(frozen=True)
class Found(Hints):
    """The hands of a picture; a notebook shows them drawn over it. image: (H, W, 3) uint8."""

    image: Image = None  # type: ignore[assignment]  # the fields before it have defaults, too

    @property
    def pose(self) -> dict[str, Any]:
        """The hands as a pose, which `pose=` takes again after it was changed."""
        return describe_poses(self.meshes, *self.image.shape[:2])

    @property
    def openpose(self) -> dict[str, Any]:
        """The hands' keypoints in OpenPose's form."""
        return describe_openpose(self.meshes, *self.image.shape[:2])

    @property
    def overlay(self) -> Image:
        """The picture with boxes, landmarks and meshes, (H, W, 3) uint8."""
        return draw_overlay(self.image, self)

    def _repr_png_(self) -> bytes:
        return encode_map(self.overlay)


@dataclass(frozen=True)
class Refined(RefineResult):
    """The picture kept, and why; a notebook shows it. image: (H, W, 3) uint8."""

    source: Picture | None = None

    def save(self, path: str | os.PathLike[str], quality: int | None = None) -> None:
        """Write a PNG, JPEG or WebP, as the name says, with the source's transparency and metadata.

        quality: 1 to 100, of JPEG and WebP; None = as the source, where it has the same format.
        """
        place = Path(path)
        data = encode_as(self._source, self.image, place.suffix or ".png", quality)
        write_atomically(place, data)

    def _repr_png_(self) -> bytes:
        return encode_picture(self._source, self.image)

    @property
    def _source(self) -> Picture:
        return take_picture(self.image) if self.source is None else self.source


def hints(
    image: Any,
    *,
    drawn_mask: Any = None,
    pose_file: Any = None,
    depth_in: Any = None,
    **parameters: Any,
) -> Found:
    """Find the hands of a picture: meshes, depth and mask, without painting.

    Arguments:
        image: a path, a PIL picture, or an array (H, W) or (H, W, 1 to 4) of uint8 or uint16: grey,
            grey and alpha, RGB or RGBA.
        drawn_mask: for mask="drawn" or "union": a path, a PIL picture, or an array (H, W) of bool,
            of 0 and 1, or of 0 and 255.
        pose_file: a JSON file with the hands, instead of a search: a pose of HandRefiner, or
            OpenPose's. `pose` takes its text, or the same as a dict.
        depth_in: a depth map of your own instead of a search, in the same forms as the picture:
            grey, near is bright, 0 where there is no hand; scaled to the picture, else used as it
            is.
        parameters: by the names of `RefineParams`, and models_dir, device and dtype as for the
            command line. Lists may be given as lists: boxes=[(10, 20, 80, 90)], hands=[1, 2].

    Raises InvalidParameter or PictureError, which say what is wrong and what is allowed.
    """
    params, stages = _prepare(parameters, pose_file)
    picture = take_picture(image)
    drawn, depth = _take_mask(drawn_mask, picture), _take_depth(depth_in, picture)
    seen = pipeline.hints(picture.image, params, stages, drawn, depth)
    return Found(**vars(seen), image=picture.image)


def refine(
    image: Any,
    *,
    drawn_mask: Any = None,
    pose_file: Any = None,
    depth_in: Any = None,
    **parameters: Any,
) -> Refined:
    """Repaint the badly drawn hands of a picture; arguments as for `hints`."""
    params, stages = _prepare(parameters, pose_file)
    picture = take_picture(image)
    drawn, depth = _take_mask(drawn_mask, picture), _take_depth(depth_in, picture)
    result = pipeline.refine(picture.image, params, stages, drawn, depth)
    return Refined(**vars(result), source=picture)


def _take_mask(given: Any, picture: Picture) -> Mask | None:
    """Return the mask drawn by hand, (H, W), of whatever was given."""
    if given is None:
        return None
    if isinstance(given, np.ndarray) and given.ndim == 2 and given.dtype == np.bool_:
        return given
    if isinstance(given, np.ndarray) and given.size and given.max() <= 1:
        given = given > 0
    height, width = picture.image.shape[:2]
    return to_mask(take_picture(given, DRAWN_MASK), height, width)


def _take_depth(given: Any, picture: Picture) -> NDArray[np.uint8] | None:
    """Return a depth map, (H, W), of whatever was given."""
    height, width = picture.image.shape[:2]
    return None if given is None else to_depth(take_picture(given, DEPTH_IN), height, width)


def _write_list(value: Any) -> Any:
    """Return lists as the text in which parameters are written: 1,2 or x0,y0,x1,y1;x0,…"""
    if isinstance(value, dict):  # a pose
        return json.dumps(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return value
    inner = [_write_list(part) for part in value]
    nested = any(isinstance(part, (list, tuple, np.ndarray)) for part in value)
    return (";" if nested else ",").join(
        format(part, "g") if isinstance(part, float) else str(part) for part in inner
    )


def _prepare(parameters: dict[str, Any], pose_file: Any) -> tuple[RefineParams, Stages]:
    if pose_file is not None:
        parameters = {**parameters, "pose": read_file(Path(pose_file)).decode("utf-8-sig")}
    values = check_names(parameters, (*NAMES, *HOME))
    home: dict[str, Any] = {name: values.pop(name, None) for name in HOME}
    folder = home["models_dir"]
    params = read_parameters({name: _write_list(value) for name, value in values.items()})
    place = ModelHome(
        None if folder is None else Path(folder),
        home["device"],
        keep_on_device=True,
        dtype=home["dtype"],
    )
    return params, build_stages(params, place)
