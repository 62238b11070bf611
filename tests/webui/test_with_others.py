"""Beside ADetailer, under scripts that run the WebUI many times, and on our own route."""

from __future__ import annotations

import numpy as np
import pytest
from generation import (
    BASE,
    GENTLE,
    PLOT,
    alike,
    changed,
    decode,
    encode,
    img2img,
    load,
    plot_arguments,
    read,
    txt2img,
)
from PIL import Image

from handrefiner_ext.cli.commands import main


@pytest.fixture(scope="module")
def woman(photographs, host):
    picture = load(photographs / "2.jpg")
    img2img(host, picture)
    return picture


@pytest.mark.only_on("a1111", reason="ADetailer is installed there")
def test_both_after_detailers_run_once(host, woman):
    face = {"ad_model": "mediapipe_face_short", "ad_denoising_strength": 0.1}
    scripts = {"ADetailer": {"args": [True, False, face]}}
    on = txt2img(host, woman, GENTLE, alwayson_scripts=scripts)
    difference = changed(on.image, woman)
    assert "ADetailer model: mediapipe_face_short" in on.texts[0]
    assert on.texts[0].count("HandRefiner hands:") == 1
    assert on.decisions == "1 right refined"
    assert difference[:220].any(), "the face"
    assert difference[260:420].any(), "the hand"


def test_a_strength_sweep_gives_as_many_pictures_as_values(host, woman):
    body = {
        **BASE,
        "init_images": [encode(woman)],
        "denoising_strength": 0.01,
        "script_name": PLOT,
        "script_args": plot_arguments(host, "[HandRefiner] Strength", "0.0, 0.4, 0.8", True),
        "alwayson_scripts": {"HandRefiner": {"args": [GENTLE]}},
    }
    done = read(host.post("/sdapi/v1/img2img", body))
    cells = [image for image in done.images if image.shape == woman.shape][:3]
    texts = [text for text in done.texts if "HandRefiner strength" in text]
    assert len(cells) == 3
    assert all(changed(a, b).any() for i, a in enumerate(cells) for b in cells[i + 1 :])
    assert {t.split("HandRefiner strength: ")[1].split(",")[0] for t in texts} >= {"0.4", "0.8"}


def test_loopback_repaints_every_round(host, woman):
    body = {
        **BASE,
        "init_images": [encode(woman)],
        "denoising_strength": 0.01,
        "script_name": "loopback",
        "script_args": [2, 0.01, "Linear", "None"],
        "alwayson_scripts": {"HandRefiner": {"args": [GENTLE]}},
    }
    done = read(host.post("/sdapi/v1/img2img", body))
    assert sum("HandRefiner hands: 1 right refined" in text for text in done.texts) >= 2


def test_our_route_repaints_a_picture_in_the_webui(host, woman):
    values = {**GENTLE, "steps": 4, "sampler": "Euler", "prompt": "a hand"}
    values.pop("enabled")
    answer = host.post("/handrefiner/v1/refine", {"image": encode(woman), **values})
    picture = decode(answer["image"])
    difference = changed(picture, woman)
    assert difference.any()
    assert not difference[:200].any()
    assert np.array_equal(picture.shape, woman.shape)


def test_generating_after_all_that_is_as_before(host, woman):
    assert alike(img2img(host, woman).image, img2img(host, woman).image)


def test_the_command_line_has_a_folder_repainted_by_the_webui(host, woman, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        Image.fromarray(woman).save(tmp_path / "in" / f"{name}.png")
    options = ["--input_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / "out")]
    options += ["--mask_dir", str(tmp_path / "mask"), "--url", host.url, "--steps", "4"]
    options += ["--keep_best", "False"]
    values = [word for name in ("denoising_strength", "region_size") for word in option(name)]
    assert main(["refine", *options, *values]) == 0
    for name in ("a", "b"):
        made = np.asarray(Image.open(tmp_path / "out" / f"{name}_0.png").convert("RGB"))
        mask = np.asarray(Image.open(tmp_path / "mask" / f"{name}_mask.png")) > 0
        assert changed(made, woman)[mask].any()
        assert not changed(made, woman)[~mask].any()


def option(name):
    return [f"--{name}", str(GENTLE[name])]
