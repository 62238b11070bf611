"""The button that reads a list again (ui_common.py:284-310)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr


def create_refresh_button(
    refresh_component: gr.Component,
    refresh_method: Callable[[], object],
    refreshed_args: Callable[[], dict[str, Any]],
    elem_id: str,
) -> gr.Button:
    """Return a button that calls `refresh_method` and sets members of the component."""

    def refresh() -> dict[str, Any]:
        refresh_method()
        values = refreshed_args()
        for name, value in values.items():
            setattr(refresh_component, name, value)
        return gr.update(**values)

    button = gr.Button("↻", elem_id=elem_id)
    button.click(refresh, inputs=[], outputs=[refresh_component])
    return button
