"""Functions that the host calls at certain times (script_callbacks.py:127-145, 219-242)."""

from __future__ import annotations

from collections.abc import Callable

Callback = Callable[..., object]
callback_map: dict[str, list[Callback]] = {
    "callbacks_app_started": [],
    "callbacks_before_ui": [],
    "callbacks_ui_settings": [],
}
"""Time -> functions, in the order of their registration."""


def add_callback(
    callbacks: list[Callback],
    fun: Callback,
    *,
    name: str | None = None,
    category: str = "unknown",
    filename: str | None = None,
) -> None:
    """fun(page, app) once the app has started, fun() before page and settings are built."""
    callbacks.append(fun)


def call(time: str, *args: object) -> None:
    """Call what was registered for a time."""
    for callback in callback_map[f"callbacks_{time}"]:
        callback(*args)


def forget_all() -> None:
    """Forget what was registered."""
    for callbacks in callback_map.values():
        callbacks.clear()
