"""Boxes that the user gives: text -> boxes in the picture."""

from __future__ import annotations

import math

import numpy as np

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.geometry.boxes import area, clip
from handrefiner_ext.types import Box, Refusal


def parse_boxes(text: str) -> tuple[Box, ...]:
    """ "x0,y0,x1,y1;x0,y0,x1,y1" in pixels -> boxes, corners put in order.

    Raises InvalidParameter that names the right form.
    """
    return tuple(_parse_box(part, text) for part in text.split(";") if part.strip())


def _parse_box(part: str, text: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(word) for word in part.split(","))
        low, high = np.sort([[x0, y0], [x1, y1]], axis=0)
        return Box(*map(math.floor, low), *map(math.ceil, high))
    except (ValueError, OverflowError) as error:
        raise InvalidParameter(
            f"boxes = {text!r} is not possible; write four numbers in pixels for each hand, such "
            'as "10,20,110,140;200,50,300,160".'
        ) from error


def clip_boxes(
    boxes: tuple[Box, ...], height: int, width: int
) -> tuple[tuple[Box, ...], tuple[Refusal, ...]]:
    """(boxes clipped to the picture, refusals of those that have no pixel in it)."""
    clipped = [clip(box, height, width) for box in boxes]
    refused = [
        Refusal(inside, f"The box {box.x0},{box.y0},{box.x1},{box.y1} lies outside of the picture.")
        for box, inside in zip(boxes, clipped, strict=True)
        if area(inside) == 0
    ]
    return tuple(box for box in clipped if area(box)), tuple(refused)
