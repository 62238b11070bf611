"""Measure where well-formed hands end: MIDDLE in judge/quality.py.

    python tools/calibrate_quality.py [--count N]

So that FALSE_ALARMS of the well-formed hands of the training split (dataset/twins.py; none that
tools/train_form.py used) have less quality than one half.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from judge import PARAMS, read_twins

from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.judge.quality import HandQuality
from handrefiner_ext.mesh.open_hand import OpenHandReconstructor

FALSE_ALARMS = 0.01
"""Of hands as they were learnt; of other hands, or in other light, it is three times as many."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=600)
    meter, detector = HandQuality(OpenHandReconstructor()), LitertDetector()
    forms = []
    for twins in read_twins("train", range(parser.parse_args().count), faults=()):
        hand = detector.redetect(twins.good, (twins.truth.hand,), PARAMS)[0]
        found = (
            None if hand is None else meter.measure_form(twins.good, hand, PARAMS, thorough=True)
        )
        if found is not None:
            forms.append(found[0])
    print(f"MIDDLE = {np.quantile(forms, FALSE_ALARMS):.2f}, of {len(forms)} hands")


if __name__ == "__main__":
    main()
