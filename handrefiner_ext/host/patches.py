"""Change settings and attributes of the WebUI for the length of a `with`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

ABSENT = object()


@contextmanager
def options(values: Mapping[str, object]) -> Iterator[None]:
    """Change the WebUI's settings for the length of a `with`, in memory only."""
    from modules import shared

    data = shared.opts.data
    before = {key: data.get(key, ABSENT) for key in values}
    data.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is ABSENT:
                data.pop(key, None)
            else:
                data[key] = value


@contextmanager
def attribute(owner: Any, name: str, value: object) -> Iterator[None]:
    """Change `owner.name` for the length of a `with`; afterwards an inherited one is inherited."""
    before = vars(owner).get(name, ABSENT)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
