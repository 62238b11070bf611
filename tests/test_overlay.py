"""What the overlay shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_scenes import BOTH, make_stages, picture_with
from hypothesis import given, settings
from hypothesis import strategies as st

from handrefiner_ext import pipeline
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures.overlay import HAND_COLOURS, REFUSED, draw_overlay
from handrefiner_ext.types import Box, Refusal


def shown(image, colour):
    return (image == colour).all(axis=2)


def find(image, refused=()):
    hints = pipeline.hints(image, RefineParams(), make_stages())
    return replace(hints, refused=refused)


def test_without_hands_the_overlay_is_the_picture():
    image = picture_with(())
    np.testing.assert_array_equal(draw_overlay(image, find(image)), image)


def test_the_picture_itself_is_not_drawn_on():
    image = picture_with(BOTH)
    before = image.copy()
    assert not np.array_equal(draw_overlay(image, find(image)), before)
    np.testing.assert_array_equal(image, before)


def test_every_hand_has_a_colour_of_its_own_on_its_box():
    image = picture_with(BOTH, 400, 800)
    hints = find(image)
    overlay = draw_overlay(image, hints)
    for mesh, colour in zip(hints.meshes, HAND_COLOURS, strict=False):
        box = mesh.hand.box
        assert shown(overlay, colour)[box.y1 - 1, box.x0 : box.x1].mean() > 0.9
        assert shown(overlay, colour)[box.y0 : box.y1, box.x0].mean() > 0.9
    middle = shown(overlay, HAND_COLOURS[0])[:, 400:]
    assert not middle.any()


def test_bones_run_where_the_landmarks_are():
    image = picture_with(BOTH, 400, 800)
    hints = find(image)
    white = shown(draw_overlay(image, hints), (255, 255, 255))
    for mesh in hints.meshes:
        points = mesh.hand.landmarks
        for tip, base in ((12, 11), (8, 7), (6, 5)):  # halfway between two joints: no dot there
            x, y = (0.5 * (points[tip] + points[base])).astype(int)
            assert white[y - 1 : y + 2, x - 1 : x + 2].any()


def test_a_refused_box_is_shown_with_its_reason_in_another_colour():
    image = picture_with((), 400, 800)
    boxed = shown(
        draw_overlay(image, find(image, (Refusal(Box(500, 200, 600, 300), ""),))), REFUSED
    )
    told = shown(
        draw_overlay(image, find(image, (Refusal(Box(500, 200, 600, 300), "Too small. " * 5),))),
        REFUSED,
    )
    assert boxed[200:300, 500].mean() > 0.9
    assert told.sum() > boxed.sum() + 1000


@pytest.mark.parametrize("corner", [(0, 0), (0, 380), (780, 0), (780, 380)])
def test_a_reason_is_readable_in_every_corner(corner):
    x, y = corner
    image = picture_with((), 400, 800)
    refusal = Refusal(Box(x, y, x + 20, y + 20), "The box is too small.")
    areas = [
        shown(draw_overlay(image, find(image, (r,))), REFUSED).sum()
        for r in (refusal, replace(refusal, box=Box(400, 200, 420, 220)))
    ]
    assert areas[0] == pytest.approx(areas[1], rel=0.25)  # not cut off


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    box=st.tuples(*[st.integers(0, 300)] * 4),
    reason=st.text(max_size=60),
)
def test_any_size_box_and_reason_can_be_drawn(height, width, box, reason):
    image = np.full((height, width, 3), 100, dtype=np.uint8)
    x0, x1 = sorted((min(box[0], width), min(box[2], width)))
    y0, y1 = sorted((min(box[1], height), min(box[3], height)))
    hints = find(image, (Refusal(Box(x0, y0, x1, y1), reason),))
    overlay = draw_overlay(image, hints)
    assert (image == 100).all()
    assert (overlay.dtype, overlay.shape) == (image.dtype, image.shape)
    changed = (overlay != 100).any(axis=2)
    # What is drawn is the refusal's colour, black, or text that blends the two.
    red, green, blue = overlay[changed].astype(int).T
    assert (abs(green - blue) <= 1).all()
    assert (abs(64 * red - 255 * green) <= 2 * 255).all()
    if x1 > x0 and y1 > y0:
        corners = [(y, x) for y in (y0, y1 - 1) for x in (x0, x1 - 1)]
        assert all(changed[corner] for corner in corners)
