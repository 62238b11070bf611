"""Registers functions with the WebUI as its `script_callbacks.on_…` do, at no cost.

Those look for the caller's file by `inspect.stack`, which goes through all loaded modules for
every frame: 0.2 s for each function in Forge, which has thousands. Here the file is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from modules import script_callbacks

Time = Literal["app_started", "before_ui", "ui_settings"]


def register(time: Time, function: Callable[..., object], file: str) -> None:
    """Have `function` called at that time. file: the caller's `__file__`."""
    registered = script_callbacks.callback_map[f"callbacks_{time}"]
    script_callbacks.add_callback(registered, function, category=time, filename=file)
