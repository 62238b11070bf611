"""A thousand runs, each with one fault or two at the boundaries of the product.

After every run: the originals are unchanged, every picture has exactly one outcome, a sentence says
why where it failed, nothing is left behind, there is no traceback, and the next run works. Runs are
drawn from a seed, so each can be played again by its number; those that are recorded in --record
are not played again, so that the command can be stopped and goes on. The exit code is 1 where a
promise was broken. With --host, runs in a real WebUI follow; it needs what the tests of the WebUI
need (docs/webui.md).

    python benchmarks/campaign.py --record campaign.jsonl
    python benchmarks/campaign.py --record campaign.jsonl --host 50
    python benchmarks/campaign.py --only 123 --keep folder
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import campaign_hosts
import campaign_routes as routes
import campaign_webui
from campaign_routes import HANDS, WRONG_ANSWERS, Case
from faults import DEATHS, RAISED, Fault
from report import print_table, use_utf8

PLAY = {
    "command": routes.play_cli,
    "url": routes.play_url,
    "api": routes.play_api,
    "webui": campaign_hosts.play_webui,
    "download": campaign_hosts.play_download,
    "jobs": routes.play_in_processes,
    "ray": routes.play_in_processes,
    "host": campaign_webui.play_host,
}
HUNDRED = {"command": 46, "webui": 20, "api": 10, "url": 10, "download": 8, "jobs": 5, "ray": 1}
"""How many runs of a hundred take each route; those with processes of their own are slow."""
FIRST_ON_HOST = 1_000_000
"""Runs in a real WebUI have numbers from here on."""
QUICK = ("command", "webui", "api", "url", "download")
ERRORS = tuple(RAISED)
BACKENDS = ("detect", "fit", "render", "paint", "judge")
FILES = ("decode", "write", "journal", "page")
BOUNDARIES = {
    "command": (*BACKENDS, *FILES),
    "jobs": (*BACKENDS, "decode", "write"),
    "ray": (*BACKENDS, "decode", "write", "journal"),
    "api": (*BACKENDS, "decode"),
    "webui": ("detect", "fit", "render", "judge", "nested", "control"),
    "url": ("network", "decode", "write", "journal"),
    "download": ("server",),
    "host": campaign_webui.BOUNDARIES,
}
NO_MEMORY_ERRORS = ("journal", "page")
"""There only the disk can be at fault."""
DISK = ("input/output", "full disk", "denied")


def main() -> int:
    use_utf8()
    logging.getLogger("handrefiner_ext").setLevel(logging.CRITICAL + 1)  # tracebacks, on purpose
    options = read_options()
    if options.only is not None:
        return replay(options)
    done = read_record(options.record)
    begun = time.monotonic()
    numbers = [*range(options.count), *range(FIRST_ON_HOST, FIRST_ON_HOST + options.host)]
    for number in numbers:
        if number in done:
            continue
        result = play(draw(options.seed, number))
        done[number] = result
        if options.record is not None:
            with options.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        for problem in result["problems"]:
            print(f"run {number} ({result['route']}, {result['faults']}): {problem}", flush=True)
    results = [done[number] for number in numbers]
    summarise(results)
    print(f"\n{time.monotonic() - begun:.0f} s, {len(results)} runs of seed {options.seed}")
    return 1 if any(result["problems"] for result in results) else 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="runs (1000)")
    parser.add_argument("--host", type=int, default=0, metavar="N", help="in a real WebUI (0)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (1)")
    parser.add_argument("--record", type=Path, metavar="F", help="results, a JSON line each")
    parser.add_argument("--only", type=int, metavar="N", help="play this run alone")
    parser.add_argument("--keep", type=Path, metavar="D", help="an empty folder for --only")
    return parser.parse_args()


def replay(options: argparse.Namespace) -> int:
    result = play(draw(options.seed, options.only), options.keep)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 1 if result["problems"] else 0


def read_record(path: Path | None) -> dict[int, dict[str, Any]]:
    if path is None or not path.exists():
        return {}
    lines = path.read_text("utf-8").splitlines()
    return {result["number"]: result for result in map(json.loads, lines)}


def draw(seed: int, number: int, among: Sequence[str] = tuple(HUNDRED)) -> Case:
    """Return the run of a number."""
    if number >= FIRST_ON_HOST:
        chance = random.Random(f"{seed}/{number}")
        faults = tuple(draw_fault(chance, "host") for _ in range(chance.choice((1, 1, 2))))
        return Case(number, "host", faults, campaign_webui.draw_options(chance))
    order = [route for route, share in HUNDRED.items() for _ in range(share)]
    random.Random(f"{seed} {number // len(order)}").shuffle(order)
    chance = random.Random(f"{seed}/{number}")
    route = order[number % len(order)]
    if route not in among:
        route = "command"
    if route == "webui" and not campaign_hosts.has_webui():
        route = "api"
    faults = tuple(draw_fault(chance, route) for _ in range(chance.choice((1, 1, 2))))
    return Case(number, route, faults, draw_options(chance, route))


def draw_fault(chance: random.Random, route: str) -> Fault:
    boundary = chance.choice(BOUNDARIES[route])
    kinds: Sequence[str] = ERRORS
    if boundary == "server":
        kinds = tuple(campaign_hosts.SERVERS)
    elif boundary == "network":
        kinds = tuple(WRONG_ANSWERS)
    elif boundary in NO_MEMORY_ERRORS or boundary == "write":
        kinds = DISK
    elif boundary == "nested":
        kinds = (*ERRORS, "interrupt")
    elif boundary == "step":
        kinds = campaign_webui.STEPS
    if route in ("jobs", "ray") and boundary != "journal":
        kinds = (*kinds, *DEATHS, *DEATHS)
    picture = chance.choice([*HANDS, *HANDS, ""])
    if route in ("webui", "api", "host") or boundary in NO_MEMORY_ERRORS:
        picture = ""
    return Fault(boundary, chance.choice(kinds), picture, chance.choice((1, 1, 2, 99)))


def draw_options(chance: random.Random, route: str) -> tuple[str, ...]:
    if route == "download":
        return ("stated",) if chance.random() < 0.5 else ()
    if route == "api":
        return ("hints",) if chance.random() < 0.3 else ()
    if route == "webui":
        return ()
    options: tuple[str, ...] = ("--keep_best", "true") if chance.random() < 0.3 else ()
    if route == "ray":
        return (*options, "--engine", "ray", "--jobs", chance.choice("12"))
    options += ("--log_json", "{folder}/record.json") if chance.random() < 0.7 else ()
    options += ("--report", "{folder}/page.html") if chance.random() < 0.5 else ()
    return (
        *options,
        *(("--jobs", chance.choice("23")) if route == "jobs" and chance.random() < 0.6 else ()),
    )


def play(case: Case, keep: Path | None = None) -> dict[str, Any]:
    """Play a run; an exception that reaches this place is one of its problems."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as temporary:
        folder = Path(temporary) if keep is None else keep
        folder.mkdir(exist_ok=True)
        try:
            fired, problems = PLAY[case.route](case, folder)
        except Exception as error:
            fired, problems = 1, [f"{type(error).__name__} reached the caller: {error}"]
    return {
        "number": case.number,
        "route": case.route,
        "faults": [f"{fault.boundary}: {fault.kind}" for fault in case.faults],
        "fired": fired,
        "problems": problems,
    }


def summarise(results: Sequence[dict[str, Any]]) -> None:
    """Print runs, faults that happened and broken promises, by route and by boundary."""
    for title, keys in (
        ("Routes", lambda r: [r["route"]]),
        ("Boundaries", lambda r: sorted({fault.partition(":")[0] for fault in r["faults"]})),
    ):
        runs: Counter[str] = Counter()
        happened: Counter[str] = Counter()
        broken: Counter[str] = Counter()
        for result in results:
            for key in keys(result):
                runs[key] += 1
                happened[key] += min(result["fired"], 1)
                broken[key] += bool(result["problems"])
        rows = [(key, runs[key], happened[key], broken[key]) for key in sorted(runs)]
        print_table(title, ("", "runs", "with a fault", "promise broken"), rows)


if __name__ == "__main__":
    sys.exit(main())
