"""A stand-in of sd-webui-controlnet 1.1: its models, and units that hook the loaded network.

Facts: scripts/controlnet.py of that extension, lines 319-405, 444-461, 860-890, 1248-1302, and
internal_controlnet/args.py:77-160.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
from modules import scripts, shared

UNITS = 3
KNOWN = {
    *("enabled", "module", "model", "image", "weight", "resize_mode", "control_mode"),
    *("guidance_start", "guidance_end", "pixel_perfect", "processor_res", "save_detected_map"),
    *("inpaint_crop_input_image", "union_control_type"),
}
MODES = ("Balanced", "My prompt is more important", "ControlNet is more important")


def update_cn_models() -> None:
    """Look for files again: those that a test has put there appear in the list."""
    global_state.cn_models.update(global_state.on_disk)


global_state = SimpleNamespace(cn_models={}, on_disk={}, update_cn_models=update_cn_models)
"""cn_models: "name [hash]" -> path. on_disk: the same, of files that were not looked for yet."""


class ControlNet(scripts.Script):
    """latest_network: what hooks the UNet now. seen: every unit that was applied."""

    def __init__(self) -> None:
        self.latest_network: Any = None
        self.seen: list[dict[str, Any]] = []

    def title(self) -> str:
        return "ControlNet"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[gr.Component]:
        return [gr.Component({"enabled": False}, label=f"Unit {n}") for n in range(UNITS)]

    def process(self, p: Any, *units: Any) -> None:
        self._unhook()
        enabled = [check(unit) for unit in units if isinstance(unit, dict) and unit["enabled"]]
        if not enabled:
            return
        self.latest_network = SimpleNamespace(control_params=enabled, network=shared.sd_model)
        shared.sd_model.hooked += enabled
        self.seen += enabled

    def postprocess(self, p: Any, processed: Any, *units: Any) -> None:
        hooked = self.latest_network
        self._unhook()
        if hooked is not None and not shared.opts.data.get("control_net_no_detectmap", False):
            from PIL import Image

            processed.images.extend(Image.fromarray(u["image"]) for u in hooked.control_params)

    def _unhook(self) -> None:
        if self.latest_network is not None:
            for unit in self.latest_network.control_params:
                self.latest_network.network.hooked.remove(unit)
        self.latest_network = None


def check(unit: dict[str, Any]) -> dict[str, Any]:
    """Return the unit; an exception where ControlNet would raise one."""
    assert set(unit) <= KNOWN, set(unit) - KNOWN
    if unit["module"] != "none":
        raise ValueError(f"module {unit['module']}")
    if unit["model"] not in global_state.cn_models:
        raise RuntimeError("model not found")
    if not 0 <= unit["weight"] <= 2 or unit["guidance_start"] > unit["guidance_end"]:
        raise ValueError("weight or guidance")
    assert unit["resize_mode"] == "Just Resize"
    assert unit["control_mode"] in MODES
    image = unit["image"]
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)
    return unit
