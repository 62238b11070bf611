"""A small convolutional network that sees a hand beside its fitted mesh; numpy alone.

Trained by `tools/train_form.py` on rendered hands, well-formed ones and such with one of seven
faults. Six convolutions, each followed by a ReLU, the mean over all places, one linear layer.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

SIDE = 96
"""Side of the input, pixels."""
KINDS = (
    "good",
    *("extra_finger", "missing_finger", "fused_fingers", "long_finger"),
    *("two_thumbs", "broken_joint", "reversed_fingers"),
)
"""What the outputs stand for."""

Planes = NDArray[np.float32]


class FormNetwork:
    """Weights: for each layer k `w{k}` (out, in, size, size) and `b{k}` (out,); `fw`, `fb`."""

    def __init__(self, weights: dict[str, Planes], strides: tuple[int, ...]) -> None:
        self.layers = [(weights[f"w{k}"], weights[f"b{k}"], s) for k, s in enumerate(strides)]
        self.last = weights["fw"], weights["fb"]

    def run(self, planes: Planes) -> NDArray[np.float64]:
        """(3, SIDE, SIDE) as `judge.window.look` gives it -> logits, one for each of KINDS."""
        x = normalise(planes)
        for weight, bias, stride in self.layers:
            x = np.maximum(_convolve(x, weight, stride) + bias[:, None, None], 0.0)
        return np.asarray(self.last[0] @ x.mean(axis=(1, 2)) + self.last[1], dtype=np.float64)


def normalise(planes: Planes) -> Planes:
    """Brightness of mean 0 and deviation 1 over the window, likelihood in -1..1, depth as it is."""
    bright, likely, depth = planes
    spread = max(float(bright.std()), 0.02)
    return np.stack([(bright - bright.mean()) / np.float32(spread), 2 * likely - 1, depth])


def _convolve(x: Planes, weight: Planes, stride: int) -> Planes:
    """Cross-correlation with zeros around: (in, h, w) -> (out, h / stride, w / stride)."""
    out, channels, size, _ = weight.shape
    around = size // 2
    padded = np.pad(x, ((0, 0), (around, around), (around, around)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    height, width = windows.shape[1:3]
    columns = windows.transpose(0, 3, 4, 1, 2).reshape(channels * size * size, height * width)
    return np.asarray((weight.reshape(out, -1) @ columns).reshape(out, height, width))


@cache
def load_form_network() -> FormNetwork:
    """The network that ships with the package."""
    source = files("handrefiner_ext") / "assets" / "hand_form.npz"
    with source.open("rb") as stream, np.load(stream) as data:
        weights = {name: data[name].astype(np.float32) for name in data.files if name != "strides"}
        strides = tuple(int(stride) for stride in data["strides"])
    return FormNetwork(weights, strides)
