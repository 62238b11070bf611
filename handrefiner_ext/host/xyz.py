"""Axes for the X/Y/Z plot, one for each parameter that makes sense there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field
from functools import partial
from typing import Any

from modules import scripts

from handrefiner_ext.host.callbacks import register
from handrefiner_ext.host.layout import LISTS
from handrefiner_ext.host.settings import read_settings
from handrefiner_ext.knobs import WEBUI, Knob, coerce
from handrefiner_ext.params import MAIN, fields_of

SWEPT = (
    *(MAIN.name, "denoising_strength", "enabled", "control_model", "mask", "padding_bbox"),
    *("mask_blur", "mesh", "another", "gesture", "hands", "candidates", "keep_best", "keep_margin"),
    *("control_mode", "guidance_end", "region_size", "checkpoint", "vae", "sampler", "steps"),
)
"""Axes that people sweep; a setting adds the others."""
LEFT_OUT = ("skip_img2img", "extra_images")
"""An X/Y/Z plot keeps one picture of a cell, and makes it the same way in all."""
COSTS = {"checkpoint": 1.0, "control_model": 0.9, "vae": 0.7}
"""How long a change takes; the most expensive axis changes least often."""
CARRIER = "_handrefiner_xyz"


def register_axes() -> None:
    """Add the axes now, as a WebUI without a page needs, or else before its page is built."""
    if not add_axes():
        register("before_ui", add_axes, __file__)


def add_axes() -> bool:
    """Add the axes that are missing; return whether the X/Y/Z plot is loaded."""
    xyz = _find_xyz_module()
    if xyz is None:
        return False
    present = {option.label for option in xyz.axis_options}
    fields = sorted(fields_of(WEBUI), key=lambda f: f != MAIN)
    xyz.axis_options += [
        _make_axis(xyz, f) for f in fields if is_offered(f.name) and axis_label(f) not in present
    ]
    return True


def is_offered(name: str) -> bool:
    """Return whether a parameter is an axis, as the settings have it."""
    return name in SWEPT or (name not in LEFT_OUT and read_settings().all_axes)


def axis_label(f: Field[Any]) -> str:
    knob: Knob = f.metadata["knob"]
    return f"[HandRefiner] {knob.label}"


def set_value(name: str, p: object, value: object, _all: Sequence[object]) -> None:
    """Set one cell's value, in a new dict because the cells' copies of `p` share the old one."""
    setattr(p, CARRIER, {**getattr(p, CARRIER, {}), name: value})


def _find_xyz_module() -> Any | None:
    for data in scripts.scripts_data:
        if data.script_class.__module__ == "xyz_grid.py" and hasattr(data, "module"):
            return data.module
    return None


def _make_axis(xyz: Any, f: Field[Any]) -> Any:
    kind = type(f.default)
    return xyz.AxisOption(
        axis_label(f),
        kind if kind in (int, float) else str,
        partial(set_value, f.name),
        confirm=partial(_confirm, f),
        cost=COSTS.get(f.name, 0.0),
        choices=_choices(f),
    )


def _choices(f: Field[Any]) -> Callable[[], list[str]] | None:
    knob: Knob = f.metadata["knob"]
    if isinstance(f.default, bool):
        return lambda: ["True", "False"]
    if knob.choices is not None:
        return partial(list, knob.choices)
    return LISTS[f.name].read if f.name in LISTS else None


def _confirm(f: Field[Any], _p: object, values: Sequence[object]) -> None:
    """Refuse the whole plot where a value is not possible, before anything is generated."""
    for value in values:
        coerce(f, value)
