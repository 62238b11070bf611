"""The extensions that are installed (extensions.py:13-29, 111-130)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extension:
    """One folder. is_builtin: it came with the WebUI."""

    name: str
    is_builtin: bool = False


extensions = [Extension("Lora", is_builtin=True), Extension("handrefiner")]


def active() -> list[Extension]:
    """Return those that are switched on."""
    return list(extensions)
