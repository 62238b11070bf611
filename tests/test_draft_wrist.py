"""Sleeves and forearms beside a new hand: neither painted over nor notched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from draft_scenes import PARAMS, make_scene, maps_for, silhouette

from handrefiner_ext.inpaint.closeup import make_closeup
from handrefiner_ext.inpaint.draft import DraftInpainter
from handrefiner_ext.inpaint.old_hand import expect_hand
from handrefiner_ext.inpaint.sleeve import find_foreign
from handrefiner_ext.inpaint.surface import mesh_pixels
from handrefiner_ext.inpaint.wrist import find_wrist
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.types import Box

SCENE = make_scene()
SIZE = SCENE.meshes[0].hand.size_px
WHITE, NAVY = (228, 226, 222), (32, 34, 56)


def with_sleeve(colour, reach, half=0.30):
    """The hand in a sleeve that covers `reach` hand sizes of its palm, and where it is."""
    wrist = SCENE.meshes[0].joints_2d[0]
    y, x = np.mgrid[0:256, 0:256]
    sleeve = (y > wrist[1] - reach * SIZE) & (np.abs(x - wrist[0]) < half * SIZE)
    image = SCENE.image.copy()
    noise = np.random.default_rng(1).normal(scale=4.0, size=(256, 256, 1))
    image[sleeve] = np.clip(np.asarray(colour) + noise, 0, 255)[sleeve].astype(np.uint8)
    return replace(SCENE, image=image, maps=maps_for(SCENE.meshes, image)), sleeve


def paint(scene):
    return DraftInpainter().paint(PaintRequest(scene.image, scene.meshes, scene.maps, PARAMS))


@pytest.mark.parametrize("colour", [WHITE, NAVY], ids=["white", "navy"])
@pytest.mark.parametrize("reach", [0.0, 0.15, 0.3])
def test_no_skin_is_painted_on_a_sleeve(colour, reach):
    scene, sleeve = with_sleeve(colour, reach)
    apart = np.abs(paint(scene).astype(int) - scene.image).max(axis=-1)
    assert np.count_nonzero((apart > 24) & sleeve) < 0.008 * SIZE**2
    assert np.count_nonzero((apart > 24) & ~sleeve) > 0.03 * SIZE**2  # the hand itself is painted


def find(scene):
    mesh = scene.meshes[0]
    view = make_closeup(Box(0, 0, 256, 256), 1.0)
    wrist = find_wrist(mesh, mesh_pixels(mesh), view, SIZE)
    covered = silhouette(mesh, (256, 256))
    expected = expect_hand(mesh.hand.landmarks, covered, wrist.zone(256, 256), SIZE)
    return find_foreign(view.take(scene.image), expected, wrist)


def test_a_sleeve_is_told_from_skin_and_from_the_background_beside_the_arm():
    scene, sleeve = with_sleeve(WHITE, 0.15, half=0.2)
    found = find(scene).sleeve
    assert found[sleeve].mean() > 0.9
    assert np.count_nonzero(found & ~sleeve) < 0.005 * SIZE**2


def test_a_bare_arm_is_no_sleeve_and_the_background_beside_it_is_not_skin():
    foreign = find(SCENE)
    assert not foreign.sleeve.any()
    assert foreign.strange[SCENE.old].mean() < 0.01
    beside = ~SCENE.old & (np.arange(256)[:, None] > 235)
    assert foreign.strange[beside].mean() > 0.5


@pytest.mark.parametrize("width", [0.34, 0.44])
def test_a_forearm_that_is_wider_than_the_wrist_of_the_mesh_gets_no_notch(width):
    wrist = SCENE.meshes[0].joints_2d[0]
    y, x = np.mgrid[0:256, 0:256]
    arm = (y > wrist[1]) & (np.abs(x - wrist[0]) < width * SIZE / 2)
    image = SCENE.image.copy()
    image[arm] = SCENE.image[SCENE.old].mean(axis=0).astype(np.uint8)
    scene = replace(SCENE, image=image, maps=maps_for(SCENE.meshes, image))
    apart = np.abs(paint(scene).astype(int) - image).max(axis=-1)
    assert np.count_nonzero((apart > 24) & arm) < 0.003 * SIZE**2
