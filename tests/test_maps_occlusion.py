"""Hands that overlap: who is in front, and what the control image shows of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from render_scenes import photograph, place, shape_of

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.geometry.boxes import intersect, slices_within
from handrefiner_ext.params import RefineParams
from handrefiner_ext.render.maps import FOCAL_PER_SIDE, build_maps, check_order
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.types import ControlMaps, HandMesh

SIZE = (420, 520)
RASTER = RasterRenderer()


def hand(seed: int, centre: tuple[float, float], scale: float = 1500.0) -> HandMesh:
    """A hand whose joints' mean lies at `centre`."""
    vertices, faces, joints = shape_of("open_hand", seed)
    middle = scale * joints[:, :2].mean(axis=0)
    return place((vertices, faces, joints), scale, tuple(np.subtract(centre, middle)), SIZE)


def two_hands(seed: int = 0, scales: tuple[float, float] = (1500.0, 1500.0)) -> list[HandMesh]:
    return [hand(seed, (230, 200), scales[0]), hand(seed + 100, (290, 220), scales[1])]


def maps_of(meshes: list[HandMesh], image: np.ndarray | None = None, **values) -> ControlMaps:
    return build_maps(meshes, SIZE, RASTER, RefineParams(**values), image=image)


def shows(maps: ControlMaps, number: int, other: int) -> float:
    """Share of two hands' common pixels at which `number` is seen."""
    one, two = maps.layers[number], maps.layers[other]
    common = intersect(one.box, two.box)
    both = np.isfinite(one.depth[slices_within(common, one.box)]) & np.isfinite(
        two.depth[slices_within(common, two.box)]
    )
    assert both.any()
    return float((maps.owner[common.slices][both] == number).mean())


@pytest.mark.parametrize("near_first", [True, False])
def test_a_hand_clearly_nearer_hides_the_other_whatever_its_number(near_first: bool) -> None:
    meshes = two_hands(scales=(2400.0, 1200.0))
    near, far = (0, 1) if near_first else (1, 0)
    maps = maps_of(meshes if near_first else meshes[::-1])
    (overlap,) = maps.overlaps
    assert (overlap.front, overlap.back, overlap.certain) == (near, far, True)
    assert shows(maps, near, far) == 1.0


def nearest_of(maps: ControlMaps, meshes: list[HandMesh]) -> tuple[np.ndarray, np.ndarray]:
    """Depth and owner of one z-buffer over hands at their distances."""
    nearest, owner = np.full(SIZE, np.inf), np.full(SIZE, -1)
    for number, (mesh, layer) in enumerate(zip(meshes, maps.layers, strict=True)):
        depth = np.full(SIZE, np.inf)
        depth[layer.box.slices] = layer.depth + FOCAL_PER_SIDE * max(SIZE) / mesh.camera.scale
        owner[depth < nearest] = number
        nearest = np.minimum(nearest, depth)
    return nearest, owner


def test_where_order_is_clear_each_pixel_shows_the_nearest_surface() -> None:
    meshes = [hand(1, (250, 210), 2600.0), hand(2, (280, 220), 1200.0), hand(3, (310, 200), 700.0)]
    for order in permutations(meshes):
        maps = maps_of(list(order))
        assert len(maps.overlaps) == 3
        assert all(overlap.certain for overlap in maps.overlaps)
        np.testing.assert_array_equal(maps.owner, nearest_of(maps, list(order))[1])


def test_a_finger_that_reaches_through_a_hand_clearly_in_front_is_seen() -> None:
    shape = [np.array(part) for part in shape_of("open_hand", 11)]
    reaching = hand(12, (260, 210), 1300.0)
    tip = np.argmin(np.linalg.norm(reaching.vertices - reaching.joints[8], axis=1))
    near = reaching.vertices.copy()
    near[np.linalg.norm(near - near[tip], axis=1) < 0.02, 2] -= 0.6
    reaching = replace(reaching, vertices=near)
    x, y = reaching.joints_2d[8]
    front = place(tuple(shape), 2000.0, (x, y), SIZE)
    for order in permutations([front, reaching]):
        maps = maps_of(list(order))
        (overlap,) = maps.overlaps
        assert overlap.certain
        assert order[overlap.front] is front
        assert 0.0 < shows(maps, overlap.back, overlap.front) < 0.5
        np.testing.assert_array_equal(maps.owner, nearest_of(maps, list(order))[1])


def test_moving_a_hand_back_keeps_it_in_front_of_what_it_was_clearly_in_front_of() -> None:
    tried = 0
    for seed in range(12):
        meshes = [
            hand(seed, (250, 210), 1500.0),
            hand(seed + 20, (270, 220), 1450.0),
            hand(seed + 40, (240, 230), 1060.0),
        ]
        before, after = maps_of(meshes[::2]), maps_of(meshes, occlusion_order="2,1")
        if all(o.certain and o.front == 0 for o in before.overlaps) and len(after.overlaps) == 3:
            tried += 1
            behind = after.owner == 2
            np.testing.assert_array_equal(behind, behind & (before.owner == 1))
    assert tried >= 3


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("front", [0, 1])
def test_an_uncertain_order_follows_the_outline_in_the_picture(seed: int, front: int) -> None:
    meshes = two_hands(seed)
    picture = photograph([meshes[1 - front], meshes[front]], SIZE, seed)
    maps = maps_of(meshes, picture)
    (overlap,) = maps.overlaps
    assert (overlap.front, overlap.certain) == (front, False)
    assert "outline" in overlap.reason
    assert shows(maps, front, 1 - front) == 1.0


