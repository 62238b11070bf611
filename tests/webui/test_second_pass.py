"""The outer run and the host behave as if the second pass were not there."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from generation import (
    GENTLE,
    SIZE,
    alike,
    as_mask,
    changed,
    control_model,
    decisions_of,
    encode,
    hands_of,
    img2img,
    load,
    txt2img,
)
from installed import A1111, FORGE

SLOW = {**GENTLE, "steps": 150, "denoising_strength": 0.9}


def test_skipping_img2img_keeps_every_pixel_outside_the_mask(host, woman):
    hands = {**GENTLE, "skip_img2img": True, "extra_images": True}
    on = img2img(host, woman, hands, denoising_strength=0.75, batch_size=2)
    mask = as_mask(on.images[-2])
    for result in on.images[-8:-6]:
        assert changed(result, woman)[mask].any()
        assert not changed(result, woman)[~mask].any()


def test_skipping_img2img_keeps_a_picture_of_odd_size_to_the_bit(host, photographs, woman):
    picture = load(photographs / "2.jpg", (501, 389))
    hands = {**GENTLE, "skip_img2img": True, "hands": "left"}
    on = img2img(host, picture, hands, denoising_strength=0.75)
    assert on.image.shape == picture.shape
    assert not changed(on.image, picture).any()
    assert "not among those chosen" in on.hands


@pytest.mark.parametrize("full_res", [False, True])
def test_skipping_img2img_stays_inside_the_inpaint_mask(host, woman, full_res):
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[:, :256] = True
    inpaint = {"mask": encode(mask), "inpaint_full_res": full_res, "mask_blur": 4}
    hands = {**GENTLE, "skip_img2img": True}
    on = img2img(host, woman, hands, denoising_strength=0.75, **inpaint)
    difference = changed(on.image, woman)
    assert difference.any()
    assert not difference[:, 256:].any()
    again = img2img(host, woman, **inpaint, inpainting_fill=1)
    assert changed(again.image, woman).any(), "without the switch the picture is generated anew"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"control_model": "no_such_model"}, "not installed"),
        ({"control_model": "control_v11f1p_sd15_depth"}, "not installed"),
        ({"mask": "drawn"}, "drawn"),
        ({"min_hand_size": 500}, "left alone"),
        ({"hands": "left"}, "not among those chosen"),
    ],
)
def test_what_is_missing_leaves_the_picture_unharmed_and_says_so(
    host, woman, plain, values, reason
):
    on = img2img(host, woman, {**GENTLE, **values})
    assert alike(on.image, plain.image)
    assert reason in on.hands
    assert "refined" not in on.hands
    assert "1 right refined" in img2img(host, woman, GENTLE).hands


def test_the_parameters_file_is_the_outer_runs(host, woman):
    img2img(host, woman, {**GENTLE, "prompt": "five_fingers_of_the_second_pass"})
    if host.data is None:
        pytest.skip("the host is not ours; its data folder is unknown")
    text = (host.data / "params.txt").read_text("utf-8")
    assert text.startswith("a hand\n")
    assert f"Size: {SIZE}x{SIZE}" in text
    assert "HandRefiner strength: 0.55" in text


def test_copies_are_saved_beside_the_picture_when_the_settings_say_so(host, woman):
    if host.data is None:
        pytest.skip("the host is not ours; its data folder is unknown")
    setting = "handrefiner_save_copies"
    copies = ("before", "depth", "mask", "overlay")
    host.post("/sdapi/v1/options", {setting: list(copies), "samples_format": "png"})
    try:
        on = img2img(host, woman, {**GENTLE, "extra_images": True}, save_images=True)
    finally:
        host.post("/sdapi/v1/options", {setting: []})
    extras = dict(zip(("depth", "mask", "before"), on.images[1:], strict=True))
    for name in copies:
        (file,) = host.data.rglob(f"*-hands-{name}.png")
        saved = load(file)
        assert not changed(saved, extras.get(name, saved)).any()
        assert changed(saved, on.image).any()


def test_another_checkpoint_is_loaded_once_for_a_batch_and_leaves_no_trace(host, woman, plain):
    hands = {**GENTLE, "checkpoint": "tiny-sd15-inpainting", "extra_images": True}
    with counted_loads(host) as loads:
        on = img2img(host, woman, hands, batch_size=2, do_not_save_grid=True)
    for result, (_, mask, before) in zip(
        on.images[-8:-6], (on.images[-6:-3], on.images[-3:]), strict=True
    ):
        difference = changed(result, before)
        assert difference[as_mask(mask)].any()
        assert not difference[~as_mask(mask)].any()
    assert all("refined" in hands_of(text) for text in on.texts)
    assert "Model: tiny-sd15," in on.texts[0]
    assert loads == [expected_loads(host, 1)], "the other is kept for the way back"
    assert alike(img2img(host, woman).image, plain.image)
    assert host.get("/sdapi/v1/options")["sd_model_checkpoint"].startswith("tiny-sd15.")


def test_the_hand_is_the_one_that_the_other_checkpoint_paints(host, woman):
    """From the same picture, painted by that checkpoint as the request's own."""
    name = "tiny-sd15-inpainting"
    hands = {**GENTLE, "skip_img2img": True, "denoising_strength": 0.5}
    own = {"override_settings": {"sd_model_checkpoint": name}}
    theirs = img2img(host, woman, hands, **own)
    ours = img2img(host, woman, {**hands, "checkpoint": name})
    assert alike(ours.image, theirs.image)
    assert not alike(ours.image, img2img(host, woman, hands).image)


