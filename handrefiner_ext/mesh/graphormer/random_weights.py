"""Random weights that any program can make again: the same for a name, a shape and a seed.

They let two implementations of the network be compared where the published weights are not at
hand. Scales follow He et al. 2015 (arXiv 1502.01852), and branches that are added to others are
damped, so that no activation grows without end.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DAMPED = 0.15
"""Mean weight of a batch normalisation whose output is added to others; elsewhere it is 1."""
ADDED = re.compile(r"fuse_layers\.|branches\..*\.bn2\.|\.bn3\.")


def make_random_weights(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A value for every entry of a state dict; only names and shapes are looked at."""
    return {name: _draw(name, tuple(value.shape), seed) for name, value in state.items()}


def _draw(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    generator = np.random.default_rng((seed, zlib.crc32(name.encode("ascii"))))
    values = generator.random(shape, dtype=np.float32)
    if name.endswith("running_var"):
        values += np.float32(0.5)
    elif len(shape) == 1:
        _spread(values, 0.1)
        if name.endswith("weight"):
            values += np.float32(DAMPED if ADDED.search(name) else 1.0)
    else:
        gain = 2.0 if len(shape) == 4 else 1.0
        _spread(values, float(np.sqrt(gain / np.prod(shape[1:]))))
    return torch.from_numpy(values)


def _spread(values: NDArray[np.float32], deviation: float) -> None:
    """Uniform numbers between 0 and 1 become ones of mean 0 with this deviation, in place."""
    values -= np.float32(0.5)
    values *= np.float32(deviation * np.sqrt(12.0))
