"""Speed and peak memory of every stage, by size of the picture and number of hands.

    python benchmarks/speed.py [--json F] [--detector NAME] [--sizes 512,1024,2048] [--hands 1,2,6]
        [--least]

Times are medians after a warm-up, or with --least the least of all, for a machine that others use
as well: on the clock and, in brackets, of all processor cores together, which says more where other
programs are running. Peak memory is the most that a fresh process has ever held in RAM. The
pictures are rendered with hands of 0.18 of the picture's side, from seeds of the validation split;
of these the first is taken in which all hands are found.

Keys of the JSON, S = side in pixels, N = number of hands:
  ROW_S_N_ms, ROW_S_N_cpu_ms   time of a row of the tables: detect and hints with tiles off, auto
                               and on; files: hints from a file to its files, tiles auto, warm
                               (start_to_hints is the cold one); refine with tiles off and auto;
                               for all hands together fit (without the outline's evidence),
                               reconstruct (with it), reread (doubtful hands read again, too),
                               render, draft and judge
  peak_STAGE_S_N_mb            peak memory up to the end of a stage (tiles on)
  peak_hints_S_N_mb, peak_refine_S_N_mb   peak memory of the whole command (tiles on)
  start_to_hints_S_N_s, start_to_hints_S_N_cpu_s   from the start of `handrefiner hints` to its end
  torch_imported               whether that command imported torch
  detector, cores              what was measured, and where
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from fresh_process import measure_command, measure_stages
from report import (
    Figure,
    Target,
    Timing,
    make_parser,
    measure,
    positive_list,
    print_table,
    print_targets,
    use_utf8,
    write_json,
)

from handrefiner_ext.dataset.plain import Placement, generator, make_scene
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.outputs import HintFolders
from handrefiner_ext.files.run import Recipe, write_hints
from handrefiner_ext.hands.readings import reconstruct_well
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import encode_png
from handrefiner_ext.pipeline import hints, refine
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.registry import DETECTORS
from handrefiner_ext.render.maps import build_maps
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import Hand, HandMesh, Image, ModelHome

HAND_SHARE = 0.18
"""Hand size in sides of the picture: found with tiles and without."""
MOST_TRIES = 6
STARTS = 3
BUSY = 1.15
ROWS = {
    "detect_off": "detect, tiles off",
    "detect_auto": "detect, tiles auto",
    "detect_on": "detect, tiles on",
    "fit": "reconstruct: the fit",
    "reconstruct": "reconstruct: fit and outline",
    "reread": "  and doubtful hands again",
    "render": "render maps",
    "hints_off": "hints, tiles off",
    "hints_auto": "hints, tiles auto",
    "hints_on": "hints, tiles on",
    "files": "hints with its files",
    "draft": "inpaint (draft)",
    "judge": "judge, once",
    "refine_off": "refine, tiles off",
    "refine_auto": "refine, tiles auto",
}
Figures = dict[str, Figure]


@dataclass(frozen=True)
class Case:
    """A picture and the hands that are found in it; `wanted` is the number that were drawn."""

    image: Image
    hands: tuple[Hand, ...]
    wanted: int

    @property
    def key(self) -> str:
        return f"{self.image.shape[0]}_{self.wanted}"


def main() -> None:
    use_utf8()
    options = read_options()
    params = RefineParams(detector=options.detector)
    stages = build_stages(params, ModelHome())
    figures: Figures = {"detector": stages.detector.name, "cores": os.cpu_count() or 1}
    print(f"Detector {stages.detector.name}, {figures['cores']} cores{_describe_load()}")
    with tempfile.TemporaryDirectory() as folder:
        for side in options.sizes:
            cases = [make_case(stages, side, hands) for hands in options.hands]
            figures |= report_times(cases, stages, params, Path(folder), options)
            figures |= report_memory(cases, Path(folder), options.detector)
            if side == _nearest(options.sizes, 1024):
                figures |= report_start(cases[0], Path(folder), options)
    print_targets(find_targets(figures))
    print_doubt(figures)
    write_json(options.json, figures)


def read_options() -> argparse.Namespace:
    parser = make_parser(__doc__, 9, "measurements of each time, at most")
    parser.add_argument("--detector", choices=DETECTORS.choices(), default="auto")
    parser.add_argument("--sizes", type=positive_list, default=(512, 1024, 2048), metavar="S,…")
    parser.add_argument("--hands", type=positive_list, default=(1, 2, 6), metavar="N,…")
    parser.add_argument("--least", action="store_true", help="the least times instead of medians")
    return parser.parse_args()


def _describe_load() -> str:
    if not hasattr(os, "getloadavg"):
        return ""
    return f", load average {os.getloadavg()[0]:.1f} before the start"


def _nearest(sizes: Sequence[int], wanted: int) -> int:
    return min(sizes, key=lambda size: abs(size - wanted))


def make_case(stages: Stages, side: int, count: int) -> Case:
    """A picture whose hands are all found, or the last one tried."""
    seeking = RefineParams(tiles="auto")
    for number in range(MOST_TRIES):
        scene = make_scene(generator("validation", number), side, side, place_hands(side, count))
        hands = stages.detector.detect(scene.image, seeking).hands
        if len(hands) == count:
            break
    return Case(scene.image, hands, count)


def place_hands(side: int, count: int) -> tuple[Placement, ...]:
    """Hands in a grid that is at least as wide as high."""
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    return tuple(
        Placement(
            side * (number % columns + 0.5) / columns,
            side * (number // columns + 0.5) / rows,
            HAND_SHARE * side,
        )
        for number in range(count)
    )


def list_work(
    case: Case, stages: Stages, params: RefineParams, folder: Path
) -> dict[str, Callable[[], object]]:
    """What each row measures. folder: for files."""
    image = case.image
    size = (image.shape[0], image.shape[1])
    tiles = {mode: replace(params, tiles=mode) for mode in ("off", "auto", "on")}
    bare = replace(params, outline=False)

    def reconstruct(given: RefineParams) -> tuple[HandMesh, ...]:
        found = [stages.reconstructor.reconstruct(image, hand, given) for hand in case.hands]
        return tuple(mesh for mesh in found if isinstance(mesh, HandMesh))

    def reread() -> None:
        for hand in case.hands:
            reconstruct_well(image, hand, stages.backends, params)

    meshes = reconstruct(params)
    maps = build_maps(meshes, size, stages.renderer, params, image=image)
    work: dict[str, Callable[[], object]] = {
        "fit": partial(reconstruct, bare),
        "reconstruct": partial(reconstruct, params),
        "reread": reread,
        "render": partial(build_maps, meshes, size, stages.renderer, params, image=image),
        "draft": partial(stages.inpainter.paint, PaintRequest(image, meshes, maps, params)),
        "judge": partial(stages.judge, stages.detector, image, meshes, params),
    }
    job, places = Job(save(case, folder), "warm"), HintFolders(folder / "warm")
    work["files"] = partial(write_hints, job, Recipe(tiles["auto"]), stages, places)
    for mode, given in tiles.items():
        work[f"detect_{mode}"] = partial(stages.detector.detect, image, given)
        work[f"hints_{mode}"] = partial(hints, image, given, stages)
        work[f"refine_{mode}"] = partial(refine, image, given, stages)
    return {row: work[row] for row in ROWS}


def report_times(
    cases: Sequence[Case],
    stages: Stages,
    params: RefineParams,
    folder: Path,
    options: argparse.Namespace,
) -> Figures:
    work = {case.key: list_work(case, stages, params, folder) for case in cases}
    times = {
        row: {
            case.key: measure(work[case.key][row], options.count, options.least) for case in cases
        }
        for row in ROWS
    }
    rows = [(title, *(_show(t) for t in times[row].values())) for row, title in ROWS.items()]
    side = cases[0].image.shape[0]
    print_table(f"Time at {side}², ms (cores together)", ("", *map(_head, cases)), rows)
    return {
        f"{row}_{key}_{unit}": value
        for row, by_case in times.items()
        for key, timing in by_case.items()
        for unit, value in (("ms", timing.wall_ms), ("cpu_ms", timing.cpu_ms))
    }


def _show(timing: Timing) -> str:
    return f"{timing.wall_ms:.1f} ({timing.cpu_ms:.1f})"


def _head(case: Case) -> str:
    noun = "hand" if case.wanted == 1 else "hands"
    missed = f" ({len(case.hands)} found)" if len(case.hands) != case.wanted else ""
    return f"{case.wanted} {noun}{missed}"


def report_memory(cases: Sequence[Case], folder: Path, detector: str) -> Figures:
    peaks = [measure_peaks(case, folder, detector) for case in cases]
    rows = [(stage, *(f"{peak[stage]:.0f}" for peak in peaks)) for stage in peaks[0]]
    side = cases[0].image.shape[0]
    print_table(f"Peak memory at {side}², MB, tiles on", ("up to", *map(_head, cases)), rows)
    return {
        f"peak_{stage.split()[0]}_{case.key}_mb": mb
        for case, peak in zip(cases, peaks, strict=True)
        for stage, mb in peak.items()
    }


def measure_peaks(case: Case, folder: Path, detector: str) -> dict[str, float]:
    """Stage after stage in one fresh process; then each command in one of its own."""
    picture = save(case, folder)
    peaks = measure_stages(picture, detector=detector, tiles="on")
    output = str(folder / "out")
    common = ("--out_dir", output, "--detector", detector, "--tiles", "on")
    hints_run = measure_command("hints", str(picture), *common)
    refine_run = measure_command("refine", "--input_img", str(picture), *common)
    peaks |= {"hints command": hints_run.peak_mb, "refine command": refine_run.peak_mb}
    return peaks


def save(case: Case, folder: Path) -> Path:
    path = folder / f"{case.key}.png"
    path.write_bytes(encode_png(case.image))
    return path


def report_start(case: Case, folder: Path, options: argparse.Namespace) -> Figures:
    """From the start of the process to its end, with every default; the best of some."""
    picture, side = save(case, folder), case.image.shape[0]
    arguments = ("--out_dir", str(folder / "start"), "--detector", options.detector)
    starts = min(STARTS, options.count)
    runs = [measure_command("hints", str(picture), *arguments) for _ in range(starts)]
    best, torch = min(runs), any(run.torch for run in runs)
    print(
        f"\nFrom process start to first hints at {side}²: {best.seconds:.2f} s "
        f"({best.cpu_s:.2f} s of the cores together), best of {starts}; "
        + ("it imported torch" if torch else "it did not import torch")
    )
    return {
        f"start_to_hints_{case.key}_s": best.seconds,
        f"start_to_hints_{case.key}_cpu_s": best.cpu_s,
        "torch_imported": torch,
    }


def find_targets(figures: Figures) -> list[Target]:
    """The targets whose figures were measured."""
    known = [
        ("Hints, 1024², one hand, tiles off", "hints_off_1024_1_ms", 80.0, "ms"),
        ("  of which the fit", "fit_1024_1_ms", 15.0, "ms"),
        ("  the outline's evidence", "outline_1024_1_ms", 50.0, "ms"),
        ("Hints, 2048², six hands, tiles auto", "hints_auto_2048_6_ms", 1000.0, "ms"),
        ("Process start to first hints", "start_to_hints_1024_1_s", 2.5, "s"),
        ("Torch imported", "torch_imported", 0.0, ""),
        ("Peak memory, hints, 2048², six hands", "peak_hints_2048_6_mb", 500.0, "MB"),
        ("Peak memory, refine, 2048², six hands", "peak_refine_2048_6_mb", 500.0, "MB"),
    ]
    measured = dict(figures)
    if "reconstruct_1024_1_ms" in figures:
        both, fit = figures["reconstruct_1024_1_ms"], figures["fit_1024_1_ms"]
        measured["outline_1024_1_ms"] = float(both) - float(fit)
    return [
        Target(name, float(measured[key]), limit, unit)
        for name, key, limit, unit in known
        if key in measured
    ]


def print_doubt(figures: Figures) -> None:
    """Say so where these stages, which use one core, waited for it."""
    alone = ("fit_", "reconstruct_", "render_")
    names = [n.removesuffix("_cpu_ms") for n in figures if n.endswith("_cpu_ms")]
    ratios = [
        float(figures[f"{name}_ms"]) / max(float(figures[f"{name}_cpu_ms"]), 1e-6)
        for name in names
        if name.startswith(alone)
    ]
    if (ratio := float(np.median(ratios))) > BUSY:
        print(
            f"\nOther programs were busy: work for one core took {ratio:.1f} times its time there."
        )


if __name__ == "__main__":
    main()
