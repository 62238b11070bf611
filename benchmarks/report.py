"""What the benchmarks share: options, tables, targets, JSON and clocks."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Figure = float | str | bool

LONGEST_S = 1.0
"""A measurement is repeated until so much time has passed, three times at least."""
FEWEST = 3


class Timing(NamedTuple):
    """Medians or least values, milliseconds: on the clock, and of all processor cores together."""

    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Target:
    """What a figure must reach: at most or at least `limit`."""

    name: str
    value: float
    limit: float
    unit: str = ""
    at_most: bool = True

    @property
    def reached(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def make_parser(description: str | None, count: int, counted: str) -> argparse.ArgumentParser:
    """Options that every benchmark has: --count and --json."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=positive, default=count, help=f"{counted} ({count})")
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures to this file")
    return parser


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return number


def positive_list(text: str) -> tuple[int, ...]:
    """ "64,128" -> (64, 128), for argparse."""
    return tuple(positive(word) for word in text.split(","))


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as needed: the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        first, *others = row
        shown = [first.ljust(widths[0])]
        shown += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join(shown).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def print_targets(targets: Sequence[Target]) -> None:
    rows = [
        (
            target.name,
            f"{target.value:.3g} {target.unit}".strip(),
            f"{'≤' if target.at_most else '≥'} {target.limit:g} {target.unit}".strip(),
            "ok" if target.reached else "missed",
        )
        for target in targets
    ]
    print_table("Targets", ("", "measured", "target", ""), rows)


def write_json(path: Path | None, figures: Mapping[str, Figure | Mapping[str, Figure]]) -> None:
    """One object, of figures and groups of them; what could not be measured becomes null."""
    if path is None:
        return
    plain = {name: _plain(value) for name, value in figures.items()}
    path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _plain(value: Figure | Mapping[str, Figure]) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (str, bool)):
        return value
    number = float(value)
    return round(number, 6) if math.isfinite(number) else None


def use_utf8() -> None:
    """Tables hold ≤ and ², which a Windows console in a pipe cannot always write."""
    reconfigure: Any = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def measure(work: Callable[[], object], count: int, least: bool = False) -> Timing:
    """Median, or the least, over up to `count` runs after one to warm up."""
    work()
    wall: list[float] = []
    cpu: list[float] = []
    while len(wall) < count and (len(wall) < FEWEST or sum(wall) < LONGEST_S):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    pick = np.min if least else np.median
    return Timing(1e3 * float(pick(wall)), 1e3 * float(pick(cpu)))
