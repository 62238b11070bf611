"""What became of the hands of one picture, in the words of infotext, log and API."""

from __future__ import annotations

from dataclasses import dataclass, field

from handrefiner_ext.report import number_of
from handrefiner_ext.types import Decision, Image, RefineResult, Refusal

NONE_FOUND = "none found"


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
    """The decisions of the pipeline, with the reasons that only the inpainter knows."""
    problems = {n: r.problem for r in regions if r.problem for n in r.numbers}
    words, refined = [], 0
    for decision in result.decisions:
        hand = result.hints.meshes[decision.number].hand
        side = f"{hand.handedness} assumed" if hand.assumed else hand.handedness
        problem = problems.get(decision.number)
        gone_well = decision.refined and problem is None
        refined += gone_well
        outcome = _say_refined(decision)
        if not gone_well:
            outcome = f"kept ({_fragment(problem or decision.reason)})"
        words.append(f"{number_of(decision.number, result.hints)} {side} {outcome}")
    refusals = (*result.hints.refused, *result.hints.detection.refused)
    words += [_refusal_words(refusal) for refusal in _distinct(refusals)]
    words += map(_fragment, result.hints.notes)
    return PictureReport(
        "; ".join(words) or NONE_FOUND, refined, tuple(dict.fromkeys(problems.values()))
    )


def _say_refined(decision: Decision) -> str:
    """ "refined", and how its strength, candidate and quality came to be chosen."""
    said = "refined"
    if decision.strength is not None:
        said += f" at {decision.strength:g}"
    if decision.candidate is not None:
        said += f" as candidate {decision.candidate + 1}"
    if decision.quality_before is not None and decision.quality_after is not None:
        before, after = decision.quality_before.score, decision.quality_after.score
        said += f" from quality {before:.2f} to {after:.2f}"
    return said


def fail(reason: str) -> PictureReport:
    """A picture that comes back as it was because of `reason`."""
    return PictureReport(f"not repainted ({_fragment(reason)})", problems=(reason,))


def _distinct(refusals: tuple[Refusal, ...]) -> list[Refusal]:
    return list({(refusal.number, refusal.reason): refusal for refusal in refusals}.values())


def _refusal_words(refusal: Refusal) -> str:
    number = f"{refusal.number} " if refusal.number else ""
    return f"{number}left alone ({_fragment(refusal.reason)})"


def _fragment(sentence: str) -> str:
    return " ".join(sentence.split()).removesuffix(".")
