"""The reports of a run's pictures: what the infotext says, and what could not be painted."""

from __future__ import annotations

from dataclasses import dataclass, field

from handrefiner_ext.report import say_result, shorten
from handrefiner_ext.types import Image, RefineResult


@dataclass
class PictureReport:
    """One picture of a run. words: the whole story in one line; extras: pictures asked for."""

    words: str
    refined: int = 0
    problems: tuple[str, ...] = ()
    extras: tuple[tuple[str, Image], ...] = field(default=())


def describe(result: RefineResult) -> PictureReport:
    """Return the report of a picture; hands that could not be painted are its problems."""
    problems = [decision.reason for decision in result.decisions if decision.failed]
    refined = sum(decision.refined for decision in result.decisions)
    return PictureReport(say_result(result), refined, tuple(dict.fromkeys(problems)))


def fail(reason: str) -> PictureReport:
    """Return the report of a picture that comes back as it was because of `reason`."""
    return PictureReport(f"not repainted ({shorten(reason)})", problems=(reason,))