def test_without_a_picture_an_uncertain_order_goes_by_depth_and_says_so() -> None:
    for first, second in permutations(two_hands(3)):
        (overlap,) = maps_of([first, replace(second, camera=first.camera)]).overlaps
        assert not overlap.certain
        assert "unknown sizes" in overlap.reason


def test_an_uncertain_pair_is_never_shown_interlaced() -> None:
    for seed in range(8):
        maps = maps_of(two_hands(seed))
        (overlap,) = maps.overlaps
        assert overlap.certain or shows(maps, overlap.front, overlap.back) == 1.0


@pytest.mark.parametrize("order", ["1,2", "2,1", " 2 , 1 "])
@pytest.mark.parametrize("scales", [(1500.0, 1500.0), (2400.0, 1200.0)])
def test_the_user_can_override_the_order(order: str, scales: tuple[float, float]) -> None:
    meshes = two_hands(1, scales)
    front = int(order.split(",")[0]) - 1
    picture = photograph([meshes[front], meshes[1 - front]], SIZE)
    maps = maps_of(meshes, picture, occlusion_order=order)
    (overlap,) = maps.overlaps
    assert (overlap.front, overlap.certain) == (front, True)
    assert "occlusion_order" in overlap.reason
    assert shows(maps, front, 1 - front) == 1.0


def test_hands_that_the_override_leaves_out_keep_their_places() -> None:
    meshes = [hand(1, (250, 210), 2600.0), hand(2, (280, 220), 1200.0), hand(3, (310, 200), 700.0)]
    maps = maps_of(meshes, occlusion_order="3,2")
    order = {(overlap.front, overlap.back) for overlap in maps.overlaps}
    assert order == {(0, 1), (0, 2), (2, 1)}
    assert shows(maps, 2, 1) + shows(maps, 0, 1) >= 1.0


@pytest.mark.parametrize("text", ["1,1", "0,1", "a,b", "1,,2", "1;2", "-1,2", "1.5,2", ","])
def test_an_order_that_is_none_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"such as 2,1"):
        maps_of(two_hands(), occlusion_order=text)


def test_an_order_of_hands_that_are_not_there_is_refused_with_their_count() -> None:
    with pytest.raises(InvalidParameter, match=r"hand 3.*from 1 to 2"):
        check_order("3,1", 2)
    check_order("3,1", 3)
    check_order("3,1", 0)


@pytest.mark.parametrize("front", [0, 1])
def test_the_override_goes_by_the_hands_numbers_and_passes_over_hands_without_a_mesh(
    front: int,
) -> None:
    numbers = (2, 4)
    meshes = [
        replace(mesh, hand=replace(mesh.hand, number=number))
        for mesh, number in zip(two_hands(1), numbers, strict=True)
    ]
    order = f"3,{numbers[front]},{numbers[1 - front]}"
    maps = maps_of(meshes, occlusion_order=order)
    (overlap,) = maps.overlaps
    assert (overlap.front, overlap.certain) == (front, True)
    assert shows(maps, front, 1 - front) == 1.0


@given(
    seed=st.integers(0, 1000),
    scales=st.lists(st.sampled_from([900.0, 1400.0, 1500.0, 2500.0]), min_size=2, max_size=4),
    with_picture=st.booleans(),
    depth_range=st.sampled_from(["hand", "common"]),
)
@settings(max_examples=25, deadline=None)
def test_the_order_in_which_hands_are_given_changes_nothing(
    seed: int, scales: list[float], with_picture: bool, depth_range: str
) -> None:
    random = np.random.default_rng(seed)
    centres = random.uniform((150, 150), (350, 280), (len(scales), 2))
    meshes = [
        hand(seed + k, tuple(centre), scale)
        for k, (centre, scale) in enumerate(zip(centres, scales, strict=True))
    ]
    picture = photograph(meshes, SIZE, seed) if with_picture else None
    shuffled = random.permutation(len(meshes))
    one = maps_of(meshes, picture, depth_range=depth_range)
    two = maps_of([meshes[k] for k in shuffled], picture, depth_range=depth_range)
    np.testing.assert_array_equal(one.control, two.control)
    np.testing.assert_array_equal(one.mask, two.mask)
    renamed = np.append(shuffled, -1)[two.owner]
    np.testing.assert_array_equal(one.owner, renamed)
    assert {(o.front, o.back, o.reason) for o in one.overlaps} == {
        (shuffled[o.front], shuffled[o.back], o.reason) for o in two.overlaps
    }


def test_a_cycle_of_requests_and_evidence_still_gives_one_order() -> None:
    meshes = [hand(k, (240 + 25 * k, 210)) for k in range(4)]
    for order in ("4,1", "3,1,2", "4,3,2,1"):
        maps = maps_of(meshes, photograph(meshes, SIZE), occlusion_order=order)
        wanted = [int(word) - 1 for word in order.split(",")]
        for overlap in maps.overlaps:
            if overlap.front in wanted and overlap.back in wanted:
                assert wanted.index(overlap.front) < wanted.index(overlap.back)
            assert shows(maps, overlap.front, overlap.back) > 0 or overlap.certain is False
