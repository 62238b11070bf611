"""Requests for tests of host/ on the stand-in of the WebUI."""

from __future__ import annotations

import numpy as np
import stand_in
from hand_scenes import BOTH, picture_with
from modules import errors, processing

BRIGHT = picture_with(BOTH, height=256, width=512)
"""Two hands, left and right, for the tiny detector; its sizes are multiples of 8."""
PLAIN = {"enabled": True, "keep_best": False, "region_size": 256}
"""Small regions, for speed."""


def run(request):
    """Return what came of a request; an exception that the host swallowed fails the test."""
    done = processing.process_images(request)
    assert errors.reported == []
    return done


def arrays(processed):
    return [stand_in.to_array(image) for image in processed.images]


def differs(a, b):
    """(H, W): where two pictures differ."""
    return (np.asarray(a) != np.asarray(b)).any(axis=2)


def hands_of(text):
    """What the infotext says about the hands; empty where nothing."""
    found = text.partition("HandRefiner hands: ")[2]
    if found.startswith('"'):
        return found[1:].partition('"')[0]
    return found.partition(",")[0]
