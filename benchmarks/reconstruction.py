"""Quality of the reconstructed hands, on pictures of hands whose truth is known.

    python benchmarks/reconstruction.py [--count N] [--split train|validation]
                                        [--detector NAME] [--foreign_hand right.glb] [--json F]

Hands of random pose, shape, skin, light and background (dataset/plain.py) are reconstructed
four times: from their true landmarks (which shows the fit alone; shape within 10 % of the mean
hand), from the detector's landmarks, from those without the outline's evidence, and from what the
retry makes of them (other readings where in doubt, the side by evidence).

- silhouette IoU: overlap of the rendered silhouettes, true and reconstructed.
- depth rank: Spearman's correlation of depth inside the common silhouette.
- joint error: mean distance of the 21 projected joints from the true ones, in hand sizes; beside
  it the detector's own.

A hand that is missed or refused counts as overlap and correlation 0. All figures are medians over
hands, but for the shares of hands. The JSON holds the validation split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from foreign_hand import load_foreign_hand
from report import Figure, Target, make_parser, print_table, print_targets, use_utf8, write_json

from handrefiner_ext.dataset.plain import (
    SPLITS,
    HandModel,
    Placement,
    TrueHand,
    generator,
    make_scene,
    open_hand_model,
)
from handrefiner_ext.geometry.rasterize import covered_box, picture_points, z_buffer
from handrefiner_ext.hands.readings import Backends, reconstruct_well
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector, Reconstructor
from handrefiner_ext.registry import DETECTORS, RECONSTRUCTORS
from handrefiner_ext.types import DepthMap, FloatArray, Hand, HandMesh, Image, Mask, Refusal

SIDE = 512
HAND_SIZES = (150.0, 280.0)
FOUND_WITHIN = 0.25
WITHOUT_OUTLINE = RefineParams(tiles="off", outline=False)
WITH_OUTLINE = RefineParams(tiles="off")


@dataclass(frozen=True)
class Quality:
    """One reconstructed hand beside the truth."""

    overlap: float
    depth_rank: float
    joint_error: float


KINDS = ("true", "detected", "plain", "retried")
LOST = Quality(0.0, 0.0, float("inf"))


def measure_quality(truth: TrueHand, found: HandMesh | Refusal) -> Quality:
    if isinstance(found, Refusal):
        return LOST
    true_depth, depth = np.full((2, SIDE, SIDE), np.inf, dtype=np.float32)
    true_depth[truth.box.slices] = truth.depth
    points = picture_points(found)
    box = covered_box(points, SIDE, SIDE)
    depth[box.slices], _ = z_buffer(points, found.faces, box)
    common, either = _overlap(true_depth, depth)
    error = np.linalg.norm(found.joints_2d - truth.mesh.joints_2d, axis=1).mean()
    return Quality(
        overlap=float(common.sum() / max(int(either.sum()), 1)),
        depth_rank=_rank_correlation(true_depth[common], depth[common]),
        joint_error=float(error) / truth.mesh.hand.size_px,
    )


def _overlap(a: DepthMap, b: DepthMap) -> tuple[Mask, Mask]:
    seen_a, seen_b = np.isfinite(a), np.isfinite(b)
    return seen_a & seen_b, seen_a | seen_b


def _rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's coefficient; 0 where there is nothing to rank."""
    if len(a) < 10:
        return 0.0
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


@dataclass(frozen=True)
class Trial:
    """One picture: quality from true landmarks, from the detector's with and without outline, and
    after a retry; whether the side is right before and after it."""

    true: Quality
    detected: Quality
    plain: Quality
    retried: Quality
    detector_error: float
    side_right: bool
    side_mended: bool


class Workshop:
    """The stages under test."""

    def __init__(self, detector: str) -> None:
        self.detector: Detector = DETECTORS.build(detector)
        self.reconstructor: Reconstructor = RECONSTRUCTORS.build("open_hand")

    def run(self, image: Image, truth: TrueHand) -> Trial:
        exact = self._measure(image, truth, truth.mesh.hand, WITHOUT_OUTLINE)
        hand = nearest(self.detector.detect(image, WITH_OUTLINE).hands, truth.mesh.hand)
        if hand is None:
            return Trial(exact, LOST, LOST, LOST, float("inf"), False, False)
        backends = Backends(self.detector, self.reconstructor)
        retried = reconstruct_well(image, hand, backends, WITH_OUTLINE)
        side = retried.handedness if isinstance(retried, HandMesh) else hand.handedness
        return Trial(
            true=exact,
            detected=self._measure(image, truth, hand, WITH_OUTLINE),
            plain=self._measure(image, truth, hand, WITHOUT_OUTLINE),
            retried=measure_quality(truth, retried),
            detector_error=landmark_error(hand, truth.mesh.hand),
            side_right=hand.handedness == truth.mesh.hand.handedness,
            side_mended=side == truth.mesh.hand.handedness,
        )

    def _measure(self, image: Image, truth: TrueHand, hand: Hand, params: RefineParams) -> Quality:
        return measure_quality(truth, self.reconstructor.reconstruct(image, hand, params))


