"""What lies beside a hand survives the draft, or the original is kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hand_scenes import BOTH, make_stages, picture_with
from PIL import Image as PillowImage

from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import hints, refine
from handrefiner_ext.repaint import beside
from handrefiner_ext.repaint.beside import (
    MOST_AREA,
    MOST_FOREIGN,
    MOST_IN_RIM,
    Change,
    find_damage,
    measure_change,
)
from handrefiner_ext.repaint.drafts import find_unfit
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import Agreement, Decision, ModelHome, Quality

CASES = Path(
    os.environ.get("HANDREFINER_CASES") or Path(__file__).parent.parent.parent / "shared" / "cases"
)
PARAMS = RefineParams(padding_bbox=60)


@pytest.fixture
def image():
    return picture_with(BOTH, height=200, width=400)


@pytest.fixture
def seen(image):
    return hints(image, PARAMS, make_stages())


def change_of(image, after, seen, number=0):
    return measure_change(image, after, seen.maps, number, seen.meshes[number])


def test_nothing_changed_is_no_damage(image, seen):
    assert change_of(image, image.copy(), seen) == (0.0, 0.0, 0.0)
    assert find_damage(image, image, seen.maps, seen.meshes) == {}


def test_a_new_hand_in_the_place_of_the_mesh_is_no_damage(image, seen):
    after = image.copy()
    layer = seen.maps.layers[0]
    after[layer.box.slices][np.isfinite(layer.depth)] = 0
    assert change_of(image, after, seen).area < 0.02


def test_a_thing_that_is_gone_from_the_mask_is_damage_of_that_hand_alone(image, seen):
    box, mask = seen.maps.hand_masks[0]
    after = image.copy()
    part = after[box.slices]
    part[: box.height // 3][mask[: box.height // 3]] = (0, 0, 255)
    change = change_of(image, after, seen)
    assert change.area > MOST_AREA
    assert set(find_damage(image, after, seen.maps, seen.meshes)) == {0}


def test_a_thing_that_is_gone_from_the_rim_around_the_old_fingers_is_damage(image, seen):
    layer = seen.maps.layers[0]
    covered = np.zeros(image.shape[:2], dtype=np.uint8)
    covered[layer.box.slices] = np.isfinite(layer.depth)
    size = seen.meshes[0].size_px
    rim = cv2.distanceTransform(1 - covered, cv2.DIST_L2, 5)
    x = np.arange(image.shape[1])
    hook = (rim > 0) & (rim < 0.09 * size) & (x < np.median(np.nonzero(covered)[1]))
    thing = image.copy()
    thing[hook] = (40, 200, 60)
    change = measure_change(thing, image, seen.maps, 0, seen.meshes[0])
    assert change.rim > MOST_IN_RIM
    assert 0 in find_damage(thing, image, seen.maps, seen.meshes)
    # The soft edge of an old finger is narrower, and no damage.
    edge = image.copy()
    edge[(rim > 0) & (rim < 0.02 * size)] = (40, 200, 60)
    assert measure_change(edge, image, seen.maps, 0, seen.meshes[0]).rim < MOST_IN_RIM


def test_grain_is_no_damage(image, seen):
    noise = np.random.default_rng(0).integers(-12, 13, image.shape)
    after = np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)
    assert change_of(image, after, seen).area < MOST_AREA
    assert change_of(image, after, seen).foreign < MOST_FOREIGN


@pytest.mark.parametrize("name", ["ball_erased.png", "rock_becomes_hand.jpg"])
def test_cases_whose_surroundings_were_erased_are_kept(name):
    path = CASES / name
    if not path.exists():
        pytest.skip(f"{path} is not here; HANDREFINER_CASES may name the folder")
    image = np.asarray(PillowImage.open(path).convert("RGB"))
    params = RefineParams()
    result = refine(image, params, build_stages(params, ModelHome()))
    np.testing.assert_array_equal(result.image, image)
    assert any("beside the hand" in decision.reason for decision in result.decisions)


@pytest.mark.parametrize(("area", "in_wished"), [(0.08, False), (0.12, True)])
def test_a_hand_that_was_wished_may_change_more(image, seen, monkeypatch, area, in_wished):
    monkeypatch.setattr(beside, "measure_change", lambda *_: Change(area, 0.01, 0.0))
    wished = tuple(replace(mesh, gesture="fist") for mesh in seen.meshes)
    assert set(find_damage(image, image, seen.maps, seen.meshes)) == {0, 1}
    assert set(find_damage(image, image, seen.maps, wished)) == ({0, 1} if in_wished else set())


def test_without_the_guard_the_draft_may_change_what_is_beside_the_hand(image, seen):
    after = image.copy()
    box, mask = seen.maps.hand_masks[0]
    after[box.slices][mask] = (0, 0, 255)
    good = Agreement(1.0, 0.01)
    decision = Decision(0, True, "", good, good, quality_before=Quality(0.3))
    guarded, free = (find_unfit(image, after, seen, [decision], guards) for guards in (True, False))
    assert "beside the hand" in guarded[0]
    assert not any("beside the hand" in reason for reason in free.values())
