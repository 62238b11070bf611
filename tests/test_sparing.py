"""Faces, and hands that are not repainted, stay out of the masks of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hand_scenes import (
    BOTH,
    BrightDetector,
    FloodPainter,
    PlateReconstructor,
    make_stages,
    picture_with,
)

from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import hints, refine
from handrefiner_ext.types import Box

PARAMS = RefineParams(padding_bbox=60, mask_blur=0, keep_best=False)


@dataclass
class FaceDetector(BrightDetector):
    """Sees a face, too."""

    face: Box | None = None

    def detect(self, image, params):
        return replace(super().detect(image, params), faces=(self.face,))


@pytest.fixture
def image():
    return picture_with(BOTH, height=200, width=400)


def silhouette(maps, number):
    layer = maps.layers[number]
    whole = np.zeros(maps.mask.shape, dtype=bool)
    whole[layer.box.slices] = np.isfinite(layer.depth)
    return whole


def test_a_face_beside_a_hand_is_not_painted_and_the_user_is_told(image):
    plain = hints(image, PARAMS, make_stages())
    face = Box(0, 0, 60, 200)
    assert plain.maps.mask[face.slices].any()
    stages = make_stages(detector=FaceDetector(face=face))
    seen = hints(image, PARAMS, stages)
    assert not (seen.maps.mask[face.slices] & ~silhouette(seen.maps, 0)[face.slices]).any()
    assert "The mask leaves out a face beside hand 1." in seen.notes
    result = refine(image, PARAMS, stages)
    np.testing.assert_array_equal(result.image[face.slices], image[face.slices])
    assert result.decisions[0].refined


def test_ears_and_hair_around_a_face_are_not_painted_either(image):
    face = Box(0, 50, 40, 150)
    ear = Box(40, 50, 50, 150)
    plain = hints(image, PARAMS, make_stages())
    assert plain.maps.mask[ear.slices].any()
    seen = hints(image, PARAMS, make_stages(detector=FaceDetector(face=face)))
    assert not (seen.maps.mask[ear.slices] & ~silhouette(seen.maps, 0)[ear.slices]).any()


def test_what_is_much_smaller_than_a_hand_is_no_face(image):
    plain = hints(image, PARAMS, make_stages())
    size = min(mesh.size_px for mesh in plain.meshes)
    side = int(0.15 * size)
    assert side > 0
    seen = hints(
        image, PARAMS, make_stages(detector=FaceDetector(face=Box(20, 60, 20 + side, 60 + side)))
    )
    np.testing.assert_array_equal(seen.maps.mask, plain.maps.mask)
    assert not seen.notes


def test_what_the_new_hand_covers_stays_paintable_in_front_of_a_face(image):
    seen = hints(image, PARAMS, make_stages(detector=FaceDetector(face=Box(0, 0, 400, 200))))
    for number in range(2):
        covered = silhouette(seen.maps, number)
        assert covered.any()
        assert seen.maps.mask[covered].all()
    plain = hints(image, PARAMS, make_stages())
    assert seen.maps.mask.sum() < plain.maps.mask.sum()


def test_a_face_elsewhere_changes_nothing(image):
    plain = hints(image, PARAMS, make_stages())
    seen = hints(image, PARAMS, make_stages(detector=FaceDetector(face=Box(195, 0, 199, 3))))
    np.testing.assert_array_equal(seen.maps.mask, plain.maps.mask)
    assert seen.notes == plain.notes


def test_a_hand_that_was_left_out_is_not_painted_over(image):
    params = replace(PARAMS, padding_bbox=200, hands="1")
    seen = hints(image, params, make_stages())
    other = hints(image, replace(params, hands="2"), make_stages()).meshes[0].hand.box
    assert not seen.maps.mask[other.slices].any()
    assert "The mask leaves out another hand beside hand 1." in seen.notes


def test_a_hand_without_a_mesh_is_not_painted_over(image):
    stages = make_stages(reconstructor=PlateReconstructor(refuses="left"))
    seen = hints(image, replace(PARAMS, padding_bbox=200), stages)
    (refusal,) = seen.refused
    assert not seen.maps.mask[refusal.box.slices].any()


def test_who_wants_it_all_painted_gets_it(image):
    params = replace(PARAMS, padding_bbox=200, hands="1", guard=False)
    stages = make_stages(detector=FaceDetector(face=Box(0, 0, 60, 200)))
    seen = hints(image, params, stages)
    guarded = hints(image, replace(params, guard=True), stages)
    assert (seen.maps.mask & ~guarded.maps.mask).sum() > 1000
    assert not any("leaves out" in note for note in seen.notes)
    assert any("leaves out" in note for note in guarded.notes)


def test_a_drawn_mask_is_the_users_word(image):
    drawn = np.ones(image.shape[:2], dtype=bool)
    stages = make_stages(detector=FaceDetector(face=Box(0, 0, 60, 200)), inpainter=FloodPainter())
    seen = hints(image, replace(PARAMS, mask="drawn"), stages, drawn)
    assert seen.maps.mask.all()
