"""What an inpainter may offer beside painting."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from handrefiner_ext.params import RefineParams


@runtime_checkable
class Advising(Protocol):
    """An inpainter that knows what suits it."""

    def advise(self, params: RefineParams) -> tuple[str, ...]:
        """Sentences, after a picture was painted with `params`."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """An inpainter that needs files."""

    def prepare(self, params: RefineParams) -> None:
        """Load them, or raise what is wrong with them or with `params`."""
        ...
