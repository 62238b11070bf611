"""Where hand models that the user adds lie and compute: the settings page and the WebUI's flags."""

from __future__ import annotations

from modules import devices, shared

from handrefiner_ext.host.settings import read_settings
from handrefiner_ext.types import ModelHome

FEW = ("medvram", "medvram_sdxl")
"""Flags of those whose graphics card has no room to spare between pictures."""


def read_model_home() -> ModelHome:
    """With --lowvram the models compute on the CPU; otherwise where the WebUI would compute."""
    settings = read_settings()
    if getattr(shared.cmd_opts, "lowvram", False):
        return ModelHome(settings.models_dir, "cpu")
    spare = not any(getattr(shared.cmd_opts, flag, False) for flag in FEW)
    return ModelHome(
        models_dir=settings.models_dir,
        device=str(devices.get_device_for("handrefiner")),
        keep_on_device=spare and not settings.keep_on_cpu,
    )
