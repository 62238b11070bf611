"""What the machine leaves behind: names and notes of calls that were never made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Name:
    """A global that a file names; it is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Built:
    """What calling `name` with `args` would have made, and what would have been put into it."""

    name: Name
    args: tuple[Any, ...]
    state: Any = None
    items: list[tuple[Any, Any]] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to something stored outside the pickle, such as a tensor's storage."""

    identity: Any


@dataclass(frozen=True, eq=False)
class OddKey:
    """A dictionary's key that is no plain value; hashing it could take for ever."""

    key: Any
