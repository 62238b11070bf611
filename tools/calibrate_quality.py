"""Choose how the judge weighs its cues: OFFSET and the four weights of judge/quality.py.

    python tools/calibrate_quality.py --pictures D [D ...]

Measures presence, form, certainty and soundness of the labelled close-ups of each folder (as in
benchmarks/real.py), and prints how well they order good and malformed hands: with the weights in
use, with weights fitted to all of these hands, and with weights fitted to the hands of all other
sources, which is what to expect of pictures that nobody has seen. Where the last two differ much,
there are too few hands for a fit. Five round numbers that do as well are chosen by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from real import read_folder
from real_figures import area_under_curve
from real_labels import Label, read_labels
from real_looks import find_meant, prepare, read

from handrefiner_ext.judge.quality import (
    CERTAINTY_WEIGHT,
    FORM_FLOOR,
    FORM_WEIGHT,
    LEAST_SPREAD,
    OFFSET,
    PRESENCE_WEIGHT,
    SOUNDNESS_CEILING,
    SOUNDNESS_WEIGHT,
    VIEWS,
    HandQuality,
    sum_up_presence,
)
from handrefiner_ext.judge.soundness import SoundnessNetwork
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor
from handrefiner_ext.types import View

Floats = NDArray[np.float64]
RIDGE = 0.05
"""Strength of the penalty on weights of cues scaled to a deviation of 1."""
STEPS = 30
PAIRS = "pairs"


class Row(NamedTuple):
    """One hand. cues: log-odds of presence, form's least log-odds, minus its logarithmic spread,
    log-odds of soundness.
    """

    is_good: bool
    source: str
    cues: tuple[float, ...]


def measure(folder: Path) -> Iterator[Row]:
    """Yield the labelled close-ups in which the hand nearest the middle is read and fitted."""
    sources = {row["name"]: _source_of(row) for row in json.loads(_labels_of(folder))["single"]}
    network = SoundnessNetwork()
    for label in read_labels([folder]).of_kind("single", "before", "after"):
        if (
            label.label in ("good", "malformed")
            and (cues := _read_cues(label, network)) is not None
        ):
            yield Row(label.label == "good", sources.get(label.name, PAIRS), cues)


def _labels_of(folder: Path) -> str:
    return (folder / "labels.json").read_text("utf-8")


def _source_of(row: dict[str, str]) -> str:
    return row.get("source", row["name"]).split("/")[0]


def _read_cues(label: Label, network: SoundnessNetwork) -> tuple[float, ...] | None:
    params, stages = prepare(())
    image, detector = read(label.path), stages.detector
    meant = find_meant(image, detector.detect(image, params).hands)
    if meant is None:
        return None
    (hand,) = detector.redetect(image, (meant,), params)
    form = hand and HandQuality(OpenHandReconstructor()).measure_form(image, hand, params)
    if hand is None or form is None:
        return None
    presence = sum_up_presence([hand, *detector.examine(image, hand, VIEWS, params)])
    spread = -float(np.log(form.spread + LEAST_SPREAD))
    sound = min(network.rate(image, hand, (View(), *VIEWS)), SOUNDNESS_CEILING)
    return presence, max(form.least, FORM_FLOOR), spread, sound


def fit(cues: Floats, good: NDArray[np.bool_]) -> Floats:
    """(n, 4) cues -> (5,) weights and offset of a logistic regression with both kinds balanced."""
    mean, spread = cues.mean(axis=0), cues.std(axis=0) + 1e-9
    x = np.column_stack([(cues - mean) / spread, np.ones(len(cues))])
    share = np.where(good, 0.5 / good.mean(), 0.5 / (1 - good.mean())) / len(good)
    penalty = RIDGE * np.diag([1.0] * cues.shape[1] + [0.0])
    weights = np.zeros(x.shape[1])
    for _ in range(STEPS):
        likely = 1 / (1 + np.exp(-x @ weights))
        slope = x.T @ (share * (likely - good)) + penalty @ weights
        bend = (x * (share * likely * (1 - likely))[:, None]).T @ x + penalty
        weights -= np.linalg.solve(bend, slope)
    scaled = weights[:-1] / spread
    return np.append(scaled, weights[-1] - scaled @ mean)


def report(rows: Sequence[Row]) -> None:
    cues = np.array([row.cues for row in rows])
    good = np.array([row.is_good for row in rows])
    source = np.array([row.source for row in rows])
    used = np.array([PRESENCE_WEIGHT, FORM_WEIGHT, CERTAINTY_WEIGHT, SOUNDNESS_WEIGHT, OFFSET])
    fitted = fit(cues, good)
    apart = np.zeros(len(rows))
    for name in np.unique(source):
        here = source == name
        apart[here] = _weigh(cues[here], fit(cues[~here], good[~here]))
    print(f"{good.sum()} good and {(~good).sum()} malformed hands of {len(set(source))} sources")
    print("fitted: ", np.round(fitted, 2), " in use: ", used)
    for name, odds in (
        ("in use", _weigh(cues, used)),
        ("fitted", _weigh(cues, fitted)),
        ("fitted to all other sources", apart),
    ):
        parts = {"all": source != "", "singles": source != PAIRS, "pairs": source == PAIRS}
        areas = ", ".join(
            f"{part} {area_under_curve(odds[of & good].tolist(), odds[of & ~good].tolist()):.3f}"
            for part, of in parts.items()
        )
        print(f"{name}: AUC {areas}; good below 0.5: {np.mean(odds[good] < 0):.1%}")


def _weigh(cues: Floats, weights: Floats) -> Floats:
    return np.asarray(cues @ weights[:-1] + weights[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=read_folder, nargs="+", required=True, metavar="D")
    report([row for folder in parser.parse_args().pictures for row in measure(folder)])


if __name__ == "__main__":
    main()
