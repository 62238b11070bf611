"""Working through pictures on a terminal or in a log: a line for each, a bar, a last line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from handrefiner_ext.files.run import Report

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LOG_LINES = 10.0


def show_progress(
    reports: Iterable[Report], total: int, note: Callable[[Report], None] | None = None
) -> bool:
    """Whether every picture was handled. note: told of every report, too."""
    if not total:
        print("There are no pictures to work on.")
    terminal = sys.stderr.isatty()
    heard = []
    with _open_bar(total, terminal) as bar:
        for report in reports:
            heard.append(report)
            if note is not None:
                note(report)
            # On a terminal the bar makes way for the line; in a log there is none in its way.
            say = bar.write if terminal else print
            say(_describe(report), file=sys.stderr if report.error else sys.stdout)
            bar.update()
    if total > 1:
        print(_summarise(heard))
    return not any(report.error for report in heard)


def _open_bar(total: int, terminal: bool) -> tqdm[NoReturn]:
    """A bar on stderr for several pictures; in a log file it moves seldom, each time on a line."""
    from tqdm import tqdm

    log = {"mininterval": SECONDS_BETWEEN_LOG_LINES, "bar_format": "{l_bar}{bar}{r_bar}\n"}
    return tqdm(total=total, unit="picture", disable=total < 2, **({} if terminal else log))


def _describe(report: Report) -> str:
    if report.error:
        return f"handrefiner: {report.error}"
    lines = [f"  {line}" for line in report.lines]
    if not report.output:
        return "\n".join([f"{report.source}:", *lines])
    hands = "1 hand" if report.hands == 1 else f"{report.hands or 'no'} hands"
    repainted = f", {report.refined} repainted" if report.refined else ""
    return "\n".join([f"{report.source}: {hands}{repainted} -> {report.output}", *lines])


def _summarise(reports: Sequence[Report]) -> str:
    failed = sum(report.error is not None for report in reports)
    hands = sum(report.hands for report in reports)
    refined = sum(report.refined for report in reports)
    return (
        f"{len(reports)} pictures, {hands} hands found, {refined} repainted, "
        f"{failed} pictures failed."
    )
