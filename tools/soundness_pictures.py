"""What tools/train_soundness.py learns from: twins of the generator, as pieces of pictures.

Every hand is cut out once and stored; in training its pixels are damaged, lit and roughened anew
each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.dataset import Options, iterate
from handrefiner_ext.geometry.windows import rotation
from handrefiner_ext.judge.soundness import CUT_PX, cut_hand, place_piece, show
from handrefiner_ext.types import FloatArray, Image, View

STYLES = ("photo", "photo", "photo", "render", "painting", "toon", "flat")
SCENE_PX, DRAFTS, CHUNK = 320, 0.15, 50
LEAST_VISIBLE, LEAST_PX = 0.45, 45
SAME_HAND_PX = 2.0
"""Landmarks of twins lie this near to each other in their pieces."""
MELTED, ALIKE = 0.35, 0.7
"""Share of pairs whose malformed hand is the good one with its pixels moved, and of those that are
shown in the same light and place."""

Floats = NDArray[np.float32]


def make(folder: Path, first: int, last: int, seed: int) -> None:
    """Write CROPS/<seed>_<number>.npz: pieces of pictures as JPEG, landmarks in them, faults."""
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(size=SCENE_PX, twins=True, drafts=DRAFTS, styles=STYLES)
    for number in range(first, last, CHUNK):
        target = folder / f"{seed}_{number:06d}.npz"
        if not target.exists():
            rows = list(_pieces(seed, number, options))
            pieces, landmarks, faults, scenes = zip(*rows, strict=True)
            np.savez(
                target,
                pieces=np.array(pieces, dtype=object),
                landmarks=np.array(landmarks, dtype=np.float32),
                faults=np.array(faults),
                scenes=np.array(scenes),
            )


def _pieces(seed: int, number: int, options: Options) -> Iterator[tuple[bytes, Floats, str, int]]:
    for sample in iterate(seed, CHUNK, options, number):
        for hand in sample.hands:
            landmarks = np.asarray(hand.mesh.hand.landmarks, dtype=np.float64)
            if hand.visible >= LEAST_VISIBLE and np.ptp(landmarks, axis=0).max() >= LEAST_PX:
                piece = cut_hand(sample.image, landmarks)
                packed = cv2.imencode(".jpg", piece[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
                yield packed.tobytes(), _enter(landmarks), hand.fault, sample.number


def _enter(landmarks: FloatArray) -> Floats:
    """(21, 2) pixels of the picture -> of the piece that `cut_hand` cuts."""
    roi = place_piece(landmarks)
    turned = (landmarks - [roi.center_x, roi.center_y]) @ rotation(roi.angle)
    return np.asarray((turned / roi.side + 0.5) * CUT_PX, dtype=np.float32)


class Twins(NamedTuple):
    """pieces: of all hands, JPEG. landmarks: (n, 21, 2). pairs: (m, 2) good and malformed one."""

    pieces: list[bytes]
    landmarks: Floats
    pairs: NDArray[np.int64]
    scenes: NDArray[np.int64]


def load(folder: Path) -> Twins:
    pieces: list[bytes] = []
    landmarks, faults, scenes = [], [], []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=True) as data:
            pieces += list(data["pieces"])
            landmarks.append(data["landmarks"])
            faults.append(data["faults"])
            scenes.append(data["scenes"] + 10_000_000 * int(path.stem.split("_")[0]))
    points, scene = np.concatenate(landmarks), np.concatenate(scenes)
    good = np.concatenate(faults) == "none"
    twins: dict[int, list[int]] = {}
    for i in np.flatnonzero(good):
        twins.setdefault(int(scene[i]), []).append(int(i))
    pairs = []
    for i in np.flatnonzero(~good):
        near = [(abs(points[i] - points[g]).mean(), g) for g in twins.get(int(scene[i]), ())]
        if near and min(near)[0] < SAME_HAND_PX:
            pairs.append((min(near)[1], int(i)))
    chosen = np.array(pairs, dtype=np.int64)
    return Twins(pieces, points, chosen, scene[chosen[:, 0]])


def unpack(piece: bytes) -> Image:
    decoded = cv2.imdecode(np.frombuffer(piece, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(decoded[..., ::-1], dtype=np.uint8)


def melt(piece: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """Damage a hand in its pixels: its shape flows, or a finger is there once more.

    The faults of the generator are faults of a mesh; diffusion models make these, too.
    """
    return (_let_flow if rng.random() < 0.6 else _add_finger)(piece, landmarks, rng)


def _let_flow(piece: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """The whole hand or a part of it flows, and may become soft."""
    side, size = len(piece), _size(landmarks)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    where = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(where, cv2.convexHull(landmarks.astype(np.int32)), 1.0)
    where = cv2.dilate(where, np.ones((9, 9)))
    if rng.random() < 0.5:
        centre, reach = landmarks[rng.integers(0, 21)], size * rng.uniform(0.25, 0.45)
        where *= (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < reach**2
    where = cv2.GaussianBlur(where, (0, 0), 5)
    cells = int(rng.integers(5, 11))
    flow = rng.normal(size=(cells, cells, 2)).astype(np.float32)
    flow = cv2.resize(flow, (side, side), interpolation=cv2.INTER_CUBIC)
    flow *= size * rng.uniform(0.06, 0.16) * where[..., None]
    moved = cv2.remap(
        piece, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT
    )
    if rng.random() < 0.4:
        soft = cv2.GaussianBlur(moved, (0, 0), size * rng.uniform(0.01, 0.04))
        return _mix(moved, soft, where)
    return np.asarray(moved, dtype=np.uint8)


def _add_finger(piece: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """One finger, or all, are there once more, turned around the wrist or a knuckle."""
    side, size = len(piece), _size(landmarks)
    x, y = landmarks[[0, 9, 5, 17][rng.integers(0, 4)]]
    angle = rng.choice([-1, 1]) * rng.uniform(10, 35)
    turn = cv2.getRotationMatrix2D((float(x), float(y)), angle, rng.uniform(0.85, 1.1))
    again = cv2.warpAffine(piece, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    fingers = [int(rng.integers(0, 5))] if rng.random() < 0.7 else list(range(5))
    shape = np.zeros((side, side), np.uint8)
    for finger in fingers:
        line = landmarks[1 + 4 * finger : 5 + 4 * finger].astype(np.int32)
        cv2.polylines(shape, [line], False, 255, max(3, int(size * rng.uniform(0.1, 0.14))))
    shown = cv2.warpAffine(shape, turn, (side, side)).astype(np.float32) / 255
    shown = cv2.GaussianBlur(shown, (0, 0), rng.uniform(0.6, 2.0))
    return _mix(piece, again, shown * rng.uniform(0.8, 1.0))


def _size(landmarks: Floats) -> float:
    return float(np.ptp(landmarks, axis=0).max())


def _mix(below: Any, above: Any, share: Any) -> Image:
    mixed = below * (1 - share[..., None]) + above * share[..., None]
    return np.asarray(mixed, dtype=np.uint8)


def photograph(piece: Image, rng: np.random.Generator) -> Image:
    """Make a piece soft, dark, pale, grey, noisy, or a JPEG, as real pictures are."""
    side = len(piece)
    if rng.random() < 0.5:
        share, shrink = rng.uniform(0.2, 0.9), [cv2.INTER_AREA, cv2.INTER_LINEAR][rng.integers(2)]
        small = cv2.resize(piece, None, fx=share, fy=share, interpolation=shrink)
        grow = [cv2.INTER_LINEAR, cv2.INTER_CUBIC][rng.integers(2)]
        piece = np.asarray(cv2.resize(small, (side, side), interpolation=grow), dtype=np.uint8)
    elif rng.random() < 0.3:
        piece = np.asarray(cv2.GaussianBlur(piece, (0, 0), rng.uniform(0.6, 3.0)), dtype=np.uint8)
    x = piece.astype(np.float32) * rng.uniform(0.65, 1.3) + rng.uniform(-25, 25)
    if rng.random() < 0.5:
        x *= rng.uniform(0.87, 1.13, 3)
    grey = x.mean(axis=2, keepdims=True)
    if rng.random() < 0.12:
        x = np.repeat(grey, 3, axis=2)
    elif rng.random() < 0.3:
        x = grey + (x - grey) * rng.uniform(0.3, 1.5)
    if rng.random() < 0.4:
        x = x + rng.normal(0, rng.uniform(1, 12), x.shape)
    lit = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))]
        lit = cv2.imdecode(cv2.imencode(".jpg", lit, quality)[1], cv2.IMREAD_COLOR)
    return np.asarray(lit, dtype=np.uint8)


def take_picture(piece: Image, rng: np.random.Generator) -> Floats:
    """What the network is shown of a piece in training, (side, side, 3) in 0..1."""
    turn, size, mirrored = rng.normal(0, 0.24), rng.uniform(0.85, 1.2), bool(rng.random() < 0.5)
    shift = rng.normal(0, 0.025 * CUT_PX, 2)
    moved = cv2.warpAffine(
        piece,
        np.array([[1, 0, shift[0]], [0, 1, shift[1]]]),
        piece.shape[1::-1],
        borderMode=cv2.BORDER_REPLICATE,
    )
    return show(photograph(np.asarray(moved, np.uint8), rng), View(turn, size, mirrored))


def draw_pair(twins: Twins, pair: NDArray[np.int64], rng: np.random.Generator) -> list[Floats]:
    """A well-formed hand and a malformed one, as the network is shown them."""
    good = unpack(twins.pieces[pair[0]])
    is_melted = rng.random() < MELTED
    bad = melt(good, twins.landmarks[pair[0]], rng) if is_melted else unpack(twins.pieces[pair[1]])
    first = int(rng.integers(1 << 30))
    second = first if rng.random() < ALIKE else int(rng.integers(1 << 30))
    return [
        take_picture(good, np.random.default_rng(first)),
        take_picture(bad, np.random.default_rng(second)),
    ]
