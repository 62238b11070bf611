"""Whatever fails in the second pass: the picture comes back unharmed, with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import campaign_webui
import pytest
from generation import GENTLE, alike, img2img
from installed import A1111

FAULTS = {
    "detector gone": "a_package_that_is_gone",
    "mesh gone": "a_package_that_is_gone",
    "detector breaks": "no luck",
    "mesh breaks": "no fit",
    "renderer breaks": "GL",
    "controlnet gone": "ControlNet",
    "controlnet raises": "corrupt unit",
    "controlnet idle": "ControlNet was not applied",
    "sampler raises": "mat1 and mat2",
    "sampler gives nan": "NaN",
    "nan unnoticed": "flat colour",
    "out of memory": "not enough memory",
    "host memory": "not enough memory",
    "no picture": "gave no picture",
    "other size": "64",
    "other family": "Stable Diffusion 2",
    "compositing breaks": "KeyError",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_no_picture_and_is_named(host, woman, plain, fault):
    scripts = {"Faults": {"args": [fault]}}
    logged = len(host.read_log())
    on = img2img(host, woman, GENTLE, alwayson_scripts=scripts)
    assert alike(on.image, plain.image)
    assert reason_of(fault, host) in on.hands
    if fault == "controlnet gone":
        assert ("is missing" if host.kind == A1111 else "is switched off") in on.hands
    assert "refined" not in on.hands
    if host.log is not None:
        assert f"HandRefiner: hands: {on.hands}" in host.read_log()[logged:]


def reason_of(fault, host):
    """Forge and reForge look for no NaN (their `devices.test_for_nans` is empty), but we do."""
    unseen = fault == "sampler gives nan" and host.kind != A1111
    return FAULTS["nan unnoticed" if unseen else fault]


def test_after_all_faults_the_next_request_works_normally(host, woman, plain):
    assert img2img(host, woman, GENTLE).decisions == "1 right refined"
    assert alike(img2img(host, woman).image, plain.image)


def test_a_corrupt_control_model_is_reported(host, woman, plain, tmp_path):
    """A real file that is no model, and one whose name tells another family."""
    (tmp_path / "control_sd15_depth_corrupt.safetensors").write_bytes(b"\x10" * 4096)
    (tmp_path / "diffusers_xl_depth_of_another_family.safetensors").write_bytes(b"\x10" * 4096)
    host.post("/sdapi/v1/options", {"control_net_models_path": str(tmp_path)})
    host.get("/controlnet/model_list")
    try:
        corrupt = img2img(host, woman, {**GENTLE, "control_model": "control_sd15_depth_corrupt"})
        other = {**GENTLE, "control_model": "diffusers_xl_depth_of_another_family"}
        foreign = img2img(host, woman, other)
    finally:
        host.post("/sdapi/v1/options", {"control_net_models_path": ""})
        shutil.rmtree(tmp_path)
        host.get("/controlnet/model_list")
    for outcome in (corrupt, foreign):
        assert alike(outcome.image, plain.image)
    assert "ControlNet was not applied" in corrupt.hands
    assert "SDXL" in foreign.hands


def test_every_fault_is_tried():
    assert set(campaign_webui.STEPS) == set(FAULTS)
    source = Path(__file__).parent / "extensions" / "zz-faults" / "scripts" / "faults.py"
    assert all(f'"{fault}": lambda' in source.read_text("utf-8") for fault in FAULTS)
