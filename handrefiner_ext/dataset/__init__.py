"""Labelled pictures of hands, rendered from a seed: for training, for measuring, for trying.

for sample in iterate(seed=1, count=100, options=Options(malformed=0.5)):
    sample.image, sample.maps.control, sample.maps.mask, sample.hands
"""

from handrefiner_ext.dataset.records import Sample, TrueHand
from handrefiner_ext.dataset.samples import Options, iterate, make_samples

__all__ = ["Options", "Sample", "TrueHand", "iterate", "make_samples"]
