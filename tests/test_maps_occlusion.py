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
from handrefiner_ext.render.maps import FOCAL_PER_SIDE, build_maps, parse_order
from handrefiner_ext.render.raster import RasterRenderer
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


def test_where_order_is_clear_each_pixel_shows_the_nearest_surface() -> None:
    meshes = [hand(1, (250, 210), 2600.0), hand(2, (280, 220), 1200.0), hand(3, (310, 200), 700.0)]
    maps = maps_of(meshes)
    assert len(maps.overlaps) == 3
    assert all(overlap.certain for overlap in maps.overlaps)
    nearest = np.full(SIZE, np.inf)
    owner = np.full(SIZE, -1)
    for number, (mesh, layer) in enumerate(zip(meshes, maps.layers, strict=True)):
        depth = np.full(SIZE, np.inf)
        depth[layer.box.slices] = layer.depth + FOCAL_PER_SIDE * max(SIZE) / mesh.camera.scale
        owner[depth < nearest] = number
        nearest = np.minimum(nearest, depth)
    np.testing.assert_array_equal(maps.owner, owner)


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
        maps_of(two_hands(), occlusion_order="3,1")
    assert parse_order("3,1", 0) == ()


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
