"""Functions that the host calls at certain times (script_callbacks.py:253-261, 456-606)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Callback = Callable[..., object]
registered: dict[str, list[Callback]] = {}
"""Time -> functions, in the order of their registration."""


def on_app_started(callback: Callable[[Any, Any], object]) -> None:
    """callback(page, app); page is None without one (script_callbacks.py:456)."""
    registered.setdefault("app_started", []).append(callback)


def on_before_ui(callback: Callable[[], object]) -> None:
    """callback() before the page is built (script_callbacks.py:588)."""
    registered.setdefault("before_ui", []).append(callback)


def on_ui_settings(callback: Callable[[], object]) -> None:
    """callback() when the settings page is built (script_callbacks.py:493)."""
    registered.setdefault("ui_settings", []).append(callback)


def call(time: str, *args: object) -> None:
    """Call what was registered for a time."""
    for callback in registered.get(time, []):
        callback(*args)
