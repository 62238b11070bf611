"""The user's own picture and masks: img2img without sampling, and both ways to draw a mask."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from modules import images, processing, sd_samplers, shared
from modules.processing import StableDiffusionProcessing, StableDiffusionProcessingImg2Img
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from handrefiner_ext.api.body import DEPTH_IN, DRAWN_MASK
from handrefiner_ext.errors import InvalidParameter, PictureError
from handrefiner_ext.host.sketch import split_sketch
from handrefiner_ext.pictures import read_mask, take_picture, to_depth
from handrefiner_ext.pictures.decode import check_size
from handrefiner_ext.types import Image, Mask

REPLACED = ("init", "sample")
GEOMETRY = ("width", "height", "resize_mode", "inpaint_full_res", "mask_for_overlay", "paste_to")
KEPT = "_handrefiner_geometry"
NOT_A_PICTURE = (binascii.Error, UnidentifiedImageError, OSError, TypeError, ValueError)
MASK_FORM = "white where the hands may change"
DEPTH_FORM = "grey, near bright, 0 where there is no hand"


def pass_through(p: StableDiffusionProcessingImg2Img) -> None:
    """Make the run `p` give its own input, bit for bit; undone by `restore_sampling`."""
    picture = _flatten(p.init_images[0])
    setattr(p, KEPT, {name: getattr(p, name) for name in GEOMETRY})
    p.width, p.height = picture.size
    p.resize_mode, p.inpaint_full_res = 0, False
    for name, method in zip(REPLACED, (_make_init(p), _make_sample(p)), strict=True):
        setattr(p, name, method)


def restore_sampling(p: StableDiffusionProcessing) -> None:
    """Undo `pass_through`, if it was done: the batch tab uses the run `p` again.

    Otherwise nothing is touched, since other extensions replace `sample` as well.
    """
    if not is_passed_through(p):
        return
    for name, value in vars(p).pop(KEPT).items():
        setattr(p, name, value)
    for name in REPLACED:
        vars(p).pop(name, None)


def is_passed_through(p: StableDiffusionProcessing) -> bool:
    return hasattr(p, KEPT)


def _make_init(p: StableDiffusionProcessingImg2Img) -> Callable[..., None]:
    """Return an `init` without encoding and overlay, which would not give the same pixels back."""

    def init(all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None:
        p.sampler = sd_samplers.create_sampler(p.sampler_name, p.sd_model)
        p.extra_generation_params["Denoising strength"] = 0
        p.overlay_images = None
        p.mask_for_overlay = p.paste_to = None
        if len(p.init_images) > 1:
            p.batch_size = len(p.init_images)

    return init


def _make_sample(p: StableDiffusionProcessingImg2Img) -> Callable[..., Any]:
    def sample(*args: Any, **kwargs: Any) -> Any:
        count = len(p.prompts)
        pictures = [_flatten(image) for image in p.init_images]
        decoded = processing.DecodedSamples()
        for number in range(count):
            picture = pictures[number % len(pictures)]
            if picture.size != (p.width, p.height):
                picture = images.resize_image(0, picture, p.width, p.height)
            decoded.append(_to_samples(np.asarray(picture)))
        return decoded

    return sample


def _to_samples(picture: Image) -> Any:
    """Return (3, H, W) in -1…1 from which the WebUI makes the same bytes again.

    picture: (H, W, 3) uint8. The WebUI rounds down, so each value lies in the middle of its step.
    """
    import torch

    values = (picture.astype(np.float64) + 0.5) / 255.0 * 2.0 - 1.0
    return torch.from_numpy(np.moveaxis(values, 2, 0).astype(np.float32))


def _flatten(image: PillowImage.Image) -> PillowImage.Image:
    return images.flatten(image, shared.opts.img2img_background_color)


def user_mask(p: StableDiffusionProcessing, size: tuple[int, int]) -> Mask | None:
    """Return where the user's inpaint mask allows changes, (H, W); None = everywhere.

    size: (height, width) of the picture in work, in "only masked" runs a part of the whole one.
    """
    drawn: PillowImage.Image | None = getattr(p, "image_mask", None)
    if drawn is None:
        return None
    mask = _passed_mask(p, drawn) if is_passed_through(p) else _working_mask(p)
    if mask is None:
        return None
    mask = mask.convert("L")
    if mask.size != (size[1], size[0]):
        mask = mask.resize((size[1], size[0]))
    return np.asarray(mask) > 127


def _passed_mask(p: Any, drawn: PillowImage.Image) -> PillowImage.Image:
    """Return the mask of a run that is passed through; the WebUI has not looked at it."""
    mask = processing.create_binary_mask(drawn)
    return ImageOps.invert(mask) if p.inpainting_mask_invert else mask


def _working_mask(p: Any) -> PillowImage.Image | None:
    """Return the WebUI's own mask, cut to the part that an "only masked" run works on."""
    mask: PillowImage.Image | None = getattr(p, "mask_for_overlay", None)
    if mask is None or p.paste_to is None:
        return mask
    x, y, width, height = p.paste_to
    return mask.crop((x, y, x + width, y + height))


