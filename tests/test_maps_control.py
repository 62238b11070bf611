"""Control image and masks."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from render_scenes import place, shape_of

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.geometry.boxes import area
from handrefiner_ext.params import RefineParams
from handrefiner_ext.render.maps import build_maps
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.types import Box, ControlMaps, HandMesh, WeakPerspective

KINDS = ("box", "silhouette", "drawn", "union")
RASTER = RasterRenderer()
MIB = 2**20


def maps_of(
    meshes: list[HandMesh],
    size: tuple[int, int] = (400, 400),
    drawn: np.ndarray | None = None,
    **values,
) -> ControlMaps:
    return build_maps(meshes, size, RASTER, RefineParams(**values), drawn_mask=drawn)


def over_picture(region: tuple[Box, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[region[0].slices] = region[1]
    return mask


def test_each_hand_spans_51_to_255_and_near_is_bright() -> None:
    meshes = [place(shape_of("open_hand", k), 900.0, (120.0 + 190 * k, 200.0)) for k in (0, 1)]
    maps = maps_of(meshes)
    assert not maps.overlaps
    for number, layer in enumerate(maps.layers):
        seen = maps.owner[layer.box.slices] == number
        grey = maps.control[layer.box.slices][seen].astype(float)
        depth = layer.depth[seen]
        assert (grey.min(), grey.max()) == (51, 255)
        linear = 255 - 204 * (depth - depth.min()) / np.ptp(depth)
        assert np.abs(grey - linear).max() <= 0.5 + 1e-3
    assert (maps.control[maps.owner < 0] == 0).all()


def test_hiding_part_of_a_hand_changes_none_of_its_grey_values() -> None:
    far = place(shape_of("open_hand", 2), 1000.0, (200.0, 200.0))
    near = place(shape_of("open_hand", 3), 2600.0, (260.0, 260.0))
    alone, both = maps_of([far]), maps_of([far, near])
    seen = both.owner == 0
    assert 0 < seen.sum() < (alone.owner == 0).sum()
    np.testing.assert_array_equal(both.control[seen], alone.control[seen])


def test_a_common_range_puts_the_nearer_hand_brighter() -> None:
    near = place(shape_of("open_hand", 4), 1500.0, (110.0, 150.0))
    far = place(shape_of("open_hand", 4), 700.0, (320.0, 300.0))
    maps = maps_of([near, far], depth_range="common")
    assert not maps.overlaps
    greys = [maps.control[maps.owner == k] for k in (0, 1)]
    assert greys[0].max() == 255
    assert greys[1].min() == 51
    assert greys[0].min() > greys[1].max()


def test_a_flat_hand_is_all_bright_and_never_nan() -> None:
    vertices = np.array([[-0.05, -0.05, 0.02], [0.05, -0.05, 0.02], [0.0, 0.05, 0.02]])
    flat = place((vertices, np.array([[0, 1, 2]], dtype=np.int32), np.zeros((21, 3))))
    for depth_range in ("hand", "common"):
        maps = maps_of([flat], depth_range=depth_range)
        assert set(np.unique(maps.control)) == {0, 255}


@pytest.mark.parametrize("kind", KINDS)
def test_no_hands_give_empty_maps_of_the_pictures_size(kind: str) -> None:
    maps = maps_of([], (7, 9), drawn=np.ones((7, 9), dtype=bool), mask=kind)
    assert maps.control.shape == maps.mask.shape == maps.owner.shape == (7, 9)
    assert not maps.control.any()
    assert not maps.mask.any()
    assert (maps.owner == -1).all()
    assert maps.layers == maps.hand_masks == maps.overlaps == ()


@pytest.mark.parametrize(
    ("padding", "scale", "margin"),
    [(30, 600.0, "pixels"), (0, 1200.0, "share"), (5, 1200.0, "share")],
)
def test_the_box_grows_by_15_percent_or_by_the_padding(
    padding: int, scale: float, margin: str
) -> None:
    size = (1200, 1200)
    mesh = place(shape_of("open_hand", 5), scale, (600.0, 600.0), size)
    every = np.concatenate([mesh.camera.project(mesh.vertices), mesh.joints_2d])
    x0, y0 = np.floor(every.min(axis=0)).astype(int)
    x1, y1 = np.ceil(every.max(axis=0)).astype(int)
    share = [int(np.ceil(0.15 * side)) for side in (x1 - x0, y1 - y0)]
    grown = [padding, padding] if margin == "pixels" else share
    assert [max(part, padding) for part in share] == grown
    ((box, mask),) = maps_of([mesh], size, padding_bbox=padding).hand_masks
    assert box == (x0 - grown[0], y0 - grown[1], x1 + grown[0], y1 + grown[1])
    assert mask.all()


def test_landmarks_far_from_the_mesh_are_inside_box_and_silhouette() -> None:
    mesh = place(shape_of("open_hand", 6), 900.0)
    landmarks = mesh.hand.landmarks.copy()
    landmarks[8] = 380.0, 20.0
    mesh = replace(mesh, hand=replace(mesh.hand, landmarks=landmarks))
    for kind in ("box", "silhouette"):
        mask = maps_of([mesh], mask=kind, padding_bbox=0).mask
        for x, y in landmarks.astype(int):
            assert mask[y, x]
        middle = ((landmarks[7] + landmarks[8]) / 2).astype(int)
        assert mask[middle[1], middle[0]], "the old finger too"


@pytest.mark.parametrize("padding", [0, 9, 40])
def test_the_silhouette_grows_by_the_padding_all_round(padding: int) -> None:
    size = (400, 400)
    mesh = place(shape_of("torus", 7), 900.0)
    inside = np.repeat(mesh.joints[:1], 21, axis=0)
    mesh = replace(mesh, hand=replace(mesh.hand, landmarks=mesh.camera.project(inside)))
    maps = maps_of([mesh], size, mask="silhouette", padding_bbox=padding)
    layer = maps.layers[0]
    radius = max(int(np.ceil(0.05 * max(layer.box.width, layer.box.height))), padding)
    hand = np.argwhere(maps.owner == 0)
    rows, columns = np.mgrid[0:400:7, 0:400:7]
    for y, x in zip(rows.ravel(), columns.ravel(), strict=True):
        away = np.sqrt(((hand - (y, x)) ** 2).sum(axis=1).min())
        if abs(away - radius) > 1.5:
            assert maps.mask[y, x] == (away <= radius)


def test_drawn_parts_that_reach_the_hand_count_whole_and_all_count_in_the_mask() -> None:
    mesh = place(shape_of("open_hand", 8), 500.0, (120.0, 200.0))
    drawn = np.zeros((400, 400), dtype=bool)
    drawn[190:200, 120:390] = True
    drawn[380:390, 380:390] = True
    maps = maps_of([mesh], drawn=drawn, mask="drawn")
    own = over_picture(maps.hand_masks[0], (400, 400))
    assert own[195, 389]
    assert not own[385, 385]
    np.testing.assert_array_equal(maps.mask, drawn)
    np.testing.assert_array_equal(own, drawn & ~(np.arange(400)[:, None] >= 380))


def test_union_is_the_union() -> None:
    mesh = place(shape_of("open_hand", 9), 700.0)
    drawn = np.zeros((400, 400), dtype=bool)
    drawn[100:120, 10:300] = True
    parts = [maps_of([mesh], drawn=drawn, mask=kind).mask for kind in KINDS[:3]]
    union = maps_of([mesh], drawn=drawn, mask="union").mask
    np.testing.assert_array_equal(union, np.any(parts, axis=0))
    without = maps_of([mesh], mask="union").mask
    np.testing.assert_array_equal(without, parts[0] | parts[1])


def test_a_drawn_mask_that_is_missing_or_of_another_size_is_refused() -> None:
    mesh = place(shape_of("box"))
    with pytest.raises(InvalidParameter, match=r"draw one or choose"):
        maps_of([mesh], mask="drawn")
    with pytest.raises(InvalidParameter, match=r"\(400, 400\)"):
        maps_of([mesh], drawn=np.zeros((399, 400), dtype=bool))


@pytest.mark.parametrize("kind", KINDS)
def test_a_hand_that_does_not_show_changes_nothing(kind: str) -> None:
    mesh = place(shape_of("open_hand", 1), 900.0)
    gone = replace(mesh, vertices=np.full_like(mesh.vertices, np.nan))
    outside = replace(mesh, camera=WeakPerspective(900.0, -900.0, 200.0))
    for lost in (gone, outside):
        maps = maps_of([lost], drawn=np.ones((400, 400), dtype=bool), mask=kind)
        assert not maps.control.any()
        assert not maps.mask.any()
        both = maps_of([lost, mesh], mask="box")
        np.testing.assert_array_equal(both.control, maps_of([mesh], mask="box").control)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(64, 8192), (8192, 64), (2048, 2048)])
def test_memory_stays_bounded_for_six_hands_in_any_picture(
    kind: str, height: int, width: int
) -> None:
    scale = max(height, width) / 0.3
    meshes = [
        place(shape_of("open_hand", k), scale, (width * (k + 1) / 7, height / 2), (height, width))
        for k in range(6)
    ]
    drawn = np.zeros((height, width), dtype=bool)
    drawn[::2, ::5] = True
    tracemalloc.start()
    maps = maps_of(meshes, (height, width), drawn, mask=kind)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert maps.control.any()
    assert peak < 240 * MIB if height == width else peak < 60 * MIB


FLOATS = st.floats(width=64) | st.floats(-300, 300)


@given(
    size=st.sampled_from([(1, 1), (2, 50), (50, 2), (64, 64), (40, 1000)]),
    spoiled=hnp.arrays(np.float64, (2, 8, 3), elements=FLOATS),
    landmarks=hnp.arrays(np.float64, (2, 21, 2), elements=FLOATS),
    scales=st.tuples(FLOATS, st.floats(1, 1e5)),
    params=st.builds(
        RefineParams,
        mask=st.sampled_from(KINDS),
        padding_bbox=st.integers(0, 512),
        depth_range=st.sampled_from(["hand", "common"]),
    ),
)
@settings(max_examples=120, deadline=None)
def test_whatever_the_hands_all_maps_fit_the_picture_and_the_mask_covers_the_control_image(
    size: tuple[int, int],
    spoiled: np.ndarray,
    landmarks: np.ndarray,
    scales: tuple[float, float],
    params: RefineParams,
) -> None:
    vertices, faces, joints = shape_of("box", 1)
    meshes = []
    for number in (0, 1):
        mesh = place((vertices, faces, joints), 300.0, (size[1] / 2, size[0] / 2), size)
        broken = np.where(np.abs(spoiled[number]) < 100, vertices, spoiled[number])
        meshes.append(
            replace(
                mesh,
                vertices=broken,
                camera=replace(mesh.camera, scale=scales[number]),
                hand=replace(mesh.hand, landmarks=landmarks[number]),
            )
        )
    drawn = np.zeros(size, dtype=bool)
    drawn[::3] = True
    image = np.zeros((*size, 3), dtype=np.uint8)
    maps = build_maps(meshes, size, RASTER, params, drawn_mask=drawn, image=image)
    assert maps.control.shape == maps.owner.shape == maps.mask.shape == size
    assert (maps.control.dtype, maps.owner.dtype) == (np.uint8, np.int16)
    assert ((maps.control > 0) == (maps.owner >= 0)).all()
    if params.mask == "drawn":  # whoever draws a mask says what may change, half a hand too
        assert not (maps.mask & ~drawn).any()
    else:
        assert maps.mask[maps.control > 0].all()
    joined = np.zeros(size, dtype=bool)
    for number, (box, mask) in enumerate(maps.hand_masks):
        assert mask.shape == (box.height, box.width)
        assert area(box) == 0 or (
            0 <= box.x0 < box.x1 <= size[1] and 0 <= box.y0 < box.y1 <= size[0]
        )
        own = over_picture((box, mask), size)
        assert params.mask == "drawn" or own[maps.owner == number].all()
        joined |= own
    assert maps.mask[joined].all()
