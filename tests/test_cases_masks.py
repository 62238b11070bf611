"""Whoever draws a mask says what may change: nothing else does, whatever form the mask has."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_runs import read, run
from hand_scenes import BOTH, make_stages, picture_with
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handrefiner_ext import pipeline
from handrefiner_ext.cli.commands import DONE, FAILED
from handrefiner_ext.errors import PictureError
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import encode_png, load_mask, read_mask

CASES = Path(os.environ.get("HANDREFINER_CASES", "nowhere"), "files")
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="needs the folder HANDREFINER_CASES")
EXAMPLE = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"
PARAMS = RefineParams(mask="drawn", keep_best=False)
SIZE = (60, 120)


def blob(x, y, radius, size=SIZE):
    mask = np.zeros(size, dtype=np.uint8)
    cv2.circle(mask, (x, y), radius, 1, cv2.FILLED)
    return mask.astype(bool)


LEFT, RIGHT = blob(30, 30, 20), blob(90, 30, 20)


def refine(drawn, params=PARAMS, hands=BOTH):
    image = picture_with(hands)
    return image, pipeline.refine(image, params, make_stages(), drawn)


def changed(image, result):
    return (image != result.image).any(axis=2)


# --- what is drawn is obeyed


def test_a_hand_that_the_mask_does_not_touch_is_left_alone():
    for drawn, kept in ((LEFT, 2), (RIGHT, 1)):
        image, result = refine(drawn)
        assert changed(image, result).any()
        assert not (changed(image, result) & ~drawn).any()
        (refusal,) = [r for r in result.hints.detection.refused if r.number]
        assert (refusal.number, refusal.reason) == (kept, "The drawn mask does not touch it.")
        assert len(result.hints.meshes) == 1


def test_both_hands_are_repainted_where_both_are_touched():
    image, result = refine(LEFT | RIGHT)
    assert len(result.decisions) == 2
    assert (changed(image, result) & LEFT).any()
    assert (changed(image, result) & RIGHT).any()
    assert not (changed(image, result) & ~(LEFT | RIGHT)).any()


def test_an_empty_mask_changes_nothing_and_says_so():
    image, result = refine(np.zeros(SIZE, dtype=bool))
    assert result.image is image
    assert pipeline.EMPTY_MASK in result.hints.notes
    assert not result.hints.maps.mask.any()


def test_half_a_hand_may_be_drawn():
    drawn = LEFT.copy()
    drawn[:, 30:] = False
    image, result = refine(drawn)
    assert changed(image, result).any()
    assert not (changed(image, result) & ~drawn).any()


@settings(max_examples=60)
@given(
    blobs=st.lists(
        st.tuples(st.integers(0, 119), st.integers(0, 59), st.integers(0, 40)), max_size=4
    ),
    keep_best=st.booleans(),
    padding=st.integers(0, 60),
    blur=st.integers(0, 16),
)
def test_nothing_changes_outside_whatever_is_drawn(blobs, keep_best, padding, blur):
    drawn = np.zeros(SIZE, dtype=bool)
    for x, y, radius in blobs:
        drawn |= blob(x, y, radius)
    params = RefineParams(
        mask="drawn", keep_best=keep_best, padding_bbox=padding, mask_blur=blur, min_hand_size=8
    )
    image, result = refine(drawn, params)
    assert not (changed(image, result) & ~drawn).any()
    assert not (result.hints.maps.mask & ~drawn).any()


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the package alone is installed")
def test_the_draft_of_a_real_hand_stays_inside_the_drawn_mask(tmp_path):
    height, width = read(EXAMPLE).shape[:2]
    drawn = blob(width // 2, height // 2, min(height, width) // 8, (height, width))
    Image.fromarray(np.where(drawn, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    command = ("refine", "--input_img", EXAMPLE, "--out_dir", tmp_path, "--keep_best", "false")
    assert run(*command, "--mask", "drawn", "--drawn_mask", tmp_path / "mask.png") == DONE
    after = read(tmp_path / f"{EXAMPLE.stem}_0.png")
    differs = (after[..., :3] != read(EXAMPLE)[..., :3]).any(axis=2)
    assert differs.any()
    assert not (differs & ~drawn).any()


@needs_cases
def test_the_reported_black_mask_changes_nothing(tmp_path, capsys):
    picture = CASES.parents[1] / "images" / "1.jpg"
    command = ("refine", "--input_img", picture, "--out_dir", tmp_path, "--mask", "drawn")
    assert run(*command, "--drawn_mask", CASES / "black_512.png") == DONE
    assert pipeline.EMPTY_MASK in capsys.readouterr().out
    np.testing.assert_array_equal(read(tmp_path / "1_0.png"), read(picture))


# --- forms of a mask


def save(path, pixels):
    path.write_bytes(encode_png(np.ascontiguousarray(pixels)))
    return path


def soft(mask):
    return cv2.GaussianBlur(np.where(mask, 255, 0).astype(np.uint8), (9, 9), 2)


def rgba(colour, alpha):
    pixels = np.zeros((*alpha.shape, 4), dtype=np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = alpha
    return pixels


STROKE = blob(60, 50, 25, (100, 140))
OPAQUE = np.where(STROKE, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(OPAQUE, id="white on black"),
        pytest.param(soft(STROKE), id="soft edges"),
        pytest.param(OPAQUE[..., None].repeat(3, axis=2), id="RGB"),
        pytest.param(OPAQUE.astype(np.uint16) * 257, id="16 bits"),
        pytest.param(rgba((0, 0, 0), OPAQUE), id="black strokes on transparency"),
        pytest.param(rgba((255, 255, 255), OPAQUE), id="white strokes on transparency"),
        pytest.param(rgba((220, 30, 30), OPAQUE), id="red strokes on transparency"),
        pytest.param(rgba((0, 0, 0), soft(STROKE)), id="soft strokes on transparency"),
        pytest.param(rgba((0, 0, 0), 255 - OPAQUE), id="a hole in black, as ComfyUI saves it"),
        pytest.param(
            rgba(OPAQUE[..., None], np.where(np.arange(100)[:, None] < 5, 0, 255 + 0 * OPAQUE)),
            id="white on black with a transparent rim",
        ),
    ],
)
def test_every_form_of_a_mask_is_read(pixels, tmp_path):
    mask = load_mask(save(tmp_path / "mask.png", pixels), *STROKE.shape)
    differs = (mask != STROKE).mean()
    assert differs < 0.005  # soft edges are cut at half


def test_a_picture_erased_where_it_may_change_is_a_mask():
    """ComfyUI saves the picture itself, with the mask in its alpha."""
    hole = blob(60, 60, 30, (200, 240))
    erased = np.dstack([photo(), np.where(hole, 0, 255).astype(np.uint8)])
    np.testing.assert_array_equal(read_mask(erased), hole)


def test_faint_strokes_are_strokes():
    faint = rgba((220, 30, 30), (OPAQUE * 0.4).astype(np.uint8))
    np.testing.assert_array_equal(read_mask(faint), STROKE)


def test_empty_and_full_masks_are_masks():
    shape = (40, 50)
    black = np.zeros((*shape, 1), dtype=np.uint8)
    assert not read_mask(black).any()
    assert read_mask(black + 255).all()
    assert not read_mask(rgba((255, 255, 255), np.zeros(shape, dtype=np.uint8))).any()


def photo(seed=0, size=(200, 240)):
    """Colours and greys that lie in between everywhere, as in any photograph."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)


