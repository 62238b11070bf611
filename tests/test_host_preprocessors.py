"""The preprocessors of ControlNet that draw the depth of hands."""

from __future__ import annotations

import numpy as np
import pytest
from host_runs import BRIGHT

from handrefiner_ext.host import preprocessors
from handrefiner_ext.host.preprocessors import OPEN, draw_depth, list_usable
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import hints
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import ModelHome


def sides(control):
    return control.shape[1], control.shape[0]


@pytest.mark.parametrize(
    ("resolution", "size"), [(512, (1024, 512)), (128, (256, 128)), (-1, None)]
)
def test_the_shorter_side_is_as_controlnet_asks(webui, resolution, size):
    control = draw_depth(OPEN, BRIGHT, resolution)
    assert sides(control) == (size or sides(BRIGHT))
    assert control.dtype == np.uint8
    assert control.shape[2] == 3
    assert control.any()


def test_the_map_is_what_the_second_pass_is_given(webui):
    params = RefineParams(mesh="open_hand")
    expected = hints(BRIGHT, params, build_stages(params, ModelHome())).maps.control
    assert expected.any()
    for channel in np.moveaxis(draw_depth(OPEN, BRIGHT, 256), 2, 0):
        assert np.array_equal(channel, expected)


def test_a_grey_picture_and_one_with_alpha_are_read(webui):
    grey = BRIGHT.mean(axis=2).astype(np.uint8)
    alpha = np.dstack([BRIGHT, np.zeros(BRIGHT.shape[:2], np.uint8)])
    assert np.array_equal(draw_depth(OPEN, alpha, 256), draw_depth(OPEN, BRIGHT, 256))
    assert sides(draw_depth(OPEN, grey, 256)) == sides(BRIGHT)


def test_without_a_hand_the_map_is_empty_and_the_log_says_so(webui, caplog):
    control = draw_depth(OPEN, np.zeros((64, 96, 3), np.uint8), 128)
    assert sides(control) == (192, 128)
    assert not control.any()
    assert "no hand" in caplog.text


def test_a_failure_costs_no_generation(webui, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr(preprocessors, "hints", fail)
    assert not draw_depth(OPEN, BRIGHT, 128).any()
    assert "no luck" in caplog.text


def test_graphormers_is_offered_only_where_its_files_are(webui):
    assert list_usable() == [OPEN]