def landmark_error(hand: Hand, truth: Hand) -> float:
    """Mean distance of the landmarks, in hand sizes."""
    distance = np.linalg.norm(hand.landmarks - truth.landmarks, axis=1).mean()
    return float(distance) / truth.size_px


def nearest(hands: tuple[Hand, ...], truth: Hand) -> Hand | None:
    best = min(hands, key=lambda hand: landmark_error(hand, truth), default=None)
    return best if best is not None and landmark_error(best, truth) < FOUND_WITHIN else None


def collect(trials: Sequence[Trial]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {"hands": len(trials)}
    for kind in KINDS:
        qualities = [getattr(trial, kind) for trial in trials]
        for name in ("overlap", "depth_rank", "joint_error"):
            figures[f"{name}_{kind}"] = float(np.median([getattr(q, name) for q in qualities]))
    found = [t for t in trials if np.isfinite(t.detector_error)]
    figures["detector_error"] = float(np.median([t.detector_error for t in trials]))
    figures["found"] = len(found) / len(trials)
    figures["handedness"] = sum(t.side_right for t in found) / max(len(found), 1)
    figures["handedness_retried"] = sum(t.side_mended for t in found) / max(len(found), 1)
    for kind in ("detected", "retried"):
        ranks = [getattr(trial, kind).depth_rank for trial in trials]
        figures[f"mean_depth_rank_{kind}"] = float(np.mean(ranks))
    return figures


def report(figures: dict[str, Figure], title: str) -> None:
    rows = [
        (label, *(f"{figures[f'{name}_{kind}']:.3f}" for kind in KINDS))
        for label, name in (
            ("silhouette IoU", "overlap"),
            ("depth rank", "depth_rank"),
            ("joint error", "joint_error"),
        )
    ]
    header = ("median", "true landmarks", "detected", "detected, no outline", "retried")
    print_table(title, header, rows)
    print(
        f"{figures['hands']} hands, {figures['found']:.1%} found, side right in "
        f"{figures['handedness']:.1%} ({figures['handedness_retried']:.1%} after the retry), mean "
        f"depth rank {figures['mean_depth_rank_detected']:.3f} "
        f"({figures['mean_depth_rank_retried']:.3f}), the detector's own joint error "
        f"{figures['detector_error']:.3f}."
    )


def targets(figures: dict[str, Figure]) -> list[Target]:
    value = {name: float(v) for name, v in figures.items()}
    return [
        Target("IoU, true landmarks", value["overlap_true"], 0.93, at_most=False),
        Target("depth rank, true landmarks", value["depth_rank_true"], 0.97, at_most=False),
        Target("IoU, detected", value["overlap_detected"], 0.78, at_most=False),
        Target("depth rank, detected", value["depth_rank_detected"], 0.78, at_most=False),
        Target("joint error", value["joint_error_detected"], value["detector_error"]),
    ]


def main() -> None:
    use_utf8()
    parser = make_parser(__doc__, 200, "pictures")
    parser.add_argument("--split", choices=tuple(SPLITS), help="default: both")
    parser.add_argument("--detector", choices=DETECTORS.choices(), default="auto")
    parser.add_argument("--foreign_hand", metavar="GLB", help="draw this hand instead of our own")
    options = parser.parse_args()
    hand = load_foreign_hand(options.foreign_hand) if options.foreign_hand else open_hand_model()
    workshop = Workshop(options.detector)
    for split in [options.split] if options.split else list(SPLITS):
        figures = collect([one_trial(workshop, split, n, hand) for n in range(options.count)])
        report(figures, f"Reconstruction, {split} split")
        if split == "validation":
            print_targets(targets(figures))
            write_json(options.json, figures)


def one_trial(workshop: Workshop, split: str, number: int, hand: HandModel) -> Trial:
    rng = generator(split, number)
    place = Placement(SIDE / 2, SIDE / 2, rng.uniform(*HAND_SIZES))
    scene = make_scene(rng, SIDE, SIDE, (place,), hand)
    return workshop.run(scene.image, scene.hands[0])


if __name__ == "__main__":
    main()
