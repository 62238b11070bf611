"""Whatever comes in, `hints` and `refine` with the embedded backends return or refuse."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hand_scenes import flat_landmarks, make_hand, make_mesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handrefiner_ext import pipeline
from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.files.outputs import describe
from handrefiner_ext.inpaint.draft import DraftInpainter
from handrefiner_ext.mesh.open_hand.backend import OpenHandReconstructor
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import Box, Detection, Hand, ModelHome, WeakPerspective

MASKS = st.sampled_from(["box", "silhouette", "union"])
LENGTHS = st.sampled_from([1, 2, 3, 17, 64, 200])
NUMBERS = st.floats(width=32) | st.floats(-300, 500)


@dataclass
class GivenHands:
    """Sees the hands that it was made with."""

    hands: tuple[Hand, ...]
    name: str = field(default="given")

    def detect(self, image, params):
        return Detection(self.hands)

    def redetect(self, image, hands, params):
        return hands

    def reread(self, image, hand, params):
        return ()

    def examine(self, image, hand, views, params):
        return (hand,) * len(views)


@cache
def reconstructor():
    return OpenHandReconstructor()


def make_stages(hands):
    return Stages(GivenHands(tuple(hands)), reconstructor(), RasterRenderer(), DraftInpainter())


def make_image(height, width, kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "ramp":
        ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
        return ramp.astype(np.uint8)
    return np.full((height, width, 3), {"black": 0, "white": 255}[kind], dtype=np.uint8)


@st.composite
def any_hand(draw):
    """A hand at any place, of any size and shape, up to landmarks that are no numbers."""
    if draw(st.booleans()):
        landmarks = np.array(draw(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=21, max_size=21)))
    else:
        centre = draw(st.tuples(st.floats(-100, 300), st.floats(-100, 300)))
        landmarks = flat_landmarks(centre, draw(st.sampled_from([0.0, 0.5, 5.0, 60.0, 900.0])))
    corners = draw(st.tuples(*[st.integers(0, 200)] * 4))
    box = Box(
        *(min(corners[i], corners[i + 2]) for i in (0, 1)), max(corners[::2]), max(corners[1::2])
    )
    world = np.column_stack([flat_landmarks(size=0.1), np.zeros(21)])
    if draw(st.booleans()):
        world[draw(st.integers(0, 20))] = draw(st.tuples(NUMBERS, NUMBERS, NUMBERS))
    side = draw(st.sampled_from(["left", "right"]))
    return Hand(side, 0.9, 0.9, box, landmarks.astype(np.float64), np.zeros(21), world)


def check(image, result):
    maps, size = result.hints.maps, image.shape[:2]
    assert result.image.shape == image.shape
    assert result.image.dtype == np.uint8
    assert maps.control.shape == maps.mask.shape == maps.owner.shape == size
    np.testing.assert_array_equal(result.image[~maps.mask], image[~maps.mask])
    assert maps.mask[maps.control > 0].all()
    for layer in maps.layers:
        assert 0 <= layer.box.x0 <= layer.box.x1 <= size[1]
        assert 0 <= layer.box.y0 <= layer.box.y1 <= size[0]
        assert not np.isnan(layer.depth).any()
    for mesh in result.hints.meshes:
        assert np.isfinite(mesh.vertices).all()
        assert np.isfinite(mesh.joints_2d).all()
        assert np.isfinite(mesh.reprojection_error)
    for refusal in (*result.hints.detection.refused, *result.hints.refused):
        assert refusal.reason


def refine_or_refuse(image, params, stages):
    before = image.copy()
    try:
        result = pipeline.refine(image, params, stages)
    except HandRefinerError:
        result = None
    np.testing.assert_array_equal(image, before)
    if result is not None:
        check(image, result)
    return result


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.tuples(LENGTHS, LENGTHS),
    kind=st.sampled_from(["noise", "ramp", "black", "white"]),
    hands=st.lists(any_hand(), max_size=3),
    mask=MASKS,
    padding=st.sampled_from([0, 1, 30, 512]),
    blur=st.sampled_from([0, 8, 64]),
)
def test_any_landmarks_in_any_picture(size, kind, hands, mask, padding, blur):
    params = RefineParams(mask=mask, padding_bbox=padding, mask_blur=blur)
    refine_or_refuse(make_image(*size, kind), params, make_stages(hands))


@pytest.fixture(scope="module")
def real_stages():
    return build_stages(RefineParams(detector="litert"), ModelHome())


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.tuples(LENGTHS, LENGTHS),
    kind=st.sampled_from(["noise", "ramp", "black", "white"]),
    corners=st.lists(st.tuples(*[st.integers(-50, 250)] * 4), max_size=2),
    tiles=st.sampled_from(["off", "auto", "on"]),
    threshold=st.sampled_from([0.1, 0.5]),
)
def test_any_box_in_any_picture(real_stages, size, kind, corners, tiles, threshold):
    params = RefineParams(
        boxes=";".join(",".join(map(str, c)) for c in corners),
        tiles=tiles,
        detection_threshold=threshold,
        presence_threshold=threshold,
        min_hand_size=1,
    )
    refine_or_refuse(make_image(*size, kind), params, real_stages)


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        ((48, 4096), "off"),
        ((48, 4096), "on"),
        ((4096, 48), "off"),
        pytest.param((4096, 48), "on", marks=pytest.mark.slow),
    ],
)
def test_a_very_long_picture_is_handled_in_bounded_memory(real_stages, size, tiles):
    image = make_image(*size, "noise")
    tracemalloc.start()
    params = RefineParams(tiles=tiles, boxes="0,0,48,48;4000,0,4096,48" if tiles == "off" else "")
    result = refine_or_refuse(image, params, real_stages)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result is not None
    assert peak < 200e6


def test_a_hand_much_larger_than_the_picture_is_handled_in_bounded_memory():
    image = make_image(100, 100, "noise")
    world = np.column_stack([flat_landmarks(size=0.1), np.zeros(21)])
    landmarks = flat_landmarks((50, 50), 1e6)
    hand = Hand("right", 0.9, 0.9, Box(0, 0, 100, 100), landmarks, np.zeros(21), world)
    tracemalloc.start()
    refine_or_refuse(image, RefineParams(), make_stages([hand]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


DEGENERATE = {
    "point": lambda v: v * 0.0,
    "flat": lambda v: v * (1.0, 1.0, 0.0),
    "edge on": lambda v: v * (1.0, 0.0, 1.0),
    "not a number": lambda v: v * np.nan,
    "one vertex is no number": lambda v: np.where(np.arange(len(v))[:, None] == 3, np.inf, v),
    "huge": lambda v: v * 1e30,
}


@dataclass
class DegenerateReconstructor:
    """Answers every hand with a mesh that is none."""

    kind: str
    camera: WeakPerspective | None = None
    name: str = "degenerate"

    def reconstruct(self, image, hand, params):
        mesh = make_mesh(hand)
        vertices = DEGENERATE[self.kind](mesh.vertices)
        return replace(mesh, vertices=vertices, camera=self.camera or mesh.camera)


@pytest.mark.parametrize("kind", list(DEGENERATE))
@pytest.mark.parametrize("scale", [None, 0.0, 1e12, float("nan")])
def test_a_degenerate_mesh_costs_no_picture(kind, scale):
    image = make_image(120, 200, "noise")
    camera = None if scale is None else WeakPerspective(scale, 50.0, 50.0)
    stages = replace(
        make_stages([make_hand((60, 60), 50, image.shape)]),
        reconstructor=DegenerateReconstructor(kind, camera),
    )
    result = pipeline.refine(image, RefineParams(), stages)
    check(image, result)
    said = json.dumps(describe(Path("a.png"), image, result.hints), allow_nan=False)
    assert json.loads(said)["hands"] or result.hints.refused
    assert draw_overlay(image, result.hints).shape == image.shape
