"""The form network: a small convolutional network that compares a hand with its fitted mesh.

It runs on numpy alone. `tools/train_form.py` trained it on rendered hands, well formed or with
one of seven faults. Six convolutions, each followed by a ReLU, then the mean over all places and
one linear layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.geometry.boxes import area, bounding_box, clip, grow
from handrefiner_ext.geometry.probability import hand_likelihood
from handrefiner_ext.geometry.rasterize import z_buffer
from handrefiner_ext.topology import MIDDLE_MCP, WRIST
from handrefiner_ext.types import Box, FloatArray, HandMesh, Image

CONTEXT = 1.9
"""Side of the window, in hand sizes; even a finger that is far too long fits in."""
REACH = 0.06
"""Distance from the mesh's outline, in hand sizes, within which no colours are learnt."""
UNKNOWN = 0.5
"""Likelihood where the colours do not tell hand and background apart."""
NEAREST, FARTHEST = 1.0, 0.2
"""Values of the mesh's nearest and farthest pixel; 0 where there is no mesh."""

Planes = NDArray[np.float32]


@dataclass(frozen=True)
class Jitter:
    """How a window differs from the straight one.

    turn: radians. size: factor. shift_x, shift_y: in window sides.
    """

    turn: float = 0.0
    size: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0


STRAIGHT = Jitter()


def place_window(mesh: HandMesh, side: int, jitter: Jitter = STRAIGHT) -> FloatArray:
    """Return the (2, 3) affine map from the picture to a window of `side` pixels.

    In the window the wrist lies below the middle finger's knuckle, and a left hand is mirrored.
    """
    joints = mesh.joints_2d
    low, high = joints.min(axis=0), joints.max(axis=0)
    up = joints[MIDDLE_MCP] - joints[WRIST]
    angle = -np.pi / 2 - float(np.arctan2(up[1], up[0])) + jitter.turn
    scale = side / (CONTEXT * max(float((high - low).max()), 1.0) * jitter.size)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mesh.handedness == "left":
        turn = np.diag([-1.0, 1.0]) @ turn
    centre = (low + high) / 2
    aim = side * (0.5 + np.array([jitter.shift_x, jitter.shift_y]))
    return np.column_stack([turn, aim - turn @ centre])


def make_planes(image: Image, mesh: HandMesh, side: int, jitter: Jitter = STRAIGHT) -> Planes:
    """Return what the network sees: (3, side, side) float32 in 0..1.

    The planes are the brightness, how likely each pixel is hand (learnt from the colours under and
    around the mesh), and the mesh's depth: 1 is nearest, 0 is empty.
    """
    window = place_window(mesh, side, jitter)
    pixels = _cut(image, window, side)
    depth = _draw_depth(mesh, window, side)
    reach = max(1, round(REACH * side / (CONTEXT * jitter.size)))
    likelihood = hand_likelihood(pixels, (depth > 0.0).astype(np.uint8), reach)
    planes = np.full((3, side, side), UNKNOWN, dtype=np.float32)
    planes[0] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) / np.float32(255.0)
    if likelihood is not None:
        planes[1] = likelihood
    planes[2] = depth
    return planes


def _cut(image: Image, window: FloatArray, side: int) -> Image:
    """Cut the window out of the picture, (side, side, 3); the picture's edge pixels continue."""
    back = cv2.invertAffineTransform(window)
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]], dtype=np.float64)
    box = grow(bounding_box(corners @ back[:, :2].T + back[:, 2]), 2, 2)
    box = clip(box, *image.shape[:2])
    if area(box) == 0:
        return np.zeros((side, side, 3), dtype=np.uint8)
    part, origin = image[box.slices], np.array([box.x0, box.y0])
    shrink = min(1.0, 1.5 * float(np.sqrt(abs(np.linalg.det(window[:, :2])))))
    size = (max(1, round(box.width * shrink)), max(1, round(box.height * shrink)))
    if shrink < 1.0:
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    stretch = np.array([part.shape[1] / box.width, part.shape[0] / box.height])
    moved = np.column_stack([window[:, :2] / stretch, window[:, :2] @ origin + window[:, 2]])
    # OpenCV counts from pixel centres; here the top-left pixel's centre is (0.5, 0.5).
    moved[:, 2] += moved[:, :2] @ [0.5, 0.5] - 0.5
    cut = cv2.warpAffine(
        part, moved, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, dtype=np.uint8)


def _draw_depth(mesh: HandMesh, window: FloatArray, side: int) -> Planes:
    """Draw the mesh, (side, side): FARTHEST to NEAREST under it, 0 elsewhere."""
    placed = mesh.camera.project(mesh.vertices) @ window[:, :2].T + window[:, 2]
    depth, _ = z_buffer(
        np.column_stack([placed, mesh.vertices[:, 2]]), mesh.faces, Box(0, 0, side, side)
    )
    seen = np.isfinite(depth)
    shown = np.zeros((side, side), dtype=np.float32)
    if seen.any():
        near, far = float(depth[seen].min()), float(depth[seen].max())
        share = (far - depth[seen]) / max(far - near, 1e-6)
        shown[seen] = FARTHEST + (NEAREST - FARTHEST) * share
    return shown


INPUT_PX = 96
"""Side of the network's input, pixels."""
KINDS = (
    "good",
    *("extra_finger", "missing_finger", "fused_fingers", "long_finger"),
    *("two_thumbs", "broken_joint", "reversed_fingers"),
)
"""What the outputs stand for, in their order."""


class FormNetwork:
    """Holds the weights and runs them.

    weights: for each layer k `w{k}` (out, in, size, size) and `b{k}` (out,); `fw` and `fb` for the
    linear layer. strides: one for each layer.
    """

    def __init__(self, weights: dict[str, Planes], strides: tuple[int, ...]) -> None:
        self.layers = [(weights[f"w{k}"], weights[f"b{k}"], s) for k, s in enumerate(strides)]
        self.last = weights["fw"], weights["fb"]

    def run(self, planes: Planes) -> NDArray[np.float64]:
        """Return one logit for each of KINDS; planes: (3, INPUT_PX, INPUT_PX) by `make_planes`."""
        x = normalise(planes)
        for weight, bias, stride in self.layers:
            x = np.maximum(_convolve(x, weight, stride) + bias[:, None, None], 0.0)
        return np.asarray(self.last[0] @ x.mean(axis=(1, 2)) + self.last[1], dtype=np.float64)


def normalise(planes: Planes) -> Planes:
    """Scale brightness to mean 0 and deviation 1, likelihood to -1..1; leave the depth."""
    bright, likely, depth = planes
    spread = max(float(bright.std()), 0.02)
    return np.stack([(bright - bright.mean()) / np.float32(spread), 2 * likely - 1, depth])


def _convolve(x: Planes, weight: Planes, stride: int) -> Planes:
    """Cross-correlate with zeros around: (in, h, w) to (out, h / stride, w / stride)."""
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
    """Load the network that ships with the package."""
    source = files("handrefiner_ext") / "assets" / "hand_form.npz"
    with source.open("rb") as stream, np.load(stream) as data:
        weights = {name: data[name].astype(np.float32) for name in data.files if name != "strides"}
        strides = tuple(int(stride) for stride in data["strides"])
    return FormNetwork(weights, strides)
