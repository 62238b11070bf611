"""Another mesh where the depth map is bad: different ones, the same each time, wrapping around."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from detect_pictures import drawn

from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.hands.others import DIFFERENT, distance, find_others, mirror_depth
from handrefiner_ext.hands.readings import (
    NO_FALLBACKS,
    Backends,
    Fallbacks,
    reconstruct_well,
    take_for_other_side,
)
from handrefiner_ext.host.reports import describe
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import hints, refine
from handrefiner_ext.registry import DETECTORS, RECONSTRUCTORS, Registry
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.stages import Stages, choose_fallbacks
from handrefiner_ext.types import HandMesh, Refusal

PARAMS = RefineParams(tiles="off", mask_blur=0)


@dataclass
class Refuser:
    """A reconstructor that takes all hands at once and refuses each."""

    name: str = "refuser"

    def reconstruct(self, image, hand, params):
        return Refusal(hand.box, "It is too dark.")

    def reconstruct_all(self, hands, params):
        return tuple(self.reconstruct(image, hand, params) for image, hand in hands)


class Copyist:
    """Paints the picture as it is."""

    name = "copyist"

    def paint(self, request):
        return 255 - request.image


@pytest.fixture(scope="module")
def backends():
    return Backends(LitertDetector(), OpenHandReconstructor())


@pytest.fixture(scope="module")
def stages(backends):
    return Stages(backends.detector, backends.reconstructor, RasterRenderer(), Copyist())


@pytest.fixture(scope="module")
def image():
    return drawn(10_003, 512, 512, (256, 256, 220.0)).image


@pytest.fixture(scope="module")
def others(image, backends):
    (hand,) = backends.detector.detect(image, PARAMS).hands
    best = reconstruct_well(image, hand, backends, PARAMS)
    return find_others(image, hand, best, backends, PARAMS)


def mesh_of(stages, image, number):
    seen = hints(image, replace(PARAMS, another=number), stages)
    (mesh,) = seen.meshes
    return mesh, seen.notes


def test_all_meshes_of_a_hand_differ_and_the_best_comes_first(others, stages, image):
    assert len(others) >= 3
    apart = [distance(a, b) for n, a in enumerate(others) for b in others[:n]]
    assert min(apart) >= DIFFERENT
    best, notes = mesh_of(stages, image, 0)
    np.testing.assert_array_equal(best.vertices, others[0].vertices)
    assert notes == ()


@pytest.mark.parametrize("number", [1, 2, pytest.param(5, marks=pytest.mark.slow), 9])
def test_a_number_means_the_same_mesh_each_time_and_wraps_around(others, stages, image, number):
    mesh, (note,) = mesh_of(stages, image, number)
    place = number % len(others)
    np.testing.assert_array_equal(mesh.vertices, others[place].vertices)
    assert mesh.hand.number == 1
    assert f"Hand 1 has {len(others)} different meshes" in note
    assert (f"wraps around to number {place}" in note) == (number >= len(others))


def test_the_reading_mirrored_in_depth_looks_the_same_and_swaps_near_and_far(others):
    hand = others[0].hand
    mirrored = OpenHandReconstructor().reconstruct(
        np.zeros((512, 512, 3), np.uint8), mirror_depth(hand), replace(PARAMS, outline=False)
    )
    straight = OpenHandReconstructor().reconstruct(
        np.zeros((512, 512, 3), np.uint8), hand, replace(PARAMS, outline=False)
    )
    assert mirrored.handedness != hand.handedness
    np.testing.assert_allclose(mirrored.joints_2d, straight.joints_2d, atol=0.5)
    depth = straight.joints[:, 2] * straight.camera.scale
    turned = mirrored.joints[:, 2] * mirrored.camera.scale
    np.testing.assert_allclose(turned, -depth, atol=1.0)
    assert distance(mirrored, straight) > DIFFERENT


def test_another_reconstructor_steps_in_and_is_named(image, stages):
    chosen = Refuser()
    fallbacks = choose_fallbacks(stages.detector, chosen, PARAMS, Registry.build)
    asked = replace(stages, reconstructor=chosen, fallbacks=fallbacks)
    seen = hints(image, PARAMS, asked)
    assert [mesh.backend for mesh in seen.meshes] == ["open_hand"]
    assert seen.notes == (
        "Hand 1: open_hand stepped in for refuser, which refused it: It is too dark.",
    )
    assert "open_hand stepped in" in describe(refine(image, PARAMS, asked)).words
    without = hints(image, PARAMS, replace(asked, fallbacks=NO_FALLBACKS))
    assert [refusal.number for refusal in without.refused] == [1]


def test_fallbacks_are_other_detectors_under_auto_only_and_built_where_they_can_be(stages):
    fallbacks = choose_fallbacks(stages.detector, stages.reconstructor, PARAMS, Registry.build)
    assert fallbacks.detector_names == ("mediapipe",)
    assert fallbacks.reconstructors == ()
    named = choose_fallbacks(
        stages.detector, stages.reconstructor, replace(PARAMS, detector="litert"), Registry.build
    )
    assert named.detectors == ()

    def refuse(registry, name):
        raise BackendUnavailable(f"{registry.kind} {name} is not here.")

    assert choose_fallbacks(stages.detector, Refuser(), PARAMS, refuse).detectors == ()
    built = choose_fallbacks(stages.detector, Refuser(), PARAMS, lambda registry, name: name)
    assert (built.detectors, built.reconstructors) == (("mediapipe",), ("open_hand",))
    assert {DETECTORS.kind, RECONSTRUCTORS.kind} == {"detector", "mesh"}


def test_a_doubtful_hand_is_shown_to_a_fallback_detector(image, backends):
    (hand,) = backends.detector.detect(image, PARAMS).hands
    points = np.random.default_rng(0).uniform(100, 400, (21, 2))
    misread = replace(hand, landmarks=points)

    class Blind:
        name = "blind"

        def reread(self, image, hand, params):
            return ()

    class Seeing(Blind):
        def reread(self, image, _, params):
            return (hand,)

    fallbacks = Fallbacks(("seeing",), (), lambda registry, name: Seeing())
    alone = reconstruct_well(image, misread, Backends(Blind(), backends.reconstructor), PARAMS)
    assert isinstance(alone, Refusal)
    helped = Backends(Blind(), backends.reconstructor, fallbacks)
    found = reconstruct_well(image, misread, helped, PARAMS)
    assert found.hand is hand


@pytest.mark.parametrize("seed", [10_002, 10_004, 10_005])
def test_a_wrong_side_is_mended_and_a_right_one_stays(backends, seed):
    scene = drawn(seed, 512, 512, (256, 256, 240.0))
    truth = scene.hands[0].mesh.handedness
    (hand,) = backends.detector.detect(scene.image, PARAMS).hands
    unsure = replace(hand, handedness=truth, handedness_score=0.6)
    for reading in (unsure, take_for_other_side(unsure)):
        found = reconstruct_well(scene.image, reading, backends, PARAMS)
        assert isinstance(found, HandMesh)
        assert found.handedness == truth


def test_a_sure_side_is_believed(image, backends):
    (hand,) = backends.detector.detect(image, PARAMS).hands
    wrong = replace(take_for_other_side(hand), handedness_score=0.99)

    class Own:
        name = "own"

        def reread(self, image, hand, params):
            return ()

    asked = Backends(Own(), backends.reconstructor)
    found = reconstruct_well(image, wrong, asked, PARAMS)
    assert isinstance(found, Refusal) or found.handedness == wrong.handedness


def test_a_mended_side_is_said(image, stages, monkeypatch):
    (hand,) = stages.detector.detect(image, PARAMS).hands
    wrong = replace(take_for_other_side(hand), handedness_score=0.6)
    detect = type(stages.detector).detect

    def misread(self, image, params):
        return replace(detect(self, image, params), hands=(wrong,))

    monkeypatch.setattr(type(stages.detector), "detect", misread)
    seen = hints(image, PARAMS, stages)
    assert [mesh.handedness for mesh in seen.meshes] == [hand.handedness]
    (note,) = seen.notes
    assert note == (
        f"Hand 1: it looked like a {wrong.handedness} hand, but a {hand.handedness} one fits "
        "better."
    )
