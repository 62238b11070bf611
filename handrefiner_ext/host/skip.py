"""img2img without sampling: the given picture goes through untouched, only its hands change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from modules import images, processing, sd_samplers, shared
from PIL import ImageOps

from handrefiner_ext.types import Mask

REPLACED = ("init", "sample")
GEOMETRY = ("width", "height", "resize_mode", "inpaint_full_res", "mask_for_overlay", "paste_to")
KEPT = "_handrefiner_geometry"


def pass_through(p: Any) -> None:
    """Make the run `p` give its own input, bit for bit; undone by `restore_sampling`."""
    picture = _flatten(p.init_images[0])
    setattr(p, KEPT, {name: getattr(p, name) for name in GEOMETRY})
    p.width, p.height = picture.size
    p.resize_mode, p.inpaint_full_res = 0, False
    p.init, p.sample = _make_init(p), _make_sample(p)


def restore_sampling(p: Any) -> None:
    """The run `p` as the WebUI made it; the batch tab uses it again."""
    for name, value in vars(p).pop(KEPT, {}).items():
        setattr(p, name, value)
    for name in REPLACED:
        vars(p).pop(name, None)


def is_passed_through(p: Any) -> bool:
    return hasattr(p, KEPT)


def _make_init(p: Any) -> Callable[..., None]:
    """No encoding, and no overlay: it would not give the same pixels back."""

    def init(all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None:
        p.sampler = sd_samplers.create_sampler(p.sampler_name, p.sd_model)
        p.extra_generation_params["Denoising strength"] = 0
        p.overlay_images = None
        p.mask_for_overlay = p.paste_to = None
        if len(p.init_images) > 1:
            p.batch_size = len(p.init_images)

    return init


def _make_sample(p: Any) -> Callable[..., Any]:
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


def _to_samples(picture: np.ndarray) -> Any:
    """(H, W, 3) uint8 -> (3, H, W) in -1…1, which the WebUI turns into the same bytes.

    It cuts off what follows the decimal point, so every value stands in the middle of its step.
    """
    values = (picture.astype(np.float64) + 0.5) / 255.0 * 2.0 - 1.0
    return torch.from_numpy(np.moveaxis(values, 2, 0).astype(np.float32))


def _flatten(image: Any) -> Any:
    return images.flatten(image, shared.opts.img2img_background_color)


def user_mask(p: Any, size: tuple[int, int]) -> Mask | None:
    """(H, W): where the user's inpaint mask lets the picture in work change; None = everywhere.

    In "only masked" runs the picture in work is a part of the whole one.
    """
    drawn = getattr(p, "image_mask", None)
    if drawn is None:
        return None
    if is_passed_through(p):
        mask = processing.create_binary_mask(drawn)
        if p.inpainting_mask_invert:
            mask = ImageOps.invert(mask)
    else:
        mask = getattr(p, "mask_for_overlay", None)
        if mask is None:
            return None
        if p.paste_to is not None:
            x, y, width, height = p.paste_to
            mask = mask.crop((x, y, x + width, y + height))
    mask = mask.convert("L")
    if mask.size != (size[1], size[0]):
        mask = mask.resize((size[1], size[0]))
    return np.asarray(mask) > 127
