"""How much faster two workers of `--engine ray` are than one, on pictures of 1024² with a hand.

Counted from the pictures after which every worker has warmed up, so without the start of Ray;
one thread for each worker. Where others use the machine meanwhile, the clock tells little: the
second figure is from the workers' processor time alone (twice one worker's time for a picture,
divided by that of two working side by side). For Linux.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from cluster_faults import HAND
from cluster_runs import Driver, count_rows, cpu_seconds
from pyarrow import parquet
from report import Target, make_parser, positive, print_table, print_targets, use_utf8, write_json

from handrefiner_ext.cluster.journal import MANIFEST
from handrefiner_ext.pictures import encode_png, load_picture

LEAST_RATIO = 1.6
SIDE = 1024
WARM_AFTER = 2
"""Pictures of each worker that are not counted."""


class Speed(NamedTuple):
    """per_second: pictures. cpu_s: of the workers, for one picture."""

    per_second: float
    cpu_s: float
    whole_s: float


def main() -> int:
    use_utf8()
    parser = make_parser(__doc__, 24, "pictures")
    parser.add_argument("--repeat", type=positive, default=3, help="measurements of each (3)")
    parser.add_argument("--side", type=positive, default=SIDE, help=f"of a picture ({SIDE})")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    speeds: dict[int, list[Speed]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "in")
        make_pictures(pictures, options.count, options.side)
        for turn in range(options.repeat):
            for workers in speeds:
                speeds[workers].append(
                    measure(pictures, Path(folder, f"{turn}-{workers}"), workers)
                )
    return _report(speeds, options)


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Large pictures with a hand, all different."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    hand = cv2.resize(load_picture(HAND).image, (side, side), interpolation=cv2.INTER_CUBIC)
    for number in range(count):
        image = cv2.add(hand, rng.integers(0, 9, hand.shape, dtype=np.uint8))
        (folder / f"{number:05}.png").write_bytes(encode_png(image))


def measure(pictures: Path, out: Path, workers: int) -> Speed:
    """One whole run."""
    driver = Driver(pictures, out, ("--jobs", str(workers)))
    start = time.monotonic()
    driver.start()
    warm, used, unused = WARM_AFTER * workers, {}, 0.0
    while driver.process.poll() is None:
        used.update({pid: s for pid in driver.workers() if (s := cpu_seconds(pid))})
        if not unused and count_rows(out) > warm:
            unused = sum(used.values())
        time.sleep(0.1)
    if driver.wait():
        raise SystemExit(driver.said())
    whole_s = time.monotonic() - start
    rows = parquet.read_table(out / MANIFEST).to_pylist()
    ends = sorted(row["finished"].timestamp() for row in rows)
    counted = len(ends) - 1 - warm
    cpu_s = (sum(used.values()) - unused) / counted
    return Speed(counted / (ends[-1] - ends[warm]), cpu_s, whole_s)


def _report(speeds: dict[int, list[Speed]], options: object) -> int:
    one, two = (Speed(*np.median(speeds[n], axis=0)) for n in (1, 2))
    rows = [
        (f"{n} workers", f"{s.per_second:.2f}", f"{s.cpu_s:.2f}", f"{s.whole_s:.1f}")
        for n in speeds
        for s in speeds[n]
    ]
    print_table("Runs", ("", "pictures / s", "CPU s / picture", "whole run, s"), rows)
    targets = [
        Target("two workers / one", two.per_second / one.per_second, LEAST_RATIO, at_most=False),
        Target("the same by CPU time", 2 * one.cpu_s / two.cpu_s, LEAST_RATIO, at_most=False),
    ]
    print_targets(targets)
    figures = {target.name: target.value for target in targets}
    figures |= {"one worker, pictures/s": one.per_second, "two, pictures/s": two.per_second}
    write_json(options.json, figures)  # type: ignore[attr-defined]
    return 0 if targets[0].reached else 1


if __name__ == "__main__":
    sys.exit(main())
