"""The reports of a run's pictures: what the infotext says, and what could not be painted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from handrefiner_ext.report import say_result, shorten
from handrefiner_ext.types import Image, RefineResult


@dataclass(frozen=True)
class RegionReport:
    """What became of hands that were painted together; numbers count the meshes from 0.

    problem: why they were left as they were (a sentence), None where they were repainted.
    """

    numbers: tuple[int, ...]
    problem: str | None = None


@dataclass
class PictureReport:
    """One picture of a run. words: the whole story in one line; extras: pictures asked for."""

    words: str
    refined: int = 0
    problems: tuple[str, ...] = ()
    extras: tuple[tuple[str, Image], ...] = field(default=())


def describe(result: RefineResult, regions: tuple[RegionReport, ...]) -> PictureReport:
    """Return the report of a picture, with the reasons that only the inpainter knows."""
    problems = {n: r.problem for r in regions if r.problem for n in r.numbers}
    decisions = tuple(
        replace(decision, refined=False, reason=problems[decision.number])
        if decision.number in problems
        else decision
        for decision in result.decisions
    )
    words = say_result(replace(result, decisions=decisions))
    refined = sum(decision.refined for decision in decisions)
    return PictureReport(words, refined, tuple(dict.fromkeys(problems.values())))


def fail(reason: str) -> PictureReport:
    """Return the report of a picture that comes back as it was because of `reason`."""
    return PictureReport(f"not repainted ({shorten(reason)})", problems=(reason,))
