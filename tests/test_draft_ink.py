"""Drawn hands: told from photographs, painted in their own manner, replaced only if malformed."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from draft_scenes import PARAMS, make_scene, silhouette

from handrefiner_ext.inpaint.draft import DraftInpainter, is_drawing
from handrefiner_ext.inpaint.ink import Pen, find_pen
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.repaint import keep_best
from handrefiner_ext.repaint.deciding import find_drawings
from handrefiner_ext.types import Agreement, Decision, Quality

INK, LIGHT, DARK = (40, 20, 25), (250, 220, 205), (225, 170, 160)
PHOTO = make_scene()


def draw(scene, ink=INK):
    """The old hand of a scene in two flat tones with an outline."""
    old = scene.old.astype(np.uint8)
    image = np.ascontiguousarray(np.where(scene.old[..., None], LIGHT, (190, 215, 240)), np.uint8)
    image[scene.old & (np.arange(len(old))[:, None] > 0.85 * len(old))] = DARK
    contours, _ = cv2.findContours(old, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    if ink is not None:
        cv2.drawContours(image, contours, -1, ink, 1, cv2.LINE_AA)
    return replace(scene, image=image)


DRAWING = draw(PHOTO)


def says_drawing(scene):
    return is_drawing(scene.image, scene.meshes[0], scene.maps, 0)


def test_a_drawing_is_told_from_a_photograph_and_from_a_shape_without_outline():
    assert says_drawing(DRAWING)
    assert not says_drawing(PHOTO)
    assert not says_drawing(draw(PHOTO, ink=None))


def test_the_pen_has_the_colours_and_the_width_of_the_drawing():
    size = DRAWING.meshes[0].hand.size_px
    pen = find_pen(DRAWING.image.astype(np.float32) / 255, DRAWING.old, size)
    assert isinstance(pen, Pen)
    np.testing.assert_allclose(pen.colour * 255, INK, atol=45)
    np.testing.assert_allclose(pen.light * 255, LIGHT, atol=12)
    np.testing.assert_allclose(pen.dark * 255, DARK, atol=12)
    assert 0.8 <= pen.width * size <= 4.0


@pytest.mark.parametrize("scene", [DRAWING, PHOTO], ids=["drawing", "photograph"])
def test_a_drawing_gets_dark_lines_around_the_new_fingers_and_a_photograph_none(scene):
    out = DraftInpainter().paint(PaintRequest(scene.image, scene.meshes, scene.maps, PARAMS))
    new = silhouette(scene.meshes[0], scene.old.shape).astype(np.uint8)
    rim = (cv2.dilate(new, np.ones((3, 3))) - cv2.erode(new, np.ones((3, 3)))) > 0
    rim[round(scene.meshes[0].joints_2d[5:18:4, 1].min()) :] = False  # the fingers alone
    lightness = out[rim].mean(axis=-1)
    dark = float((lightness < 90).mean())
    assert dark > 0.25 if scene is DRAWING else dark < 0.1


def decide_on(scene, score):
    agreement = Agreement(0.02, 2.0, 1.0)
    quality = Quality(score, {})
    decision = Decision(0, True, "", agreement, agreement, quality_before=quality)
    return find_drawings(scene.image, scene.meshes, scene.maps, [decision])


def test_the_draft_replaces_drawn_hands_only_where_they_are_malformed():
    assert decide_on(DRAWING, 0.6) == {0: keep_best.WELL_DRAWN}
    assert decide_on(DRAWING, 0.3) == {}
    assert decide_on(PHOTO, 0.6) == {}


def test_the_draft_paints_a_gesture_that_was_wished_over_a_well_drawn_hand():
    wished = replace(DRAWING, meshes=(replace(DRAWING.meshes[0], gesture="fist"),))
    assert decide_on(wished, 0.6) == {}
