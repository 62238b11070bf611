"""Generating with the switch on, on a real host with tiny checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
from generation import GENTLE, SIZE, as_mask, changed, encode, hands_of, img2img, load, txt2img
from installed import FORGE

SECOND_CHOICES = {FORGE: {"hr_additional_modules": ["Use same choices"]}}
"""Without it Forge's own API fails at every hires fix (modules/processing.py:1405)."""
MODEL = "control_sd15_inpaint_depth_hand_fp16"


@pytest.fixture(scope="module")
def fixed(host, woman):
    """The request with us: result, depth, mask and the picture before."""
    return img2img(host, woman, {**GENTLE, "extra_images": True})


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_hand_changes_and_nothing_else_does(host, photographs, woman, number):
    picture = load(photographs / f"{number}.jpg")
    off = img2img(host, picture)
    on = img2img(host, picture, {**GENTLE, "extra_images": True})
    mask = as_mask(on.images[2])
    difference = changed(on.image, off.image)
    assert "refined" in on.hands
    assert not difference[~mask].any()
    assert difference[mask].mean() > 0.5


def test_the_same_request_gives_the_same_picture(host, woman, fixed):
    again = img2img(host, woman, {**GENTLE, "extra_images": True})
    assert not changed(again.image, fixed.image).any()
    assert again.texts == fixed.texts


def test_every_strength_gives_another_picture(host, woman, fixed):
    mask = as_mask(fixed.images[2])
    results = [
        img2img(host, woman, {**GENTLE, "strength": strength}).image
        for strength in (0.0, 0.4, 0.55, 0.8, 1.0)
    ]
    for i, a in enumerate(results):
        for b in results[i + 1 :]:
            difference = changed(a, b)
            assert difference[mask].any()
            assert not difference[~mask].any()


def test_strength_zero_is_the_second_pass_without_control(host, woman):
    never = {"guidance_start": 1.0, "guidance_end": 1.0, "strength": 1.0}
    uncontrolled = img2img(host, woman, {**GENTLE, **never})
    zero = img2img(host, woman, {**GENTLE, "strength": 0.0})
    assert not changed(uncontrolled.image, zero.image).any()


def test_the_switch_off_leaves_the_picture_to_the_bit(host, woman, plain):
    off = img2img(host, woman, {"enabled": False, "strength": 1.0})
    assert not changed(off.image, plain.image).any()
    assert off.texts == plain.texts


def test_the_text_names_model_strength_and_hands(fixed):
    assert f"HandRefiner control model: {MODEL}" in fixed.texts[0]
    assert "HandRefiner strength: 0.55" in fixed.texts[0]
    assert fixed.decisions == "1 right refined"


def test_extra_images_follow_the_result_with_texts_of_their_own(fixed, plain):
    result, depth, mask, before = fixed.images
    assert len(fixed.texts) == 4
    assert not changed(before, plain.image).any()
    assert set(np.unique(mask)) == {0, 255}
    assert as_mask(mask)[depth[..., 0] > 0].all()
    assert not changed(result, before)[~as_mask(mask)].any()


def test_a_batch_has_every_picture_repainted_with_its_own_seed(host, woman):
    photograph = woman
    hands = {**GENTLE, "extra_images": True}
    on = txt2img(host, photograph, hands, batch_size=2, n_iter=2, do_not_save_grid=True)
    grid = len(on.images) - 4 * 4
    results, extras = on.images[grid : grid + 4], on.images[grid + 4 :]
    mask = as_mask(extras[1])
    assert all("refined" in hands_of(text) for text in on.texts[grid : grid + 4])
    for number, result in enumerate(results):
        assert not changed(result, photograph)[~mask].any()
        for other in results[number + 1 :]:
            assert changed(result, other)[mask].any()


def test_hires_fix_is_repainted_at_its_final_size(host, woman):
    on = txt2img(
        host,
        woman,
        {**GENTLE, "extra_images": True},
        width=256,
        height=256,
        enable_hr=True,
        hr_scale=2,
        hr_upscaler="Latent",
        **SECOND_CHOICES.get(host.kind, {}),
        denoising_strength=0.5,
    )
    mask = as_mask(on.images[2])
    assert on.image.shape == (SIZE, SIZE, 3)
    assert "refined" in on.hands
    assert not changed(on.image, woman)[~mask].any()


@pytest.mark.parametrize("full_res", [False, True])
@pytest.mark.parametrize("inverted", [0, 1])
def test_hands_outside_the_inpaint_mask_are_left_alone(host, woman, full_res, inverted):
    top = np.zeros((SIZE, SIZE), dtype=bool)
    top[:200] = True
    mask = ~top if inverted else top
    inpaint = {
        "mask": encode(mask),
        "inpaint_full_res": full_res,
        "inpainting_mask_invert": inverted,
        "inpainting_fill": 1,
        "mask_blur": 0,
    }
    off = img2img(host, woman, **inpaint)
    on = img2img(host, woman, GENTLE, **inpaint)
    assert "refined" not in on.hands
    assert not changed(on.image, off.image).any()


@pytest.mark.parametrize("full_res", [False, True])
def test_a_hand_inside_the_inpaint_mask_is_repainted(host, woman, full_res):
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[200:, :] = True
    inpaint = {"mask": encode(mask), "inpaint_full_res": full_res, "inpainting_fill": 1}
    off = img2img(host, woman, **inpaint, mask_blur=0)
    on = img2img(host, woman, GENTLE, **inpaint, mask_blur=0)
    difference = changed(on.image, off.image)
    assert "refined" in on.hands
    assert difference.any()
    assert not difference[:200].any()
