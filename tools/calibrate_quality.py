"""Fit the weights in `judge/quality.py` that make one quality of what is measured on a hand.

    python tools/calibrate_quality.py [--count N]

A logistic regression on the training split of benchmarks/twins.py (hands that tools/train_form.py
did not use), well-formed against malformed ones of all kinds in equal weight. The offset is moved
so that FALSE_ALARMS of the well-formed hands lie below one half.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from judge import PARAMS, read_twins
from twins import all_pictures

from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.judge.quality import Evidence, HandQuality
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor

FALSE_ALARMS = 0.025
RIDGE = 1e-3


def gather(count: int) -> tuple[dict[bool, np.ndarray], np.ndarray]:
    """thorough -> (n, 4) evidence; (n,) whether the hand is well formed."""
    meter, detector = HandQuality(OpenHandReconstructor()), LitertDetector()
    rows: dict[bool, list[tuple[float, ...]]] = {True: [], False: []}
    good = []
    for twins in read_twins("train", count):
        for kind, picture in all_pictures(twins):
            hand = detector.redetect(picture, (twins.truth.hand,), PARAMS)[0]
            if hand is None:
                continue
            seen = {t: meter.gather(detector, picture, hand, PARAMS, t) for t in (True, False)}
            if all(isinstance(evidence, Evidence) for evidence in seen.values()):
                good.append(kind == "good")
                for thorough, evidence in seen.items():
                    rows[thorough].append(astuple(evidence))
    return {thorough: np.array(values) for thorough, values in rows.items()}, np.array(good)


def fit(evidence: np.ndarray, good: np.ndarray) -> np.ndarray:
    """(5,) weights of the four, and the offset."""
    mean, spread = evidence.mean(axis=0), evidence.std(axis=0)
    x = np.column_stack([(evidence - mean) / spread, np.ones(len(good))])
    sign = np.where(good, 1.0, -1.0)
    weight = np.where(good, 0.5 / good.sum(), 0.5 / (~good).sum())

    def loss(w: np.ndarray) -> float:
        return float(weight @ np.logaddexp(0.0, -sign * (x @ w)) + RIDGE * (w[:-1] ** 2).sum())

    found = minimize(loss, np.zeros(5), method="BFGS").x
    plain = found[:-1] / spread
    scores = evidence @ plain
    return np.append(plain, -float(np.quantile(scores[good], FALSE_ALARMS)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=150)
    evidence, good = gather(parser.parse_args().count)
    names = [f.name for f in fields(Evidence)] + ["offset"]
    for thorough, name in ((False, "QUICK"), (True, "THOROUGH")):
        weights = fit(evidence[thorough], good)
        said = ", ".join(f"{n}={w:.3f}" for n, w in zip(names, weights, strict=True))
        print(f"{name} = Calibration({said})")


if __name__ == "__main__":
    main()
