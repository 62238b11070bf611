"""The settings page: its options, and their values as one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from modules import devices, shared
from modules.options import OptionHTML, OptionInfo

from handrefiner_ext.api.bounds import ROUTE_PIXELS
from handrefiner_ext.host.callbacks import register
from handrefiner_ext.pictures.decode import MAX_PIXELS
from handrefiner_ext.types import ModelHome

FEW = ("medvram", "medvram_sdxl")
"""Flags of those whose graphics card has no room to spare between pictures."""


def read_model_home() -> ModelHome:
    """Return where models are kept and compute: with --lowvram on the CPU."""
    settings = read_settings()
    if getattr(shared.cmd_opts, "lowvram", False):
        return ModelHome(settings.models_dir, "cpu")
    spare = not any(getattr(shared.cmd_opts, flag, False) for flag in FEW)
    return ModelHome(
        models_dir=settings.models_dir,
        device=str(devices.get_device_for("handrefiner")),
        keep_on_device=spare and not settings.keep_on_cpu,
    )


PREFIX = "handrefiner_"
SECTION = ("handrefiner", "HandRefiner")
COPIES = ("before", "depth", "mask", "overlay")
ORDER_HINT = (
    "Whether HandRefiner runs before or after other after-detailers, such as ADetailer, is a "
    "setting of the WebUI itself: <b>Callbacks &rarr; script_postprocess_image callback "
    "priority</b>. Without one, HandRefiner runs after ADetailer."
)


@dataclass(frozen=True)
class Settings:
    """models_dir: None = the extension's own folder. save_copies: some of `COPIES`."""

    models_dir: Path | None
    keep_on_cpu: bool
    save_copies: tuple[str, ...]
    refine_upscaled: bool
    all_axes: bool
    route_megapixels: int


def read_settings() -> Settings:
    """Return the values in force; before the page was ever opened, the defaults."""
    values = {name: _read(name, info.default) for name, info in _options().items()}
    flag = getattr(shared.cmd_opts, f"{PREFIX}models_dir", None)
    folder = str(values["models_dir"]).strip() or (str(flag) if flag else "")
    return Settings(
        models_dir=Path(folder) if folder else None,
        keep_on_cpu=bool(values["keep_on_cpu"]),
        save_copies=tuple(name for name in COPIES if name in (values["save_copies"] or ())),
        refine_upscaled=bool(values["refine_upscaled"]),
        all_axes=bool(values["all_axes"]),
        route_megapixels=int(values["route_megapixels"]),
    )


def register_settings() -> None:
    """Have the options added whenever the WebUI builds its settings page."""
    register("ui_settings", add_options, __file__)


def add_options() -> None:
    """Add every option, and the pointer to the order among after-detailers."""
    for name, info in {**_options(), "order_hint": OptionHTML(ORDER_HINT)}.items():
        info.section = SECTION
        shared.opts.add_option(PREFIX + name, info)


def list_changed() -> list[str]:
    """Return `name = value` for every setting of ours that is not the default."""
    values = {name: (_read(name, info.default), info.default) for name, info in _options().items()}
    return [f"{name} = {value}" for name, (value, default) in values.items() if value != default]


def _read(name: str, default: object) -> Any:
    return shared.opts.data.get(PREFIX + name, default)


def _options() -> dict[str, OptionInfo]:
    """Return the options by their names without the prefix."""
    return {
        "models_dir": OptionInfo("", "Models folder").info(
            "for hand models that you add yourself, such as MeshGraphormer's and MANO's; empty = "
            "--handrefiner-models-dir, else the extension's own models folder"
        ),
        "keep_on_cpu": OptionInfo(True, "Keep hand models on the CPU between pictures").info(
            "saves GPU memory; only MeshGraphormer ever computes on the GPU, and with --lowvram "
            "it does not"
        ),
        "save_copies": OptionInfo(
            [],
            "Save copies beside every refined picture",
            gr.CheckboxGroup,
            {"choices": list(COPIES)},
        ),
        "refine_upscaled": OptionInfo(
            False, "Refine hands again in pictures that the upscale button made"
        ).info("they were refined when they were generated"),
        "all_axes": OptionInfo(False, "Offer every parameter as an axis of the X/Y/Z plot")
        .info("otherwise those that people sweep")
        .needs_reload_ui(),
        "route_megapixels": OptionInfo(
            ROUTE_PIXELS // 1_000_000,
            "Largest picture that the routes of the API take, in megapixels",
            gr.Slider,
            {"minimum": 1, "maximum": MAX_PIXELS // 1_000_000, "step": 1},
        ).info("each megapixel costs about 25 MB of memory while its hands are repainted"),
    }
