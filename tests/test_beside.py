"""What lies beside a hand survives the draft, or the original is kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hand_scenes import BOTH, make_stages, picture_with
from PIL import Image as PillowImage

from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import hints, refine
from handrefiner_ext.repaint.beside import MOST_AREA, MOST_FOREIGN, find_damage, measure_change
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import ModelHome

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
    assert change_of(image, image.copy(), seen) == (0.0, 0.0)
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


def test_without_the_guard_the_draft_may_change_what_is_beside_the_hand():
    path = CASES / "ball_erased.png"
    if not path.exists():
        pytest.skip(f"{path} is not here; HANDREFINER_CASES may name the folder")
    image = np.asarray(PillowImage.open(path).convert("RGB"))
    params = RefineParams(guard=False)
    result = refine(image, params, build_stages(params, ModelHome()))
    assert not any("beside the hand" in decision.reason for decision in result.decisions)
    assert any(decision.refined for decision in result.decisions)
