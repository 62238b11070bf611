"""Depth maps of the user's own: near is bright, 0 where there is no hand.

Grey of 8 or 16 bits is read, also as RGB or with transparency, which is empty. What has colours, or
shows more than hands, is refused: a photograph or the depth of a whole scene would have nearly all
of the picture repainted.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import PictureError
from handrefiner_ext.geometry.boxes import resize_grey
from handrefiner_ext.pictures.decode import Pixels
from handrefiner_ext.pictures.picture import Picture

COLOURED = 24
"""Distance of the channels, of 255, that JPEG does not cause in a grey picture."""
MOST_COLOURED = 0.002
MOST_COVERED = 0.8
"""Share of the picture that hands can cover."""
INSTEAD = "give a grey picture in which the hands alone are drawn, near bright, 0 elsewhere"


def to_depth(picture: Picture, height: int, width: int) -> NDArray[np.uint8]:
    """Return a depth map as the control image (H, W) that it will be.

    One of another size is scaled (`resize_grey`). PictureError where it is no depth map.
    """
    try:
        grey = _read_grey(picture.pixels)
    except PictureError as error:
        raise PictureError(f"{picture.path.name} {error}") from error
    return resize_grey(grey, width, height)


def _read_grey(pixels: Pixels) -> NDArray[np.uint8]:
    """Return 8 bits for each of (H, W, C) pixels; PictureError without its subject."""
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    if colours.dtype == np.uint16:
        colours = np.asarray(np.ceil(colours / 257), dtype=np.uint8)  # 1 is not empty
    if colours.shape[2] == 3:
        planes = cv2.split(np.ascontiguousarray(colours))
        least, most = (pick(pick(*planes[:2]), planes[2]) for pick in (cv2.min, cv2.max))
        if float((cv2.subtract(most, least) > COLOURED).mean()) > MOST_COLOURED:
            raise PictureError(f"is a coloured picture, not a depth map; {INSTEAD}.")
        colours = planes[1][..., None]
    grey = np.array(colours[..., 0])
    if pixels.shape[2] in (2, 4):
        grey[pixels[..., -1] == 0] = 0
    covered = float((grey > 0).mean())
    if covered > MOST_COVERED:
        raise PictureError(
            f"covers {covered:.0%} of the picture and does not say where the hands are; {INSTEAD}."
        )
    return grey