def ink(size=(200, 240)):
    """A drawing in ink: black lines on white."""
    page = np.full(size, 255, dtype=np.uint8)
    for x in range(0, size[1], 12):
        cv2.line(page, (x, 0), (size[1] - x, size[0]), 0, 1)
        cv2.circle(page, (size[1] // 2, size[0] // 2), x, 0, 1)
    return page


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(photo(), id="a photograph"),
        pytest.param(photo().mean(axis=2).astype(np.uint8), id="a grey photograph"),
        pytest.param(ink(), id="a drawing in ink"),
        pytest.param(np.full((50, 60), 128, dtype=np.uint8), id="grey"),
        pytest.param(
            np.dstack([photo(), 255 * blob(60, 60, 30, (200, 240)).astype(np.uint8)]),
            id="what was cut out of a photograph",
        ),
    ],
)
def test_a_picture_is_refused_as_a_mask(pixels, tmp_path):
    path = save(tmp_path / "mask.png", pixels)
    with pytest.raises(PictureError, match=r"mask\.png is a picture, not a mask; paint white"):
        load_mask(path, *pixels.shape[:2])


@needs_cases
def test_the_reported_masks_are_read_and_refused(tmp_path, capsys):
    mask = load_mask(CASES / "black_strokes_on_transparency.png", 512, 512)
    assert mask.mean() == pytest.approx(0.1188, abs=0.001)
    picture = CASES.parents[1] / "images" / "1.jpg"
    with Image.open(CASES / "picture_as_mask.png") as opened:
        hole = np.asarray(opened)[..., 3] == 0
        opened.convert("RGB").save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(load_mask(CASES / "picture_as_mask.png", 512, 512), hole)
    out = tmp_path / "out"
    command = ("refine", "--input_img", picture, "--out_dir", out, "--mask", "drawn")
    assert run(*command, "--drawn_mask", tmp_path / "opaque.png") == FAILED
    assert "is a picture, not a mask" in capsys.readouterr().err
    assert list(out.iterdir()) == []
