"""SDXL on a real host: which control model is chosen, that it steers, the swap with SD1.5."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import make_tiny_sdxl
import pytest
from generation import GENTLE, alike, as_mask, changed, decisions_of, img2img, load
from installed import A1111, Installed, find_installed
from running_host import Host, missing_for_a_host, start_host
from test_second_pass import expected_loads

PREFIX = "/handrefiner/v1"
SD1_MODEL, SD1_CHECKPOINT = "control_sd15_inpaint_depth_hand_fp16", "tiny-sd15-inpainting"


@pytest.fixture(scope="module")
def files(sdxl_maker: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, a ControlNet and their tokenizer, made by an A1111's Python."""
    reason = missing_for_a_host() or os.environ.get("HANDREFINER_WEBUI_URL")
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("sdxl_files")
    places = (str(sdxl_maker.folder), os.environ["HF_HOME"], str(folder))
    done = subprocess.run(
        [sdxl_maker.python, make_tiny_sdxl.__file__, *places], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def sdxl(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host that has loaded it."""
    checkpoint = files / "checkpoints" / f"{make_tiny_sdxl.CHECKPOINT}.safetensors"
    (own,) = find_installed()
    if own.kind != A1111:  # the folder that is named takes the place of their own
        for model in (own.folder / "models" / "ControlNet").glob(f"{SD1_MODEL}.*"):
            (files / "controlnet" / model.name).symlink_to(model)
    running = start_host(
        tmp_path_factory.mktemp("sdxl"),
        *("--ckpt", str(checkpoint), "--ckpt-dir", str(files / "checkpoints")),
        *("--controlnet-dir", str(files / "controlnet")),
    )
    try:
        # The default preview of SDXL needs a file that the WebUI would download.
        running.post("/sdapi/v1/options", {"show_progress_type": "Approx cheap"})
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def woman(photographs: Path, sdxl: Host):
    picture = load(photographs / "2.jpg")
    img2img(sdxl, picture)
    return picture


@pytest.fixture(scope="module")
def plain(sdxl: Host, woman):
    return img2img(sdxl, woman)


def test_the_family_is_recognised_and_its_own_control_model_chosen(sdxl):
    said = sdxl.get(PREFIX + "/models")
    assert said["checkpoint_family"] == "sdxl"
    assert said["chosen"].startswith(make_tiny_sdxl.CONTROL)
    assert any(model["name"].startswith(SD1_MODEL) for model in said["control_models"])


def test_the_hand_changes_with_the_strength_and_nothing_else_does(sdxl, woman, plain):
    pictures = []
    for strength in (0.0, 0.4, 0.8, 0.8):
        on = img2img(sdxl, woman, {**GENTLE, "strength": strength, "extra_images": True})
        assert on.decisions == "1 right refined"
        assert f"HandRefiner control model: {make_tiny_sdxl.CONTROL}" in on.texts[0]
        mask = as_mask(on.images[2])
        assert changed(on.image, plain.image)[mask].mean() > 0.5
        assert not changed(on.image, plain.image)[~mask].any()
        pictures.append(on.image)
    none, weak, strong, again = pictures
    assert changed(none, weak)[mask].any()
    assert changed(weak, strong)[mask].any()
    assert not changed(strong, again).any(), "the same request gives the same picture"


def test_a_region_is_painted_at_the_size_of_sdxl_unless_another_is_asked_for(sdxl, woman):
    quick = {**GENTLE, "steps": 1}
    auto, native, small = (
        img2img(sdxl, woman, {**quick, "region_size": side}) for side in (0, 1024, 512)
    )
    assert auto.decisions == "1 right refined"
    assert not changed(auto.image, native.image).any()
    assert changed(auto.image, small.image).any()


@pytest.mark.parametrize("name", [SD1_MODEL, SD1_MODEL.upper()])
def test_a_control_model_for_sd1_is_refused_and_the_picture_unharmed(sdxl, woman, plain, name):
    on = img2img(sdxl, woman, {**GENTLE, "control_model": name})
    assert f"{SD1_MODEL} " in on.hands
    assert "is for Stable Diffusion 1.x, but the checkpoint is SDXL" in on.hands
    assert alike(on.image, plain.image)
    assert img2img(sdxl, woman, GENTLE).decisions == "1 right refined"


def test_without_a_control_model_for_sdxl_the_sentence_says_what_to_install(
    sdxl, files, woman, plain
):
    model = files / "controlnet" / f"{make_tiny_sdxl.CONTROL}.safetensors"
    model.rename(files / "away")
    try:
        on = img2img(sdxl, woman, GENTLE)
    finally:
        (files / "away").rename(model)
    assert "No depth ControlNet for SDXL checkpoints is installed" in on.hands
    assert alike(on.image, plain.image)


def test_an_sd1_checkpoint_paints_the_hands_of_an_sdxl_picture(sdxl, woman, plain):
    """The other family's network and ControlNet, read once for all iterations."""
    before = sdxl.count_loads()
    hands = {**GENTLE, "checkpoint": SD1_CHECKPOINT, "extra_images": True}
    on = img2img(sdxl, woman, hands, n_iter=2, do_not_save_grid=True)
    assert sdxl.count_loads() == before + expected_loads(sdxl, 2)
    result, mask = on.images[-8], as_mask(on.images[-5])
    assert [decisions_of(text) for text in on.texts[-8:-6]] == ["1 right refined"] * 2
    assert f"HandRefiner control model: {SD1_MODEL}" in on.texts[-8]
    assert f"Model: {make_tiny_sdxl.CHECKPOINT}," in on.texts[-8]
    assert changed(result, plain.image)[mask].any()
    assert not changed(result, plain.image)[~mask].any()
    assert alike(img2img(sdxl, woman).image, plain.image)
    assert sdxl.get(PREFIX + "/models")["checkpoint_family"] == "sdxl"


def test_an_sdxl_checkpoint_paints_the_hands_of_an_sd1_picture(sdxl, woman):
    """The request itself names the picture's checkpoint."""
    more = {"override_settings": {"sd_model_checkpoint": SD1_CHECKPOINT}}
    hands = {**GENTLE, "checkpoint": make_tiny_sdxl.CHECKPOINT, "extra_images": True}
    off = img2img(sdxl, woman, **more)
    on = img2img(sdxl, woman, hands, **more)
    result, _, mask, before = on.images
    assert on.decisions == "1 right refined"
    assert f"HandRefiner control model: {make_tiny_sdxl.CONTROL}" in on.texts[0]
    assert f"Model: {SD1_CHECKPOINT}," in on.texts[0]
    assert alike(before, off.image)
    assert changed(result, before)[as_mask(mask)].any()
    assert not changed(result, before)[~as_mask(mask)].any()
