"""The example picture that ships with the project, through the whole flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import ModelHome

EXAMPLE = Path(__file__).parent.parent / "examples" / "badly_drawn_hand.png"


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("ai_edge_litert", reason="needs the litert detector's package")
    picture = np.asarray(Image.open(EXAMPLE).convert("RGB"))
    params = RefineParams(detector="litert")
    return picture, refine(picture, params, build_stages(params, ModelHome()))


def test_the_example_is_small_enough_to_ship():
    assert EXAMPLE.stat().st_size <= 1 << 20


def test_its_one_hand_is_found_and_repainted_inside_the_mask(example):
    picture, result = example
    assert [d.refined for d in result.decisions] == [True]
    assert result.hints.meshes[0].handedness == "right"
    mask = result.hints.maps.mask
    np.testing.assert_array_equal(result.image[~mask], picture[~mask])


def test_its_sixth_finger_disappears(example):
    picture, result = example
    # The sixth finger lies between ring and little finger; skin is far redder than what is behind.
    place = (slice(225, 300), slice(160, 222))
    redness = [
        np.count_nonzero(np.subtract(*p[place].astype(int)[..., [0, 2]].transpose(2, 0, 1)) > 45)
        for p in (picture, result.image)
    ]
    assert redness[1] < 0.55 * redness[0]


def test_the_new_hand_agrees_with_its_mesh(example):
    _, result = example
    after = result.decisions[0].after
    assert after is not None
    assert after.mpjpe is not None
    assert after.mpjpe < 0.05
