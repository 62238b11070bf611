"""How well the judge tells well-formed from malformed hands, and what it keeps.

    python benchmarks/judge.py [--count N] [--pairs N] [--split train|validation] [--json F]
                               [--images DIR] [--jobs N]

Quality: hands of random pose, each drawn well and with each of seven faults, everything else alike
(dataset/twins.py); --count of each. The validation split has another hand model (WebXR's generic
hand, MIT), another light, other backgrounds and JPEG's traces.

- auc_overall, auc_by_fault: chance that a malformed hand has less quality than a well-formed one.
- false_alarm_rate: well-formed hands below the quality from which a hand counts as well formed.

What is kept: --pairs simulated refinements, in turn a good one (a malformed hand becomes a
well-formed one), a worse one (the other way round), the same hand with new grain, a hand that
vanished, one that moved and one of the other side.

- better_kept_rate: pairs in which keep_best kept the better picture (of equals, the original).
- top_quarter_lost: well-formed hands of the best quarter by quality that a worse one replaced.

ms_per_hand is the quality, guard_ms_per_hand what keep_best costs a hand and candidate;
both are the medians of single runs, on a quiet machine after all else is done.
The JSON holds the validation split.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from foreign_hand import load_foreign_hand
from PIL import Image as PillowImage
from report import Target, make_parser, positive, print_table, print_targets, use_utf8, write_json

from handrefiner_ext.dataset.faults import CLASSIC
from handrefiner_ext.dataset.plain import SPLITS, open_hand_model
from handrefiner_ext.dataset.twins import SETTINGS, SIDE, Twins, all_pictures, make_twins
from handrefiner_ext.detect.flow import CachingDetector
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.judge.agreement import measure_agreement
from handrefiner_ext.judge.quality import MALFORMED_BELOW
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.registry import RECONSTRUCTORS, RENDERERS
from handrefiner_ext.stages import Stages, build_meter
from handrefiner_ext.types import Hand, Image, ModelHome

FOREIGN_HAND = Path(__file__).parent / "data" / "webxr_generic_hand_right.glb"
PARAMS = RefineParams(tiles="off")
CASES = ("good", "worse", "unchanged", "vanished", "moved", "wrong_side")
MOVED_BY = 0.35
"""Hand sizes."""
TIMED = 20


@dataclass
class Scores:
    """Quality by kind ("good" or a fault), in the order of the twins."""

    by_kind: dict[str, list[float]] = field(default_factory=dict)

    def add(self, kind: str, *qualities: float) -> None:
        self.by_kind.setdefault(kind, []).extend(qualities)


def read_twins(
    split: str, numbers: Iterable[int], faults: tuple[str, ...] = tuple(CLASSIC)
) -> Iterator[Twins]:
    own = split == "train"
    hand = open_hand_model() if own else load_foreign_hand(str(FOREIGN_HAND))
    setting = SETTINGS["plain" if own else "other"]
    for number in numbers:
        # Numbers that tools/train_form.py does not use.
        yield make_twins(split, number + 100_000 if own else number, hand, setting, faults)


def score(twins: Twins, detector: LitertDetector, scores: Scores) -> None:
    """The quality of every picture of the twins."""
    for kind, picture in all_pictures(twins):
        (quality,) = build_meter(ModelHome()).measure(
            detector, picture, (twins.truth.hand,), PARAMS
        )
        scores.add(kind, quality.score)


def area_under_curve(good: Sequence[float], bad: Sequence[float]) -> float:
    """Chance that one of `bad` is below one of `good`; equal ones count half."""
    better, worse = np.array(good)[:, None], np.array(bad)[None]
    return float((better > worse).mean() + 0.5 * (better == worse).mean())


@dataclass(frozen=True)
class Pair:
    """An original, the picture painted in its place, and whether it is the better one."""

    case: str
    original: Image
    painted: Image
    painted_is_better: bool
    hand: Hand


def make_pair(twins: Twins, case: str, number: int) -> Pair:
    """What refining could have done to one hand."""
    rng = np.random.default_rng([number, 17])
    faulty = twins.faulty[tuple(CLASSIC)[number % len(CLASSIC)]]
    painted = {
        "good": lambda: twins.good,
        "worse": lambda: faulty,
        "unchanged": lambda: _new_grain(rng, original),
        "vanished": lambda: _fill(original, twins),
        "moved": lambda: _move(rng, original, twins),
        "wrong_side": lambda: _mirror(original, twins),
    }
    original = faulty if case == "good" or (case != "worse" and rng.uniform() < 0.5) else twins.good
    return Pair(case, original, painted[case](), case == "good", twins.truth.hand)


def _new_grain(rng: np.random.Generator, image: Image) -> Image:
    noisy = image + rng.normal(scale=3.0, size=image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _fill(image: Image, twins: Twins) -> Image:
    """The hand painted over from its surroundings."""
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    hull = cv2.convexHull(twins.truth.hand.landmarks.astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 255)
    mask = cv2.dilate(mask, np.ones((25, 25), np.uint8))
    return np.asarray(cv2.inpaint(image, mask, 7, cv2.INPAINT_TELEA), dtype=np.uint8)


def _move(rng: np.random.Generator, image: Image, twins: Twins) -> Image:
    """Everything moved by a third of the hand."""
    angle = rng.uniform(0, 2 * np.pi)
    shift = MOVED_BY * twins.truth.hand.size_px * np.array([np.cos(angle), np.sin(angle)])
    map_ = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
    moved = cv2.warpAffine(image, map_, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, dtype=np.uint8)


def _mirror(image: Image, twins: Twins) -> Image:
    """The hand as its mirror image, in its own place."""
    landmarks = twins.truth.hand.landmarks
    centre = (landmarks[:, 0].min() + landmarks[:, 0].max()) / 2
    map_ = np.array([[-1.0, 0.0, 2 * centre], [0.0, 1.0, 0.0]])
    mirrored = cv2.warpAffine(image, map_, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(mirrored, dtype=np.uint8)


@dataclass
class GivenPainter:
    """Paints a picture that exists already."""

    picture: Image
    name: str = "given"

    def paint(self, request):
        return self.picture


@dataclass
class Kept:
    """What keep_best did: case -> right or wrong; quality of well-formed hands that something worse
    was painted over, and whether it replaced them."""

    right: dict[str, list[bool]] = field(default_factory=dict)
    good_before: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, case: str, *right: bool) -> None:
        self.right.setdefault(case, []).extend(right)

    @property
    def rate(self) -> float:
        return float(np.mean([r for rights in self.right.values() for r in rights]))


def decide(pair: Pair, detector: LitertDetector, kept: Kept) -> None:
    """Let the pipeline refine the original with what was painted, everywhere in the picture."""
    box = pair.hand.box
    params = RefineParams(
        tiles="off",
        keep_best=True,
        padding_bbox=SIDE,
        boxes=f"{box.x0},{box.y0},{box.x1},{box.y1}",
    )
    reconstructor = RECONSTRUCTORS.build("open_hand")
    stages = Stages(detector, reconstructor, RENDERERS.build("raster"), GivenPainter(pair.painted))
    result = refine(pair.original, params, stages)
    replaced = result.image is not pair.original
    kept.add(pair.case, replaced is pair.painted_is_better)
    if pair.case == "worse" and result.decisions:
        before = result.decisions[0].quality_before
        kept.good_before.append((before.score if before else 0.0, replaced))


def rate_once(twins: Twins, detector: LitertDetector) -> None:
    build_meter(ModelHome()).measure(detector, twins.good, (twins.truth.hand,), PARAMS)


def guard_once(twins: Twins, detector: LitertDetector) -> None:
    """What keep_best costs a hand and candidate: agreement and quick quality of one picture."""
    once = CachingDetector(detector, detector.name)
    measure_agreement(once, twins.good, (twins.truth,), PARAMS)
    build_meter(ModelHome()).measure(once, twins.good, (twins.truth.hand,), PARAMS)


def time_each(work: Callable[[Twins, LitertDetector], None], some: Sequence[Twins]) -> float:
    """Median of the milliseconds that `work` takes for one hand."""
    detector, spent = LitertDetector(), []
    work(some[0], detector)
    for twins in some:
        start = time.perf_counter()
        work(twins, detector)
        spent.append(1e3 * (time.perf_counter() - start))
    return round(float(np.median(spent)), 2)


def report_quality(split: str, scores: Scores) -> dict[str, object]:
    good = scores.by_kind["good"]
    bad = {kind: values for kind, values in scores.by_kind.items() if kind != "good"}
    by_fault = {kind: area_under_curve(good, values) for kind, values in bad.items()}
    overall = area_under_curve(good, [value for values in bad.values() for value in values])
    alarms = float(np.mean(np.array(good) < MALFORMED_BELOW))
    rows = [
        (kind, f"{by_fault[kind]:.3f}", f"{np.mean(np.array(values) < MALFORMED_BELOW):.1%}")
        for kind, values in bad.items()
    ]
    rows += [("all faults", f"{overall:.3f}", ""), ("well formed", "", f"{alarms:.1%}")]
    title = f"Quality, {split} split, {len(good)} of each"
    print_table(title, ("", "AUC", "called malformed"), rows)
    return {
        "auc_overall": round(overall, 4),
        "auc_by_fault": {kind: round(value, 4) for kind, value in by_fault.items()},
        "false_alarm_rate": round(alarms, 4),
    }


def report_kept(kept: Kept, good: Sequence[float]) -> dict[str, object]:
    rows = [(case, f"{np.mean(right):.1%}", len(right)) for case, right in kept.right.items()]
    print_table("The better picture was kept", ("", "share", "pairs"), rows)
    quarter = float(np.quantile(good, 0.75))
    lost = sum(replaced for quality, replaced in kept.good_before if quality >= quarter)
    return {
        "better_kept_rate": round(kept.rate, 4),
        "better_kept_by_case": {c: round(float(np.mean(r)), 4) for c, r in kept.right.items()},
        "top_quarter_lost": int(lost),
    }


def look_at_pictures(folder: Path, detector: LitertDetector) -> None:
    """The quality of every hand of the pictures in a folder, as a spot check."""
    rows = []
    for path in sorted(folder.glob("*.jpg")):
        image = np.asarray(PillowImage.open(path).convert("RGB"))
        hands = detector.detect(image, RefineParams()).hands
        qualities = build_meter(ModelHome()).measure(detector, image, hands, PARAMS)
        for number, quality in enumerate(qualities, start=1):
            parts = ", ".join(f"{name} {value:.2f}" for name, value in quality.parts.items())
            rows.append((f"{path.name} hand {number}", f"{quality.score:.2f}", parts))
    print_table("Pictures", ("", "quality", "parts"), rows)


def targets(figures: dict[str, object], by_fault: dict[str, float]) -> list[Target]:
    value = {name: float(v) for name, v in figures.items() if isinstance(v, (int, float))}
    return [
        Target("AUC, all faults", value["auc_overall"], 0.90, at_most=False),
        *(Target(f"AUC, {kind}", area, 0.80, at_most=False) for kind, area in by_fault.items()),
        Target("false alarms", value["false_alarm_rate"], 0.05),
        Target("better picture kept", value["better_kept_rate"], 0.95, at_most=False),
        Target("best quarter lost", value["top_quarter_lost"], 0),
        Target("quality", value["ms_per_hand"], 250, "ms"),
        Target("guard", value["guard_ms_per_hand"], 250, "ms"),
    ]


def examine(split: str, numbers: range, pairs_each: float) -> tuple[Scores, Kept]:
    """What becomes of the twins of these numbers."""
    detector, scores, kept = LitertDetector(), Scores(), Kept()
    for number, twins in zip(numbers, read_twins(split, numbers), strict=True):
        score(twins, detector, scores)
        first, end = (math.ceil(n * pairs_each) for n in (number, number + 1))
        for index in range(first, end):
            decide(make_pair(twins, CASES[index % len(CASES)], index), detector, kept)
    return scores, kept


def examine_all(split: str, count: int, pairs: int, jobs: int) -> tuple[Scores, Kept]:
    """The same by several processes."""
    shares = [range(job, count, jobs) for job in range(jobs)]
    scores, kept = Scores(), Kept()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(examine, split, share, pairs / count) for share in shares]
        for some_scores, some_kept in (future.result() for future in waiting):
            for kind, qualities in some_scores.by_kind.items():
                scores.add(kind, *qualities)
            for case, right in some_kept.right.items():
                kept.add(case, *right)
            kept.good_before += some_kept.good_before
    return scores, kept


def run_split(split: str, count: int, pairs: int, jobs: int) -> dict[str, object]:
    scores, kept = examine_all(split, count, pairs, jobs)
    figures = report_quality(split, scores)
    figures.update(report_kept(kept, scores.by_kind["good"]))
    some = list(read_twins(split, range(min(count, TIMED))))
    figures["ms_per_hand"] = time_each(rate_once, some)
    figures["guard_ms_per_hand"] = time_each(guard_once, some)
    figures["hands"] = count
    return figures


def main() -> None:
    use_utf8()
    parser = make_parser(__doc__, 500, "hands of each kind")
    parser.add_argument("--pairs", type=int, default=1000, help="simulated refinements (1000)")
    parser.add_argument("--split", choices=tuple(SPLITS), default="validation")
    parser.add_argument("--images", type=Path, metavar="DIR", help="pictures for a spot check")
    parser.add_argument("--jobs", type=positive, default=1, help="processes (1)")
    options = parser.parse_args()
    figures = run_split(options.split, options.count, options.pairs, options.jobs)
    print_targets(targets(figures, figures["auc_by_fault"]))
    if options.images is not None:
        look_at_pictures(options.images, LitertDetector())
    if options.split == "validation":
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
