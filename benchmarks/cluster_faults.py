"""A folder on Ray whose worker is killed, whose driver is killed, and which is then finished.

Says whether every picture has exactly one result, the local engine's bit for bit, whether anything
was done twice but what was in flight, and how much memory the run took early and late. One picture
in ten has a hand. For Linux.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cluster_runs import (
    Driver,
    begun_without_row,
    count_rows,
    rows_of,
    tried_twice,
    wait_until,
)
from pyarrow import parquet
from report import Target, make_parser, print_targets, use_utf8, write_json

from handrefiner_ext.cluster.journal import MANIFEST, Row
from handrefiner_ext.files.tries import FOLDER
from handrefiner_ext.pictures import encode_png, load_picture

SIDE, SIDE_WITH_HAND = 64, 192
HAND = Path(__file__).resolve().parents[1] / "examples" / "badly_drawn_hand.png"
ONE_IN = 10
WORKERS = 2
SECONDS_TO_DIE = 90.0


@dataclass(frozen=True)
class Outcome:
    """What was seen. memory_mb: at a quarter and at the end of the second run."""

    pictures: int
    killed_workers: int
    recorded_before: int
    in_flight: int
    outputs: int
    rows: int
    failed: int
    changed_again: int
    tried_twice: int
    hands: int
    differing: int
    left_processes: int
    memory_mb: tuple[float, float]

    def targets(self) -> list[Target]:
        early, late = self.memory_mb
        return [
            Target("outputs missing", self.pictures - self.outputs, 0),
            Target("outputs too many", self.outputs - self.pictures, 0),
            Target("rows of the manifest too few", self.pictures - self.rows, 0),
            Target("rows of the manifest too many", self.rows - self.pictures, 0),
            Target("pictures failed", self.failed, 0),
            Target("done again although recorded", self.changed_again, 0),
            Target("begun again by the killed worker's successor", self.tried_twice, 1),
            Target("in flight when the driver was killed", self.in_flight, WORKERS),
            Target("hands too few", -(-self.pictures // ONE_IN) - self.hands, 0),
            Target("outputs that differ from the local engine's", self.differing, 0),
            Target("processes left over", self.left_processes, 0),
            Target("memory late / memory early", late / early, 1.25),
        ]


def main() -> int:
    use_utf8()
    options = make_parser(__doc__, 1000, "pictures").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = break_and_finish(Path(folder), options.count)
    print(f"{outcome}")
    print_targets(outcome.targets())
    write_json(options.json, {target.name: target.value for target in outcome.targets()})
    return 0 if all(target.reached for target in outcome.targets()) else 1


def break_and_finish(folder: Path, count: int) -> Outcome:
    """Kill a worker after a quarter of the pictures, the driver after half of them."""
    pictures, out = folder / "in", folder / "out"
    make_pictures(pictures, count)
    with Driver(pictures, out) as first:
        wait_until(lambda: count_rows(out) >= count // 4, "a quarter")
        os.kill(first.workers()[0], signal.SIGKILL)
        wait_until(lambda: count_rows(out) >= count // 2, "half")
        first.kill()
    wait_until(lambda: not first.processes(), "the end of all processes", SECONDS_TO_DIE)
    before, in_flight = rows_of(out), len(begun_without_row(out))
    again = len(tried_twice(out))
    stamps = {name: _stamp(out, row) for name, row in before.items()}
    with Driver(pictures, out) as second:
        memory = _watch_memory(second, out, count)
        second.finish()
    table = parquet.read_table(out / MANIFEST).to_pylist()
    kept = {row["picture"]: row for row in table}
    changed = [
        key
        for key, row in before.items()
        if stamps[key] != _stamp(out, row) or kept[row["picture"]]["finished"] != row["finished"]
    ]
    wait_until(lambda: not second.processes(), "the end of all processes", SECONDS_TO_DIE)
    return Outcome(
        pictures=count,
        killed_workers=1,
        recorded_before=len(before),
        in_flight=in_flight,
        outputs=len(list(out.glob("*_0.png"))),
        rows=len(table),
        failed=sum(row["error"] is not None for row in table),
        changed_again=len(changed),
        tried_twice=again,
        hands=sum(row["hands"] for row in table),
        differing=_count_differing(pictures, out),
        left_processes=len([*first.processes(), *second.processes()]),
        memory_mb=memory,
    )


def make_pictures(folder: Path, count: int) -> None:
    """Small pictures, all different: noise, and one in ten with a hand."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    hand = cv2.resize(load_picture(HAND).image, (SIDE_WITH_HAND, SIDE_WITH_HAND))
    for number in range(count):
        image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        if number % ONE_IN == 0:
            image = cv2.add(hand, rng.integers(0, 9, hand.shape, dtype=np.uint8))
        (folder / f"{number:05}.png").write_bytes(encode_png(image))


def _count_differing(pictures: Path, out: Path) -> int:
    """Of the pictures with a hand; the local engine works on them now, where they are.

    An output's mark names its source's place, so copies would have other outputs.
    """
    result, everything = out.with_name("alone"), sorted(pictures.iterdir())
    with_hand = everything[::ONE_IN]
    for path in set(everything) - set(with_hand):
        path.unlink()
    names = [f"{path.stem}_0.png" for path in with_hand]
    command = [sys.executable, "-m", "handrefiner_ext", "refine"]
    command += ["--input_dir", str(pictures), "--out_dir", str(result)]
    subprocess.run(command, check=True, capture_output=True)
    return sum((out / name).read_bytes() != (result / name).read_bytes() for name in names)


def _watch_memory(driver: Driver, out: Path, count: int) -> tuple[float, float]:
    """Megabytes soon after the workers are there, and the most in the last part of the run."""
    start = count_rows(out)
    early, late = [], []
    while driver.process.poll() is None and (out / FOLDER).exists():
        done = (count_rows(out) - start) / (count - start)
        if 0.1 < done < 0.4:
            early.append(driver.memory_mb())
        elif done > 0.7:
            late.append(driver.memory_mb())
        time.sleep(0.2)
    return max(early, default=1.0), max(late, default=1.0)


def _stamp(out: Path, row: Row) -> tuple[int, int]:
    """Changes whenever the output is written."""
    said = Path(row["output"]).stat()
    return said.st_ino, said.st_mtime_ns


if __name__ == "__main__":
    sys.exit(main())