def read_drawn_mask(drawn: object, picture_size: tuple[int, int]) -> Mask | None:
    """Read what was drawn as a mask of the picture, (H, W); None where nothing was given.

    A sketch on which nothing is painted counts as none; a mask that is black is one, and says that
    nothing may change. InvalidParameter for what is no mask.

    drawn: None, base64 text, array, picture, or gradio's sketch.
    """
    sketch = split_sketch(drawn)
    if sketch is not None:
        drawn = sketch.mask
        if isinstance(drawn, PillowImage.Image) and drawn.mode == "RGB" and not drawn.getbbox():
            return None  # seen sooner than read
    if drawn is None or (isinstance(drawn, str) and not drawn):
        return None
    opened = _open(drawn, DRAWN_MASK, MASK_FORM)
    try:
        mask = read_mask(take_picture(opened).pixels)
    except PictureError as error:
        raise InvalidParameter(f"drawn_mask {error}") from error
    if mask.shape != picture_size:
        size = (picture_size[1], picture_size[0])
        resized = PillowImage.fromarray(mask).resize(size, PillowImage.Resampling.NEAREST)
        mask = np.asarray(resized, dtype=bool)
    return None if sketch is not None and not mask.any() else mask


def read_depth_in(given: object, picture_size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Read a depth map of the user's own, (H, W); InvalidParameter for what is none.

    given: None, base64 text, array or picture.
    """
    if given is None or (isinstance(given, str) and not given):
        return None
    opened = given if isinstance(given, np.ndarray) else _open(given, DEPTH_IN, DEPTH_FORM)
    if isinstance(opened, PillowImage.Image) and opened.mode == "I":  # as the panel hands it over
        levels = np.asarray(opened)
        opened = np.clip(levels, 0, 65535).astype(np.uint16 if levels.max() > 255 else np.uint8)
    try:
        return to_depth(take_picture(opened, DEPTH_IN), *picture_size)
    except PictureError as error:
        raise InvalidParameter(str(error)) from error


def _open(given: object, name: str, form: str) -> PillowImage.Image:
    """Return a picture, whichever way it came. form: what it must look like, in words."""
    unreadable = f"{name} cannot be read; it must be a PNG or JPEG as base64 text, {form}."
    if isinstance(given, PillowImage.Image):
        return given
    try:
        if isinstance(given, np.ndarray):
            return PillowImage.fromarray(_as_bytes(given))
        if isinstance(given, str):
            content = base64.b64decode(given.rpartition(",")[2], validate=True)
            image = PillowImage.open(io.BytesIO(content))
            check_size(image)
            image.load()
            return image
    except PictureError as error:
        raise InvalidParameter(f"{name} {error}") from error
    except (PillowImage.DecompressionBombError, *NOT_A_PICTURE) as error:
        raise InvalidParameter(unreadable) from error
    raise InvalidParameter(unreadable)


def _as_bytes(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == np.uint8 else (np.asarray(array) > 0).astype(np.uint8) * 255
