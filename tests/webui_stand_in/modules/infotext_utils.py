"""Infotexts: reading them, and pasting them into the panel (infotext_utils.py:16-100, 229-340)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from modules import shared


class PasteField(tuple[Any, Any]):
    """A component with the infotext's key, or with a function that computes its value."""

    def __new__(
        cls,
        component: Any,
        target: str | Callable[[dict[str, Any]], Any],
        *,
        api: str | None = None,
    ) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(
        self,
        component: Any,
        target: str | Callable[[dict[str, Any]], Any],
        *,
        api: str | None = None,
    ) -> None:
        self.api = api
        self.component = component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


def image_from_url_text(filedata: Any) -> Any:
    """Return the picture that a gallery holds, or names as a file."""
    if isinstance(filedata, dict):
        image = Image.open(filedata["name"].rsplit("?", 1)[0])
        image.load()
        return image
    return filedata


def quote(text: object) -> str:
    """Return a value as the infotext writes it."""
    said = str(text)
    return json.dumps(said, ensure_ascii=False) if set(said) & set(",:\n") else said


ENTRY = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def parse_generation_parameters(x: str, skip_fields: Sequence[str] = ()) -> dict[str, Any]:
    """Return a picture's parameters by name, with its two prompts.

    Where the settings ask for styles, the host takes them out of the prompts; here the whole
    prompt counts as one.
    """
    *lines, last = x.strip().split("\n")
    found = ENTRY.findall(last)
    if len(found) < 3:
        lines, found = [*lines, last], []
    prompt, _, negative = "\n".join(lines).partition("Negative prompt:")
    if shared.opts.data.get("infotext_styles", "Apply if any") != "Ignore":
        prompt = ""
    values = {k: json.loads(v) if v.startswith('"') else v for k, v in found}
    return {**values, "Prompt": prompt.strip(), "Negative prompt": negative.strip()}
