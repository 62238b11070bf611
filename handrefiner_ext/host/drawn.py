"""The mask drawn by hand, in any of the forms in which the WebUI and its API hand it over."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from handrefiner_ext.errors import InvalidParameter, PictureError
from handrefiner_ext.pictures.decode import check_size
from handrefiner_ext.types import Mask

WHITE_FROM = 128
NOT_A_PICTURE = (binascii.Error, UnidentifiedImageError, OSError, TypeError, ValueError)
UNREADABLE = (
    "drawn_mask cannot be read; it must be a PNG or JPEG as base64 text, white where the hands may "
    "change."
)


def read_drawn_mask(drawn: object, picture_size: tuple[int, int]) -> Mask | None:
    """(H, W) mask of the picture; None where nothing is drawn.

    drawn: None, base64 text, array, picture, or gradio's sketch {"image", "mask"}.
    """
    if isinstance(drawn, Mapping):
        drawn = drawn.get("mask")
    if drawn is None or (isinstance(drawn, str) and not drawn):
        return None
    grey = _to_grey(_open(drawn))
    height, width = picture_size
    if grey.size != (width, height):
        grey = grey.resize((width, height), PillowImage.NEAREST)
    mask = np.asarray(grey) >= WHITE_FROM
    return mask if mask.any() else None


def _open(drawn: object) -> PillowImage.Image:
    if isinstance(drawn, PillowImage.Image):
        return drawn
    try:
        if isinstance(drawn, np.ndarray):
            return PillowImage.fromarray(_as_bytes(drawn))
        if isinstance(drawn, str):
            content = base64.b64decode(drawn.rpartition(",")[2], validate=True)
            image = PillowImage.open(io.BytesIO(content))
            check_size(image)
            image.load()
            return image
    except PictureError as error:
        raise InvalidParameter(f"drawn_mask {error}") from error
    except (PillowImage.DecompressionBombError, *NOT_A_PICTURE) as error:
        raise InvalidParameter(UNREADABLE) from error
    raise InvalidParameter(UNREADABLE)


def _as_bytes(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == np.uint8 else (np.asarray(array) > 0).astype(np.uint8) * 255


def _to_grey(image: PillowImage.Image) -> PillowImage.Image:
    """What is painted: alpha where the picture is partly transparent, else brightness."""
    if image.mode in ("RGBA", "LA", "PA"):
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            return alpha
    return image.convert("L")
