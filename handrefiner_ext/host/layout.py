"""The panel's plan: where each parameter stands, how it is shown, and what the WebUI can offer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass
from html import escape
from typing import Any, Literal

from modules import sd_models, sd_samplers, sd_vae

from handrefiner_ext.host import controlnet
from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.knobs import WEBUI, Knob
from handrefiner_ext.params import MAIN, fields_of

logger = logging.getLogger(__name__)

SWITCH, FIRST = "enabled", MAIN.name
IN_VIEW = (FIRST, "candidates", "keep_best")
"""The row that is always seen; everything else is folded."""
POSE = "pose"
GESTURE = "gesture"
"""Stands in a fold of its own, with pictures."""
BEST_STRENGTHS = (0.4, 0.8)
"""Strengths at which hand-finetuned models work best (HandRefiner, section 4.3)."""
TABS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "Hands": (
        ("hands", "min_hand_size"),
        ("detector", "tiles"),
        ("detection_threshold", "presence_threshold"),
        ("boxes",),
    ),
    "Mesh and mask": (
        ("mask", "depth_range"),
        ("padding_bbox", "mask_blur"),
        ("mesh", "renderer"),
        ("outline", "occlusion_order"),
        ("another", "guard"),
        ("pose",),
    ),
    "ControlNet": (
        ("control_model", "control_mode"),
        ("guidance_start", "guidance_end"),
        ("adaptive_strength",),
    ),
    "Choice": (("keep_margin", "skip_good"),),
    "Painting": (
        ("skip_img2img", "extra_images"),
        ("denoising_strength", "steps"),
        ("cfg_scale", "region_size"),
        ("prompt", "negative_prompt"),
        ("sampler", "scheduler"),
        ("checkpoint", "vae"),
        ("seed_step",),
    ),
}
"""The Advanced fold: tab -> rows of parameters. The switch and `IN_VIEW` stand above it."""
IMG2IMG_ONLY = ("skip_img2img",)
MULTILINE = ("prompt", "negative_prompt", "pose")

Kind = Literal["checkbox", "dropdown", "slider", "text"]
FIELDS: Mapping[str, Field[Any]] = {f.name: f for f in fields_of(WEBUI)}


def knob_of(name: str) -> Knob:
    knob: Knob = FIELDS[name].metadata["knob"]
    return knob


def kind_of(name: str, listed: tuple[str, ...] = ()) -> Kind:
    """Return the component that fits a parameter; listed: texts for which the WebUI has a list."""
    knob, default = knob_of(name), FIELDS[name].default
    if isinstance(default, bool):
        return "checkbox"
    if knob.choices is not None or name in listed:
        return "dropdown"
    return "slider" if knob.ge is not None else "text"


def placed() -> tuple[str, ...]:
    """Return every parameter of the panel, from top to bottom."""
    rest = tuple(name for rows in TABS.values() for row in rows for name in row)
    return (SWITCH, *IN_VIEW, GESTURE, *rest)


def call_editor(tab: str) -> str:
    """Return the page's call of javascript/handrefiner_editor.js with the panel's values."""
    return f"(...values) => handrefinerEdit('{tab}', {json.dumps(list(FIELDS))}, values)"


def advise(strength: float, model: str | None, recommended: float | None) -> str:
    """Return the advice beside the slider as HTML: a warning, and a remark about the model.

    model: the one that would be used; None where none can be. The default strength is the range's
    middle, so a model that recommends it needs no words.
    """
    low, high = BEST_STRENGTHS
    parts = []
    if strength > high:
        parts.append(
            f"Above {high:g} the hand ControlNet makes skin look smooth and plastic; {low:g} to "
            f"{high:g} works best."
        )
    if model is not None and recommended not in (None, FIELDS[FIRST].default, strength):
        parts.append(f"{model} recommends strength {recommended:g}.")
    return "<br>".join(map(escape, parts))


AS_PICTURE = ""
"""The choice that stands for the picture's own."""


@dataclass(frozen=True)
class HostList:
    """first: choices of our own. read_names: the installed ones. refresh: looks for new ones."""

    first: tuple[str, ...]
    read_names: Callable[[], list[str]]
    refresh: Callable[[], object] | None = None

    def read(self) -> list[str]:
        """Return every choice; only our own where the WebUI's list cannot be read."""
        try:
            return [*self.first, *self.read_names()]
        except Exception:
            logger.exception("HandRefiner could not read a list of the WebUI")
            return list(self.first)


LISTS: Mapping[str, HostList] = {
    "control_model": HostList(("auto",), controlnet.list_models, controlnet.refresh_models),
    "sampler": HostList((AS_PICTURE,), lambda: list(sd_samplers.visible_sampler_names())),
    "scheduler": HostList((AS_PICTURE,), lambda: the_host().list_schedulers()),
    "checkpoint": HostList(
        (AS_PICTURE,), lambda: list(sd_models.checkpoint_tiles()), lambda: sd_models.list_models()
    ),
    "vae": HostList(
        (AS_PICTURE, "Automatic", "None"),
        lambda: list(sd_vae.vae_dict),
        lambda: sd_vae.refresh_vae_list(),
    ),
}
