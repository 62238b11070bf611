"""HandRefiner: finds badly drawn hands in generated pictures and replaces them.

`hints(image, ...)` and `refine(image, ...)` stand in `handrefiner_ext.simple` and are found here;
they are imported at first use, so that importing this package costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

SIMPLE = frozenset({"hints", "refine"})


def __getattr__(name: str) -> Any:
    if name in SIMPLE:
        return getattr(import_module("handrefiner_ext.simple"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *SIMPLE})
