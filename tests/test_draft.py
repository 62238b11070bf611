"""The draft backend: what changes, what must not, and what the new hand looks like."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pytest
from draft_scenes import (
    PARAMS,
    make_background,
    make_scene,
    maps_for,
    move_mesh,
    open_mesh,
    silhouette,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from handrefiner_ext.inpaint.blend import Canvas
from handrefiner_ext.inpaint.draft import DraftInpainter, remove_hand
from handrefiner_ext.inpaint.study import study_hand
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.registry import INPAINTERS
from handrefiner_ext.render.masks import spare
from handrefiner_ext.types import Box, ControlMaps, WeakPerspective

DRAFT = DraftInpainter()
SCENE = make_scene()


def paint(scene, params=PARAMS):
    return DRAFT.paint(PaintRequest(scene.image, scene.meshes, scene.maps, params))


def erode(mask, by):
    for _ in range(by):
        padded = np.pad(mask, 1)
        mask = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1]
        mask = mask & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def grow_mask(mask, by):
    return ~erode(~mask, by)


def test_the_registry_builds_it_under_its_name():
    assert INPAINTERS.build("draft").name == "draft"


def test_an_empty_mask_gives_back_the_very_same_picture():
    empty = replace(SCENE.maps, mask=np.zeros_like(SCENE.maps.mask))
    assert DRAFT.paint(PaintRequest(SCENE.image, SCENE.meshes, empty, PARAMS)) is SCENE.image


def test_only_pixels_inside_the_mask_change_and_the_input_is_left_alone():
    before = SCENE.image.copy()
    out = paint(SCENE)
    mask = SCENE.maps.mask
    np.testing.assert_array_equal(out[~mask], before[~mask])
    np.testing.assert_array_equal(SCENE.image, before)
    assert (out != before).any()


def test_the_same_seed_paints_the_same_and_another_one_differs_in_grain_only():
    first, again = paint(SCENE), paint(SCENE)
    other = paint(SCENE, replace(PARAMS, seed=1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert np.abs(first.astype(int) - other.astype(int)).max() <= 12


def test_the_sixth_finger_is_gone_and_the_background_is_back():
    extra = SCENE.old & ~silhouette(SCENE.meshes[0], SCENE.old.shape)
    tip = erode(extra, 2) & (np.arange(256)[:, None] < SCENE.meshes[0].joints_2d[0, 1] - 35)
    assert np.count_nonzero(tip) > 30
    off = np.abs(paint(SCENE)[tip] - SCENE.background[tip]).max(axis=-1)
    was = np.abs(SCENE.image[tip] - SCENE.background[tip]).max(axis=-1)
    assert np.median(was) > 100
    assert np.percentile(off, 90) < 15


def with_a_face(scene, left, top, bottom):
    """The same hand before a face that reaches from `left` to the edge and must not be painted."""
    image = scene.image.copy()
    face = np.zeros_like(scene.old)
    face[top:bottom, left:] = True
    face &= ~scene.old
    image[face] = scene.image[scene.old].mean(axis=0)
    box = Box(left, top, scene.old.shape[1], bottom)
    maps, changed = spare(maps_for(scene.meshes, image), scene.meshes, [box])
    assert changed
    return replace(scene, image=image, maps=maps), face


def test_a_face_that_the_hand_touches_is_not_erased_with_it():
    columns = np.flatnonzero(SCENE.old[60:110].any(axis=0))
    before, face = with_a_face(SCENE, int(columns[-1]) - 8, 60, 110)
    out = paint(before)
    beside = face & ~grow_mask(silhouette(SCENE.meshes[0], face.shape), 2)
    allowed = np.count_nonzero(beside & before.maps.mask)
    assert allowed > 200
    apart = np.abs(out.astype(int) - before.image).max(axis=-1)
    assert np.count_nonzero((apart > 24) & beside) < 0.25 * allowed


def test_the_arm_behind_the_wrist_stays_bit_identical():
    mesh = SCENE.meshes[0]
    far = SCENE.old & (np.arange(256)[:, None] > mesh.joints_2d[0, 1] + 0.36 * mesh.hand.size_px)
    assert np.count_nonzero(far) > 500
    out = DRAFT.paint(
        PaintRequest(SCENE.image, SCENE.meshes, free_maps(np.ones_like(SCENE.old)), PARAMS)
    )
    np.testing.assert_array_equal(out[far], SCENE.image[far])


def test_the_palm_keeps_its_marks():
    joints = SCENE.meshes[0].joints_2d
    x, y = ((joints[0] + joints[9]) / 2.0).round().astype(int)
    image = SCENE.image.copy()
    image[y - 1 : y + 2, x - 1 : x + 2] = (120, 60, 50)
    out = DRAFT.paint(PaintRequest(image, SCENE.meshes, SCENE.maps, PARAMS))
    np.testing.assert_array_equal(
        out[y - 1 : y + 2, x - 1 : x + 2], image[y - 1 : y + 2, x - 1 : x + 2]
    )


def test_every_pixel_of_the_new_hand_shows_skin():
    inside = erode(silhouette(SCENE.meshes[0], SCENE.old.shape), 3) & SCENE.maps.mask
    out = paint(SCENE).astype(int)
    redder_than_background = out[inside][:, 0] - out[inside][:, 2]
    assert np.percentile(redder_than_background, 1) > 20


@pytest.mark.parametrize(
    "skin",
    [(205, 150, 125), (90, 55, 40), (250, 235, 225), (60, 90, 220), (40, 160, 60)],
    ids=["light", "dark", "overexposed", "blue", "green"],
)
def test_the_new_hand_has_the_colour_of_the_old_one(skin):
    scene = make_scene(skin=np.array(skin))
    fingers = erode(silhouette(scene.meshes[0], scene.old.shape), 2)
    fingers &= np.arange(256)[:, None] < scene.meshes[0].joints_2d[9, 1]
    median = np.median(paint(scene)[fingers], axis=0)
    assert np.abs(median - np.array(skin)).max() < 30


def test_a_picture_without_colour_stays_without_colour():
    out = paint(make_scene(grey=True)).astype(int)
    assert np.ptp(out, axis=-1).max() <= 1


def test_line_art_keeps_white_hands_white_and_draws_dark_lines_at_most():
    shape = (256, 256)
    mesh = open_mesh((128, 108), 110, shape)
    inside = silhouette(mesh, shape)
    image = np.where((inside & ~erode(inside, 2))[..., None], 0, 255).astype(np.uint8)
    image = np.repeat(image, 3, axis=-1)
    out = DRAFT.paint(PaintRequest(image, (mesh,), maps_for((mesh,), image), PARAMS))
    assert np.median(out[erode(inside, 5)]) > 200
    assert np.median(out[~inside & maps_for((mesh,), image).mask]) == 255


@pytest.mark.parametrize("size_px", [12, 30])
def test_tiny_hands_are_painted_too(size_px):
    scene = make_scene(shape=(96, 96), size_px=size_px)
    out = paint(scene)
    inside = erode(silhouette(scene.meshes[0], scene.old.shape), 1)
    assert (out != scene.image).any()
    redder = out[inside].astype(int)[:, 0] - out[inside].astype(int)[:, 2]
    assert np.median(redder) > 30


def test_the_feather_lies_inside_the_mask_and_grows_with_the_blur():
    drawn = np.zeros(SCENE.old.shape, dtype=bool)
    extra = SCENE.old & ~silhouette(SCENE.meshes[0], SCENE.old.shape)
    drawn[60:135, round(np.nonzero(extra[:135])[1].mean()) : 128] = True
    maps = free_maps(drawn)
    edge = drawn & ~erode(drawn, 2)
    change = {}
    for blur in (0, 4, 16):
        out = DRAFT.paint(
            PaintRequest(SCENE.image, SCENE.meshes, maps, replace(PARAMS, mask_blur=blur))
        )
        np.testing.assert_array_equal(out[~drawn], SCENE.image[~drawn])
        change[blur] = np.abs(out[edge].astype(int) - SCENE.image[edge]).mean()
    assert change[16] < 0.5 * change[4] < 0.5 * change[0]


def two_hands():
    """A light hand and a green one, drawn half over it."""
    shape = (256, 320)
    image = np.clip(make_background(shape), 0, 255).astype(np.uint8)
    meshes = (open_mesh((135, 110), 110, shape), open_mesh((172, 116), 110, shape, "left"))
    for mesh, colour in zip(meshes, ((205, 150, 125), (40, 170, 60)), strict=True):
        image[silhouette(mesh, shape)] = colour
    return image, meshes


@pytest.mark.parametrize("order", ["1,2", "2,1"])
def test_the_hand_in_front_is_painted_over_the_other(order):
    image, meshes = two_hands()
    params = replace(PARAMS, occlusion_order=order)
    maps = maps_for(meshes, image, params)
    front, back = (int(number) - 1 for number in order.split(","))
    assert [(o.front, o.back) for o in maps.overlaps] == [(front, back)]
    out = DRAFT.paint(PaintRequest(image, meshes, maps, params)).astype(int)
    first, second = (silhouette(mesh, image.shape[:2]) for mesh in meshes)
    both = erode(first & second, 3)
    assert np.count_nonzero(both) > 200
    red_minus_green = np.median(out[both][:, 0] - out[both][:, 1])
    # The old picture is green there whichever hand is in front.
    assert red_minus_green > 20 if front == 0 else red_minus_green < -60


def test_a_hand_that_is_owned_by_one_behind_in_places_shows_through_there():
    image, meshes = two_hands()
    maps = maps_for(meshes, image, replace(PARAMS, occlusion_order="2,1"))
    first, second = (silhouette(mesh, image.shape[:2]) for mesh in meshes)
    crossed = maps.owner.copy()
    left = np.arange(image.shape[1]) < 153
    crossed[first & second & left] = 0
    out = DRAFT.paint(PaintRequest(image, meshes, replace(maps, owner=crossed), PARAMS)).astype(int)
    both = erode(first & second & left, 3)
    assert np.count_nonzero(both) > 50
    assert np.median(out[both][:, 0] - out[both][:, 1]) > 20


def test_taking_a_hand_away_leaves_the_hand_that_touches_it():
    shape = (256, 320)
    image = np.clip(make_background(shape), 0, 255).astype(np.uint8)
    meshes = (open_mesh((110, 110), 110, shape), open_mesh((190, 110), 110, shape, "left"))
    areas = [silhouette(mesh, shape) for mesh in meshes]
    image[areas[0] | areas[1]] = (205, 150, 125)
    maps = maps_for(meshes, image)
    studies = [study_hand(image, mesh, maps, number) for number, mesh in enumerate(meshes)]
    canvas = Canvas(image.copy(), maps, 0, np.random.default_rng(0))
    canvas.lay(remove_hand(image, studies[0], studies))
    gone = np.abs(canvas.picture.astype(int) - image).max(axis=-1) > 24
    assert gone[areas[0]].mean() > 0.3
    inside, _ = maps.hand_masks[0]
    beyond = erode(areas[1] & ~grow_mask(areas[0], 5), 2)
    assert np.count_nonzero(beyond[inside.slices]) > 500
    assert not gone[beyond].any()


def test_hands_far_apart_do_not_change_each_other():
    shape = (256, 640)
    image = np.clip(make_background(shape), 0, 255).astype(np.uint8)
    left = open_mesh((120, 110), 110, shape)
    right = open_mesh((520, 110), 110, shape, "left")
    for mesh in (left, right):
        image[silhouette(mesh, shape)] = (205, 150, 125)
    alone = DRAFT.paint(PaintRequest(image, (left,), maps_for((left,), image), PARAMS))
    both = DRAFT.paint(PaintRequest(image, (left, right), maps_for((left, right), image), PARAMS))
    difference = np.abs(alone[:, :320].astype(int) - both[:, :320])
    assert difference.max() <= 4


def broken(mesh, fault):
    """The mesh with something wrong about it."""
    vertices = mesh.vertices.copy()
    if fault == "nan":
        vertices[::3] = np.nan
    elif fault == "infinite":
        vertices[5] = np.inf
    elif fault == "point":
        vertices[:] = vertices[0]
    elif fault == "flat":
        vertices[:, 2] = 0.0
    elif fault == "huge":
        vertices *= 1e6
    elif fault == "landmarks":
        return replace(mesh, hand=replace(mesh.hand, landmarks=mesh.hand.landmarks * 1e9))
    elif fault == "camera":
        return replace(mesh, camera=WeakPerspective(1e-12, 50.0, 50.0))
    return replace(mesh, vertices=vertices)


FAULTS = ("none", "nan", "infinite", "point", "flat", "huge", "landmarks", "camera")


def free_maps(mask):
    """Maps that let one hand change `mask`."""
    height, width = mask.shape
    return ControlMaps(
        layers=(),
        owner=np.full(mask.shape, -1, dtype=np.int16),
        control=np.zeros(mask.shape, dtype=np.uint8),
        mask=mask,
        hand_masks=((Box(0, 0, width, height), mask),),
    )


@dataclass(frozen=True)
class Case:
    """Anything that may come in."""

    height: int
    width: int
    fault: str
    content: str
    density: float
    size_px: float
    place: tuple[float, float]
    blur: int
    seed: int

    @property
    def image(self):
        values = {"black": 0, "white": 255, "grey": 127}
        shape = (self.height, self.width, 3)
        if self.content == "noise":
            return np.random.default_rng(self.seed).integers(0, 256, shape, dtype=np.uint8)
        return np.full(shape, values[self.content], dtype=np.uint8)

    @property
    def mask(self):
        return np.random.default_rng(self.seed).random((self.height, self.width)) < self.density


CASES = st.builds(
    Case,
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    fault=st.sampled_from(FAULTS),
    content=st.sampled_from(["noise", "black", "white", "grey"]),
    density=st.sampled_from([0.02, 0.5, 1.0]),
    size_px=st.floats(1.0, 400.0),
    place=st.tuples(st.floats(-200.0, 300.0), st.floats(-200.0, 300.0)),
    blur=st.sampled_from([0, 1, 8, 64]),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=40, deadline=None)
@given(case=CASES)
def test_whatever_comes_in_nothing_changes_outside_the_mask(case):
    image, mask = case.image, case.mask
    mesh = broken(open_mesh(case.place, case.size_px, mask.shape), case.fault)
    params = RefineParams(mask_blur=case.blur, seed=case.seed)
    out = DRAFT.paint(PaintRequest(image, (mesh,), free_maps(mask), params))
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out[~mask], image[~mask])


@pytest.mark.parametrize("shape", [(64, 8192), (8192, 64), (3000, 3000), (5, 40000)])
@pytest.mark.parametrize("fault", ["none", "huge"])
def test_memory_stays_bounded(shape, fault):
    image = np.full((*shape, 3), 120, dtype=np.uint8)
    mesh = broken(open_mesh((shape[1] / 2, shape[0] / 2), 2.0 * max(shape), shape), fault)
    tracemalloc.start()
    try:
        DRAFT.paint(
            PaintRequest(image, (mesh,), free_maps(np.ones(shape, dtype=bool)), RefineParams())
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * image.nbytes + 200e6


def test_moving_everything_by_whole_pixels_moves_the_result():
    shape, shift = (256, 256), (16, -8)
    mesh = SCENE.meshes[0]
    rolled = np.roll(SCENE.image, (shift[1], shift[0]), axis=(0, 1))
    moved = move_mesh(mesh, shift)
    out = DRAFT.paint(PaintRequest(rolled, (moved,), maps_for((moved,), rolled), PARAMS))
    back = np.roll(out, (-shift[1], -shift[0]), axis=(0, 1))
    box = np.zeros(shape, dtype=bool)
    box[60:150, 60:190] = True
    difference = np.abs(back[box].astype(int) - paint(SCENE)[box])
    assert np.percentile(difference, 95) <= 12
