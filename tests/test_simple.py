"""The three-line Python interface."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hand_scenes import BOTH, hold_tiny_backends, picture_with
from PIL import Image

import handrefiner_ext
from handrefiner_ext import pipeline
from handrefiner_ext.errors import InvalidParameter, PictureError
from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import Registry
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import ModelHome

EXAMPLE = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"


@pytest.fixture
def tiny(monkeypatch):
    return hold_tiny_backends(monkeypatch)


def test_the_package_itself_costs_nothing():
    code = "import sys, handrefiner_ext; print('numpy' in sys.modules, dir(handrefiner_ext))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")
    assert "'hints'" in done.stdout
    assert "'refine'" in done.stdout
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = handrefiner_ext.nonsense


def test_the_calls_give_what_the_pipeline_gives():
    image = np.asarray(Image.open(EXAMPLE).convert("RGB"))
    params = RefineParams(mask="silhouette", padding_bbox=20, keep_best=False)
    expected = pipeline.refine(image, params, build_stages(params, ModelHome()))
    given = {"mask": "silhouette", "padding_bbox": 20, "keep_best": False}
    seen = handrefiner_ext.hints(EXAMPLE, **given)
    assert np.array_equal(seen.maps.control, expected.hints.maps.control)
    assert seen.overlay.shape == image.shape
    assert np.array_equal(handrefiner_ext.refine(EXAMPLE, **given).image, expected.image)


def test_a_path_a_text_an_array_and_a_pil_picture_are_the_same_picture(tiny, tmp_path):
    image = picture_with(BOTH)
    Image.fromarray(image).save(tmp_path / "a.png")
    forms = (tmp_path / "a.png", str(tmp_path / "a.png"), image, Image.fromarray(image))
    first, *others = (handrefiner_ext.refine(form, keep_best=False).image for form in forms)
    assert not np.array_equal(first, image)
    assert all(np.array_equal(other, first) for other in others)


def test_a_file_keeps_its_transparency_and_metadata(tiny, tmp_path):
    alpha = np.full((60, 120, 1), 77, dtype=np.uint8)
    place, out = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(np.concatenate([picture_with(BOTH), alpha], axis=2)).save(place)
    result = handrefiner_ext.refine(place)
    result.save(out)
    with Image.open(out) as saved:
        assert saved.mode == "RGBA"
        assert np.array_equal(np.asarray(saved)[..., :3], result.image)
        assert (np.asarray(saved)[..., 3] == 77).all()
    assert result._repr_png_().startswith(b"\x89PNG")
    array = handrefiner_ext.refine(picture_with(BOTH))
    array.save(out)
    assert np.array_equal(np.asarray(Image.open(out)), array.image)
    assert handrefiner_ext.hints(place)._repr_png_().startswith(b"\x89PNG")


def test_a_drawn_mask_is_used(tiny):
    mask = np.zeros((60, 120), dtype=bool)
    mask[20:40] = True
    image = picture_with(BOTH)
    result = handrefiner_ext.refine(image, mask="drawn", drawn_mask=mask, keep_best=False)
    changed = (result.image != image).any(axis=2)
    assert np.array_equal(changed, result.hints.maps.mask)
    assert changed[mask].all()
    assert not changed.all()


def test_backends_are_kept_between_calls(tiny, monkeypatch):
    built = []
    build = Registry.build

    def count(registry, name, **options):
        built.append((name, options["home"].device))
        return build(registry, name, **options)

    monkeypatch.setattr(Registry, "build", count)
    for _ in range(2):
        handrefiner_ext.refine(picture_with(BOTH), strength=0.6)
    names = ["yolo", "graphormer", "raster", "open_hand", "litert", "mediapipe"]
    assert built == [(name, None) for name in names]
    handrefiner_ext.refine(picture_with(BOTH), device="cpu")
    assert built[6:] == [("yolo", "cpu"), ("graphormer", "cpu")], (
        "only what depends on the device is built again"
    )


def test_what_is_wrong_is_a_sentence():
    with pytest.raises(InvalidParameter, match="Did you mean strength"):
        handrefiner_ext.refine(EXAMPLE, strenght=0.5)
    with pytest.raises(InvalidParameter, match="from 0 to 1"):
        handrefiner_ext.refine(EXAMPLE, strength=5)
    with pytest.raises(PictureError, match="does not exist"):
        handrefiner_ext.refine("nothing.png")
    with pytest.raises(PictureError, match="or an array"):
        handrefiner_ext.refine(np.zeros((4, 4)))
