"""MeshGraphormer here and in the reference, side by side: whole hints, time and peak memory.

    python benchmarks/graphormer.py [--reference MESHGRAPHORMER --handrefiner HANDREFINER]

Both get the same picture of 1024², the same synthetic MANO model (tests/mano_model.py) and the same
weights in the published format, each in a fresh process on one thread. The reference is a checkout
of microsoft/MeshGraphormer (with its submodule manopth) and one of wenquanlu/HandRefiner; it needs
pytorch-transformers, torchvision, yacs, mediapipe, trimesh, rtree, scipy and matplotlib. Runs take
turns, and the best of each counts.

Keys of the JSON, K = size of the hand and number of hands (small_1, small_2, middle_1, large_1):
ours_K_s, reference_K_s (hints of a loaded program), ours_K_load_s, ours_K_mb and those of the
reference; speed_ratio_SIZE, memory_ratio_SIZE; two_hands_ratio (two small hands to one, ours).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import Figure, Target, make_parser, print_table, print_targets, use_utf8, write_json
from speed import Case, make_case

from handrefiner_ext.dataset.plain import Placement, generator, make_scene
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import encode_png
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import ModelHome

HERE = Path(__file__).resolve().parent
SIDE = 1024
MOST_TRIES = 6
SHARES = {"small": 0.18, "middle": 0.35, "large": 0.5}
"""Hand sizes in sides of the picture: the reference casts a ray for every pixel of the crop."""
ONE, TWO = "small_1", "small_2"
Runs = dict[str, dict[str, float]]


def main() -> None:
    use_utf8()
    options = read_options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder)
        stages = build_stages(RefineParams(mesh="open_hand"), ModelHome())
        cases = make_cases(stages)
        pictures = {key: save_as(case, folder, key) for key, case in cases.items()}
        runs = measure_all(pictures, folder, options)
    rows = [(key, *(f"{run[part]:.3g}" for part in PARTS)) for key, run in runs.items()]
    print_table(f"Hints at {SIDE}², one thread", ("hands", *PARTS.values()), rows)
    figures = find_figures(runs)
    print_targets(find_targets(figures))
    write_json(options.json, figures)


PARTS = {"load_s": "load, s", "first_s": "first, s", "best_s": "then, s", "peak_mb": "peak, MB"}


def read_options() -> argparse.Namespace:
    parser = make_parser(__doc__, 3, "measurements of each time")
    parser.add_argument("--reference", type=Path, metavar="D", help="microsoft/MeshGraphormer")
    parser.add_argument("--handrefiner", type=Path, metavar="D", help="wenquanlu/HandRefiner")
    options = parser.parse_args()
    if (options.reference is None) != (options.handrefiner is None):
        parser.error("--reference and --handrefiner go together")
    return options


def write_models(folder: Path) -> None:
    sys.path.append(str(HERE.parent / "tests"))
    from graphormer_files import write_models as write

    write(folder, with_unused=True)


def make_cases(stages: Stages) -> dict[str, Case]:
    """One hand of every size, and two small ones."""
    cases = {TWO: make_case(stages, SIDE, 2)}
    for size, share in SHARES.items():
        place = Placement(SIDE / 2.0, SIDE / 2.0, share * SIDE)
        for number in range(MOST_TRIES):
            image = make_scene(generator("validation", number), SIDE, SIDE, (place,)).image
            hands = stages.detector.detect(image, RefineParams(tiles="off")).hands
            if len(hands) == 1:
                break
        cases[f"{size}_1"] = Case(image, hands, 1)
    return cases


def save_as(case: Case, folder: Path, key: str) -> Path:
    path = folder / f"{key}.png"
    path.write_bytes(encode_png(case.image))
    return path


def measure_all(pictures: dict[str, Path], models: Path, options: argparse.Namespace) -> Runs:
    runs: Runs = {}
    for hands, picture in pictures.items():
        common = (str(picture), str(models), str(options.count))
        runs[f"ours_{hands}"] = measure_side("ours", *common)
        if options.reference is not None:
            checkouts = (str(options.reference), str(options.handrefiner))
            runs[f"reference_{hands}"] = measure_side("reference", *common, *checkouts)
    return runs


def measure_side(*arguments: str) -> dict[str, float]:
    command = [sys.executable, str(HERE / "graphormer_side.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def find_figures(runs: Runs) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for key, run in runs.items():
        figures |= {
            f"{key}_s": run["best_s"],
            f"{key}_load_s": run["load_s"],
            f"{key}_mb": run["peak_mb"],
        }
    figures["two_hands_ratio"] = runs[f"ours_{TWO}"]["best_s"] / runs[f"ours_{ONE}"]["best_s"]
    for size in SHARES:
        ours, theirs = (runs.get(f"{side}_{size}_1") for side in ("ours", "reference"))
        if ours and theirs:
            figures[f"speed_ratio_{size}"] = theirs["best_s"] / ours["best_s"]
            figures[f"memory_ratio_{size}"] = ours["peak_mb"] / theirs["peak_mb"]
    return figures


def find_targets(figures: dict[str, Figure]) -> list[Target]:
    known = [
        *((f"Hints, one {s} hand: times as fast", f"speed_ratio_{s}", 10.0, False) for s in SHARES),
        *((f"Peak memory, {s} hand: share", f"memory_ratio_{s}", 0.7, True) for s in SHARES),
        ("Two hands to one", "two_hands_ratio", 2.0, True),
    ]
    return [
        Target(name, float(figures[key]), limit, "", at_most)
        for name, key, limit, at_most in known
        if key in figures
    ]


if __name__ == "__main__":
    main()
