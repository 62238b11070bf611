"""Drawn hands: told from photographs, painted in their own manner, never replaced by a draft."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from draft_scenes import PARAMS, make_scene, silhouette, with_texture

from handrefiner_ext.inpaint.draft import DraftInpainter, find_pen_of, is_drawing
from handrefiner_ext.inpaint.ink import Pen, find_pen
from handrefiner_ext.inpaint.study import study_hand
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.repaint.drafts import DRAWN, find_unfit
from handrefiner_ext.types import Agreement, Decision, Detection, Hints, Quality

INK, LIGHT, DARK = (40, 20, 25), (250, 220, 205), (225, 170, 160)
PHOTO = with_texture(make_scene())


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
    return is_drawing(scene.image, study_of(scene))


def study_of(scene):
    return study_hand(scene.image, scene.meshes[0], scene.maps, 0)


def shade(scene):
    """A drawing without outlines whose two tones run into each other."""
    flat = draw(scene, ink=None).image
    soft = cv2.GaussianBlur(flat, (0, 0), 4.0)
    return replace(scene, image=np.where(scene.old[..., None], soft, flat))


@pytest.mark.parametrize(
    "make", [draw, partial(draw, ink=None), shade], ids=["ink", "flat", "soft"]
)
def test_a_drawing_is_told_from_a_photograph_with_outlines_and_without(make):
    assert says_drawing(make(PHOTO))
    assert not says_drawing(PHOTO)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("quality", [95, 75])
def test_no_photograph_counts_as_drawn_blurred_or_saved_as_jpeg(sigma, quality):
    soft = cv2.GaussianBlur(PHOTO.image, (0, 0), sigma) if sigma else PHOTO.image
    saved = cv2.imencode(".jpg", soft, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    assert not says_drawing(replace(PHOTO, image=cv2.imdecode(saved, cv2.IMREAD_COLOR)))


def test_only_a_hand_with_lines_has_a_pen():
    assert find_pen_of(DRAWING.image, study_of(DRAWING)) is not None
    assert find_pen_of(shade(PHOTO).image, study_of(shade(PHOTO))) is None


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
    hints = Hints(Detection((), ()), scene.meshes, (), scene.maps)
    painted = DraftInpainter().paint(PaintRequest(scene.image, scene.meshes, scene.maps, PARAMS))
    judged = [decision] if scene.meshes[0].is_known else []
    return find_unfit(scene.image, painted, hints, judged, guards=True)


@pytest.mark.parametrize("score", [0.3, 0.6])
def test_the_draft_replaces_no_drawn_hand(score):
    assert decide_on(DRAWING, score) == {0: DRAWN}
    assert decide_on(shade(PHOTO), score) == {0: DRAWN}
    assert decide_on(PHOTO, score) == {}


def test_the_draft_paints_a_gesture_that_was_wished_over_a_well_drawn_hand():
    wished = replace(DRAWING, meshes=(replace(DRAWING.meshes[0], gesture="fist"),))
    assert decide_on(wished, 0.6) == {}
