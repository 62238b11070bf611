"""LoRA, another VAE, token merging and a 9-channel checkpoint: in force where they belong."""

from __future__ import annotations

import numpy as np
from generation import GENTLE, alike, as_mask, changed, decisions_of, img2img
from small_files import LORA, VAE

ABOVE_THE_HAND = 150
WITH_LORA = f"a hand <lora:{LORA}:1>"
STRONGER = {**GENTLE, "denoising_strength": 0.3}


def test_the_outer_runs_lora_is_in_force_in_both_passes_and_gone_afterwards(host, woman, plain):
    more = {"n_iter": 2, "do_not_save_grid": True, "denoising_strength": 0.05}
    bare = img2img(host, woman, **more)
    off = img2img(host, woman, prompt=WITH_LORA, **more)
    on = img2img(host, woman, GENTLE, prompt=WITH_LORA, **more)
    for number in (-2, -1):
        outside = np.s_[:ABOVE_THE_HAND]
        assert alike(on.images[number][outside], off.images[number][outside])
        assert not alike(off.images[number][outside], bare.images[number][outside])
        assert decisions_of(on.texts[number]) == "1 right refined"
    skipping = {**STRONGER, "skip_img2img": True}
    inner = img2img(host, woman, skipping, prompt=WITH_LORA)
    assert not alike(inner.image, img2img(host, woman, skipping).image), "in the second pass, too"
    assert alike(img2img(host, woman).image, plain.image)


def test_another_vae_paints_the_hands_only(host, woman, plain):
    own = img2img(host, woman, {**GENTLE, "extra_images": True})
    other = img2img(host, woman, {**GENTLE, "vae": f"{VAE}.safetensors"}, n_iter=2)
    mask = as_mask(own.images[-2])
    for image in other.images[-2:]:
        difference = np.abs(image.astype(int) - own.image)
        assert difference[mask].mean() > 2
    assert not changed(other.images[-2], plain.image)[~mask].any()
    assert decisions_of(other.texts[-1]) == "1 right refined"
    assert alike(img2img(host, woman).image, plain.image)
    assert host.get("/sdapi/v1/options")["sd_vae"] == "Automatic"


def test_token_merging_stays_that_of_the_outer_run(host, woman, plain):
    names = ("token_merging_ratio", "token_merging_ratio_img2img")
    # The WebUI puts back only what its settings hold already.
    host.post("/sdapi/v1/options", dict.fromkeys(names, 0.0))
    merging = dict.fromkeys(names, 0.7)
    more = {"n_iter": 2, "do_not_save_grid": True, "override_settings": merging}
    more["denoising_strength"] = 0.3
    bare = img2img(host, woman, denoising_strength=0.3)
    off = img2img(host, woman, **more)
    on = img2img(host, woman, GENTLE, **more)
    assert not alike(off.images[-2], bare.image), "it was in force"
    for number in (-2, -1):
        outside = np.s_[:ABOVE_THE_HAND]
        assert alike(on.images[number][outside], off.images[number][outside])
    assert "Token merging ratio: 0.7" in on.texts[-1]
    assert alike(img2img(host, woman).image, plain.image)


def test_an_inpainting_checkpoint_paints_picture_and_hands(host, woman):
    """The picture's own checkpoint has nine channels; ours is not named."""
    more = {"override_settings": {"sd_model_checkpoint": "tiny-sd15-inpainting"}}
    off = img2img(host, woman, **more)
    on = img2img(host, woman, {**GENTLE, "extra_images": True}, **more)
    result, _, mask, before = on.images
    assert "Model: tiny-sd15-inpainting," in on.texts[0]
    assert on.decisions == "1 right refined"
    assert alike(before, off.image)
    assert changed(result, before)[as_mask(mask)].mean() > 0.5
    assert not changed(result, before)[~as_mask(mask)].any()
