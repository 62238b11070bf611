"""Keeps the defaults of components in a file (ui_loadsave.py:16-190)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from modules.ui_components import InputAccordion

FIELDS = {
    gr.Slider: ("value", "minimum", "maximum", "step"),
    gr.Checkbox: ("value",),
    gr.Textbox: ("value",),
    gr.Dropdown: ("value",),
    InputAccordion: ("value",),
}
"""Exact types; of others nothing is stored."""


class UiLoadsave:
    """One page's defaults; read when the page has been built, before it is shown."""

    def __init__(self, filename: str) -> None:
        self.place = Path(filename)
        self.ui_settings: dict[str, Any] = {}
        if self.place.exists():
            self.ui_settings = json.loads(self.place.read_text("utf-8"))

    def add_component(self, tab: str, component: gr.Component) -> None:
        """Give a component what the file holds, or the file what the component has."""
        for field in FIELDS.get(type(component), ()):
            key = f"customscript/{component.custom_script_source}/{tab}/{component.label}/{field}"
            stored = self.ui_settings.setdefault(key, getattr(component, field))
            known = getattr(component, "choices", None)
            if known is None or field != "value" or stored in known:
                setattr(component, field, stored)

    def dump_defaults(self) -> None:
        """Write the whole file again."""
        text = json.dumps(self.ui_settings, indent=4, ensure_ascii=False)
        self.place.write_text(text, "utf-8")