@pytest.mark.only_on("a1111", "forge", reason="reForge takes no notice of the control mode")
def test_every_control_mode_paints_another_hand(host, woman):
    made = [
        img2img(host, woman, {**GENTLE, "denoising_strength": 0.3, "control_mode": mode}).image
        for mode in ("balanced", "prompt", "controlnet")
    ]
    for number, image in enumerate(made):
        assert not any(alike(image, other) for other in made[:number])


@pytest.mark.parametrize("with_outer_unit", [False, True])
def test_another_checkpoint_is_read_once_for_all_iterations(host, woman, with_outer_unit):
    more = {"n_iter": 3, "do_not_save_grid": True}
    if with_outer_unit:
        more["alwayson_scripts"] = {"ControlNet": {"args": [outer_unit(host, woman)]}}
    for _ in range(2):  # it was let go after the first request
        with counted_loads(host) as loads:
            on = img2img(host, woman, {**GENTLE, "checkpoint": "tiny-sd15-inpainting"}, **more)
        assert loads == [expected_loads(host, 3)]
        assert [decisions_of(text) for text in on.texts[-3:]] == ["1 right refined"] * 3


@contextmanager
def counted_loads(host):
    """A list that, afterwards, holds how many checkpoints were read from disk meanwhile."""
    loads = []
    before = host.count_loads()
    yield loads
    loads.append(host.count_loads() - before)


def expected_loads(host, iterations):
    """Forge has a place for one network, so that it reads both at each change."""
    return 2 * iterations if host.kind == FORGE else 1


def outer_unit(host, photograph):
    return {
        "enabled": True,
        "module": "none" if host.kind == A1111 else "None",
        "model": control_model(host),
        "weight": 1.0,
        "image": encode(photograph),
    }


@pytest.mark.parametrize("values", [{}, {"checkpoint": "tiny-sd15-inpainting"}])
def test_the_outer_runs_controlnet_stays_for_all_its_pictures(host, woman, values):
    scripts = {"ControlNet": {"args": [outer_unit(host, woman)]}}
    more = {"n_iter": 2, "do_not_save_grid": True, "denoising_strength": 0.03}
    bare = img2img(host, woman, **more)
    off = img2img(host, woman, alwayson_scripts=scripts, **more)
    on = img2img(host, woman, {**GENTLE, **values}, alwayson_scripts=scripts, **more)
    first = off.info["index_of_first_image"]
    assert len(on.images) == len(off.images), "the unit's own picture is still there"
    made = on.texts[first : first + 2]
    assert [decisions_of(text) for text in made] == ["1 right refined"] * 2
    for number in (first, first + 1):
        assert alike(on.images[number][:150], off.images[number][:150]), "above the hand"
        assert not alike(on.images[number], off.images[number]), "the hand"
        assert not alike(bare.images[number][:150], off.images[number][:150]), "the unit's effect"


@pytest.mark.parametrize("route", ["interrupt", "skip"])
def test_stopping_during_the_second_pass_keeps_the_original(host, woman, plain, route):
    answers = []
    worker = threading.Thread(target=lambda: answers.append(img2img(host, woman, SLOW)))
    worker.start()
    try:
        wait_for_the_second_pass(host)
        host.post(f"/sdapi/v1/{route}", {})
    finally:
        worker.join()
    assert alike(answers[0].image, plain.image)
    assert "interrupted or skipped" in answers[0].hands
    after = img2img(host, woman, GENTLE)
    assert "1 right refined" in after.hands


def wait_for_the_second_pass(host):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        progress = host.get("/sdapi/v1/progress?skip_current_image=true")
        step = progress["state"]["sampling_step"]
        if "HandRefiner" in (progress["textinfo"] or "") and step > 1:
            return
        time.sleep(0.05)
    raise AssertionError("the second pass did not begin")


def test_two_hands_far_apart_are_two_regions_with_prompts_of_their_own(host, woman):
    photograph = np.concatenate([woman, woman[:, ::-1]], axis=1)
    hands = {**GENTLE, "prompt": "one [SEP] [PROMPT]", "extra_images": True}
    on = txt2img(host, photograph, hands, width=2 * SIZE)
    mask = as_mask(on.images[2])
    difference = changed(on.image, photograph)
    assert "1 right refined; 2 left refined" in on.hands
    assert "kept" not in on.hands
    assert difference[:, :SIZE].any()
    assert difference[:, SIZE:].any()
    assert not difference[~mask].any()


@pytest.mark.parametrize("search", ["paper", "fast"])
def test_adaptive_strength_gives_exactly_the_picture_of_the_strength_it_names(host, woman, search):
    on = img2img(host, woman, {**GENTLE, "adaptive_strength": search})
    found = re.match(r"1 right refined at (0\.[4-9]|1)(;|$)", on.hands)
    assert found, on.hands
    assert f"HandRefiner adaptive strength: {search}" in on.texts[0]
    fixed = img2img(host, woman, {**GENTLE, "strength": float(found[1])})
    assert alike(on.image, fixed.image)
