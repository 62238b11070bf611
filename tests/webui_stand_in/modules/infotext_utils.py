"""Pasting parameters into the panel (infotext_utils.py:34-100)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


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
    """Return the picture that a gallery holds."""
    return filedata
