"""How right HandRefiner is on real pictures: any folder with labels (benchmarks/real_labels.py).

    python benchmarks/real.py --pictures D [D ...] [--only PART,PART] [--jobs N]
                              [--json F] [--out DIR] [--set tiles=on ...]

The parts are whole, none, singles, pairs, steady, speed and refine; all without --only.

- whole, none: hands found, and false hands per picture. A picture without labelled boxes is matched
  by count alone: false hands are those too many, so that a false one can stand for a missed one.
- singles, pairs: close-ups in which at least one hand is found; the side and the quality of the one
  nearest the middle. AUC: chance that a malformed hand has less quality than a good one; hands that
  are not found and those of which the judge abstains count as 0.5.
- pairs, too: whether `keep_best` takes the better picture, the worse one, an equal one, with the
  mesh of the first and of the second picture. Where no mesh is found the first one stays.
- steady: share of pictures and changes (JPEG at 95, 92, 90, 85, 80, 5 % smaller, 3 pixels shifted)
  with as many hands as before and every box at an IoU of at least 0.5.
- speed: network calls and time of search and meshes, one picture after the other after all else;
  processor time is what one core takes.
- refine: the default run; hands repainted and kept. --out gets pictures to look at: before, after
  and depth map side by side.

--set gives any parameter of the command line another value. Nothing is kept from run to run.
The JSON holds the figures, and what was seen in every picture.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import real_looks
from real_figures import REPORTS, Seen
from real_labels import Label, Labels, Pair, read_labels
from report import positive, print_targets, use_utf8

from handrefiner_ext.errors import HandRefinerError

PARTS = ("whole", "none", "singles", "pairs", "steady", "speed", "refine")
KINDS = {
    "whole": ("whole",),
    "none": ("none",),
    "singles": ("single",),
    "pairs": ("before", "after"),
}


@dataclass(frozen=True)
class Errand:
    """One thing to find out about one picture or pair."""

    part: str
    what: Label | Pair
    parameters: real_looks.Parameters
    out: Path | None = None

    def run(self) -> Any:
        if isinstance(self.what, Pair):
            return real_looks.decide(self.what, self.parameters)
        if self.part == "steady":
            return real_looks.try_changes(self.what, self.parameters)
        if self.part == "speed":
            return real_looks.time_search(self.what, self.parameters)
        if self.part == "refine":
            return real_looks.repair(self.what, self.parameters, self.out)
        rates = self.part in ("singles", "pairs")
        return real_looks.look(self.what, self.parameters, rates)


def plan(labels: Labels, parts: Sequence[str], options: argparse.Namespace) -> Iterator[Errand]:
    """Everything to do; what is timed comes last."""
    given = tuple(options.set)
    for part in [part for part in KINDS if part in parts]:
        yield from (Errand(part, label, given) for label in labels.of_kind(*KINDS[part]))
    if "pairs" in parts:
        yield from (Errand("pairs", pair, given) for pair in labels.pairs)
    whole = labels.of_kind("whole", "none")
    if "steady" in parts:
        yield from (Errand("steady", label, given) for label in whole)
    if "refine" in parts:
        shown = (*whole, *labels.of_kind("single", "before"))
        yield from (Errand("refine", label, given, options.out) for label in shown)
    if "speed" in parts:
        yield from (Errand("speed", label, given) for label in whole)


def run_all(errands: Sequence[Errand], jobs: int) -> Seen:
    """What was seen: the timed ones one by one in this process, the others by `jobs` processes."""
    seen: Seen = []
    timed = [errand for errand in errands if errand.part == "speed"]
    others = [errand for errand in errands if errand.part != "speed"]
    results = _run_in_processes(others, jobs) if jobs > 1 else ((e, e.run()) for e in others)
    for errand, result in results:
        seen.append((errand.part, errand.what, result))
        print(f"\r{len(seen)} of {len(errands)}", end="", file=sys.stderr, flush=True)
    if timed:
        timed[0].run()  # the networks' first run prepares them
    seen += [(errand.part, errand.what, errand.run()) for errand in timed]
    print(file=sys.stderr)
    order = {(errand.part, errand.what): number for number, errand in enumerate(errands)}
    return sorted(seen, key=lambda row: order[row[0], row[1]])


def _run_in_processes(errands: Sequence[Errand], jobs: int) -> Iterator[tuple[Errand, Any]]:
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(errand.run): errand for errand in errands}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def write_all(path: Path, figures: Mapping[str, float], seen: Seen) -> None:
    """Figures, and a row for everything seen; what could not be measured becomes null."""
    rows = [
        {"part": part, "name": what.name, "kind": getattr(what, "kind", "pair")}
        | (result if isinstance(result, dict) else asdict(result))
        for part, what, result in seen
    ]
    text = json.dumps(_plain({"figures": figures, "rows": rows}), indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return round(float(value), 6) if math.isfinite(value) else None
    return value


def read_parts(text: str) -> tuple[str, ...]:
    """ "whole,none" -> ("whole", "none"), for argparse."""
    parts = tuple(text.split(","))
    for part in parts:
        if part not in PARTS:
            raise argparse.ArgumentTypeError(f"{part} is not one of {', '.join(PARTS)}")
    return parts


def read_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, value


def read_folder(text: str) -> Path:
    folder = Path(text)
    if not (folder / "labels.json").is_file():
        raise argparse.ArgumentTypeError(f"{folder / 'labels.json'} does not exist")
    return folder


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=read_folder, nargs="+", required=True, metavar="D")
    parser.add_argument("--only", type=read_parts, default=PARTS, metavar="PARTS")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument(
        "--json", type=Path, metavar="F", help="write figures and rows to this file"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="pictures of the part refine")
    parser.add_argument(
        "--set", type=read_setting, nargs="+", default=(), metavar="NAME=VALUE", help="parameters"
    )
    return parser


def main() -> None:
    use_utf8()
    parser = make_parser()
    options = parser.parse_args()
    try:
        real_looks.read_parameters(tuple(options.set))
    except (HandRefinerError, TypeError) as error:
        parser.error(str(error))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    labels = read_labels(options.pictures)
    if labels.missing:
        print(f"{len(labels.missing)} pictures are missing: {', '.join(labels.missing)}")
    seen = run_all(list(plan(labels, options.only, options)), options.jobs)
    figures: dict[str, float] = {}
    targets = []
    for report in REPORTS:
        some, aims = report(seen)
        figures.update(some)
        targets += aims
    print_targets(targets)
    if options.json is not None:
        write_all(options.json, figures, seen)


if __name__ == "__main__":
    main()
