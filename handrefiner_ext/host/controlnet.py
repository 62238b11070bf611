"""The ControlNet extension: its models, which of them suits a checkpoint, and its unit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handrefiner_ext.errors import LONGEST_SAID
from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.inpaint.control_models import (
    FAMILY_NAMES,
    RANKING,
    SD1,
    choose_control,
    model_family,
    recommend_strength,
)
from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import AUTO
from handrefiner_ext.types import Image

TITLE = "controlnet"
CONTROL_MODES = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "controlnet": "ControlNet is more important",
}
WHERE = "put control_sd15_inpaint_depth_hand_fp16 into models/ControlNet and refresh the list"


@dataclass(frozen=True)
class ModelChoice:
    """name: as ControlNet lists it, None where there is none; reason: a sentence."""

    name: str | None
    recommended_strength: float | None
    reason: str


def missing() -> str:
    """Return what to do where ControlNet is missing or switched off, in a sentence."""
    return the_host().missing_controlnet


def checkpoint_family() -> str:
    """Return the family of the loaded checkpoint, a key of FAMILY_NAMES."""
    return the_host().family()


def choose_model(names: Sequence[str], family: str, wanted: str = AUTO) -> ModelChoice:
    """Choose among the installed models for a checkpoint of `family`."""
    if family not in RANKING:
        return _none(
            f"The checkpoint is {FAMILY_NAMES.get(family, family)}, for which there is no hand "
            "ControlNet; choose a Stable Diffusion 1.x or SDXL checkpoint for the hands."
        )
    if wanted.strip().lower() not in (AUTO, ""):
        return _take_wanted(names, family, wanted.strip())
    best = choose_control(names, family)
    if best is not None:
        return _take(best, f"{best} suits {FAMILY_NAMES[family]} checkpoints best.")
    return _none(
        f"No depth ControlNet for {FAMILY_NAMES[family]} checkpoints is installed; "
        + (f"{WHERE}." if family == SD1 else "put a depth or union model into models/ControlNet.")
    )


def _take_wanted(names: Sequence[str], family: str, wanted: str) -> ModelChoice:
    same = [name for name in names if wanted.lower() in (name.lower(), _stem(name))]
    if not same:
        installed = ", ".join(names) or "none"
        return _none(
            f"The ControlNet model {wanted[:LONGEST_SAID]} is not installed; choose auto or one "
            f"of: {installed}."
        )
    its = model_family(same[0])
    if its not in (None, family):
        return _none(
            f"The ControlNet model {same[0]} is for {FAMILY_NAMES[str(its)]}, but the checkpoint "
            f"is {FAMILY_NAMES[family]}; choose auto or a model that fits."
        )
    return _take(same[0], f"{same[0]} was chosen.")


def _stem(name: str) -> str:
    return name.lower().split(" [")[0]


def _take(name: str, reason: str) -> ModelChoice:
    strength = recommend_strength(name)
    return ModelChoice(name, strength, reason)


def _none(reason: str) -> ModelChoice:
    return ModelChoice(None, None, reason)


def list_models() -> list[str]:
    """Return ControlNet's models whose files still exist, as it lists them; none without it."""
    models = the_host().list_control_models()
    return [name for name, path in models.items() if path and os.path.isfile(path)]


def refresh_models() -> list[str]:
    """Have ControlNet look for files again, then return its models."""
    the_host().refresh_control_models()
    return list_models()


def find_script(runner: Any) -> Any | None:
    """Return ControlNet's script in a runner, or None."""
    for script in getattr(runner, "alwayson_scripts", ()):
        if str(script.title()).lower() == TITLE:
            return script
    return None


def make_unit(model: str, control: Image, params: RefineParams) -> object:
    """Return a unit as the host takes it. control: (H, W, 3) uint8 at the region's size."""
    unit: dict[str, object] = {
        "enabled": True,
        "module": "none",
        "model": model,
        "image": np.ascontiguousarray(control),
        "weight": params.strength,
        "resize_mode": "Just Resize",
        "control_mode": CONTROL_MODES[params.control_mode],
        "guidance_start": params.guidance_start,
        "guidance_end": params.guidance_end,
        "pixel_perfect": False,
        "processor_res": 512,
        "save_detected_map": False,
        "inpaint_crop_input_image": False,
    }
    if "union" in model.lower():
        unit["union_control_type"] = "Depth"
    return the_host().make_unit(unit)


def is_installed() -> bool:
    """Return whether ControlNet is among the scripts of img2img, in which the hands are painted."""
    from modules import scripts

    return find_script(scripts.scripts_img2img) is not None


def models_folder() -> Path:
    """Return the folder in which every host looks for ControlNet's models."""
    from modules import paths

    return Path(paths.models_path) / "ControlNet"
