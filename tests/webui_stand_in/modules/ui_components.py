"""A fold whose state is a value, and a small button (ui_components.py:12-22, 88-144)."""

from __future__ import annotations

import gradio as gr


class InputAccordion(gr.Checkbox):
    """True while the fold is open; the fold has `elem_id`, its hidden checkbox another."""

    def __init__(self, value: bool, *, label: str, elem_id: str) -> None:
        super().__init__(value, label=label, elem_id=f"{elem_id}-checkbox", visible=False)
        self.accordion = gr.Accordion(label, open=value, elem_id=elem_id)

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *fault: object) -> None:
        self.accordion.__exit__(*fault)


class ToolButton(gr.Button):
    """A small button with one sign as its text."""
