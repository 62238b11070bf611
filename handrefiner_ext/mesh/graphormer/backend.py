"""Backend `graphormer`: all hands of a picture, or of several, through the network at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext import weights
from handrefiner_ext.errors import BackendUnavailable, how_to_install
from handrefiner_ext.geometry.transforms import MIRROR
from handrefiner_ext.mesh.graphormer.mano import read_mano
from handrefiner_ext.mesh.graphormer.template import make_tokens, read_sampling
from handrefiner_ext.params import RefineParams
from handrefiner_ext.topology import WRIST
from handrefiner_ext.types import (
    FloatArray,
    Hand,
    HandMesh,
    Image,
    ModelHome,
    Refusal,
    WeakPerspective,
)

if TYPE_CHECKING:
    from handrefiner_ext.mesh.graphormer.device import NetworkRunner

NEEDED = {
    ("graphormer_hand_state_dict.safetensors", "graphormer_hand_state_dict.bin"): (
        "MeshGraphormer's weights (graphormer_hand_state_dict.bin): run "
        "`handrefiner weights download graphormer`"
    ),
    ("mano_downsampling.npz",): (
        "the table of vertices (mano_downsampling.npz): run "
        "`handrefiner weights download graphormer`"
    ),
    ("MANO_RIGHT.pkl",): (
        "the hand model (MANO_RIGHT.pkl): register at https://mano.is.tue.mpg.de, accept its "
        "licence, and put the file into the models folder"
    ),
}
"""Names of each file, the best first, and what it is and where to get it."""


@dataclass(frozen=True)
class GraphormerFiles:
    """Paths of the files that the backend needs."""

    weights: Path
    downsampling: Path
    mano: Path


def find_files(find: Callable[[str], Path | None]) -> GraphormerFiles:
    """Return the files that `find` locates by name; BackendUnavailable says which are missing."""
    paths = [next(filter(None, map(find, names)), None) for names in NEEDED]
    missing = [how for how, path in zip(NEEDED.values(), paths, strict=True) if path is None]
    if missing:
        raise BackendUnavailable(f"The mesh graphormer lacks {'; '.join(missing)}.")
    return GraphormerFiles(*(path for path in paths if path is not None))


CROP_PX = 224
"""Side of the crops on which the network was trained."""
CROP_PER_HAND = 1.6
"""Side of the crop in hand sizes, as in HandRefiner's code."""
MOST_CROP_PER_PICTURE = 4.0
"""Largest side of the crop in longer sides of the picture; in a larger one hardly anything is
picture."""
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True)
class HandCrop:
    """A square of `side` pixels with its corner at (x0, y0); it may leave the picture.

    mirrored: left and right are swapped, so that a left hand looks like a right one.
    """

    x0: int
    y0: int
    side: int
    mirrored: bool

    def cut(self, image: Image) -> Image:
        """Cut (side, side, 3) out of a picture (H, W, 3), which is reflected beyond its border."""
        rows = _reflect(self.y0, self.side, image.shape[0])
        columns = _reflect(self.x0, self.side, image.shape[1])
        return image[np.ix_(rows, columns[::-1] if self.mirrored else columns)]

    def to_network(self, image: Image) -> NDArray[np.float32]:
        """Return (3, 224, 224), the network's input: RGB, normalised by ImageNet's colours."""
        way = cv2.INTER_CUBIC if self.side < CROP_PX else cv2.INTER_AREA
        seen = cv2.resize(self.cut(image), (CROP_PX, CROP_PX), interpolation=way)
        colours = (np.float32(seen) / np.float32(255.0) - IMAGENET_MEAN) / IMAGENET_DEVIATION
        return np.ascontiguousarray(colours.transpose(2, 0, 1))

    def place(self, camera: FloatArray) -> WeakPerspective:
        """Convert the network's camera (scale, shift x, shift y) to pixels of the picture.

        In the crop, a point's coordinate scale * (x + shift) is between -1 and 1. If the crop is
        mirrored, the points to project must be mirrored too.
        """
        half = self.side / 2.0
        scale, shift_x, shift_y = (float(number) for number in camera)
        sign = -1.0 if self.mirrored else 1.0
        return WeakPerspective(
            scale=scale * half,
            shift_x=self.x0 + half + sign * scale * shift_x * half,
            shift_y=self.y0 + half + scale * shift_y * half,
        )


def choose_hand_crop(hand: Hand) -> HandCrop:
    """Return a square of 1.6 hand sizes around the landmarks, in whole pixels.

    Rounding follows HandRefiner's code, so that the network sees the very same pixels.
    """
    low = hand.landmarks.min(axis=0).astype(int)
    high = hand.landmarks.max(axis=0).astype(int)
    half = max(int(float((high - low).max()) * CROP_PER_HAND) // 2, 1)
    x, y = (low + high) // 2
    return HandCrop(int(x) - half + 1, int(y) - half + 1, 2 * half, hand.handedness == "left")


def _reflect(start: int, count: int, size: int) -> NDArray[np.intp]:
    """Return `count` indices from `start` on, reflected into 0 … size - 1 as often as needed."""
    turns = np.arange(start, start + count) % (2 * size)
    return np.where(turns < size, turns, 2 * size - 1 - turns)


MOST_AT_ONCE = 16
"""Hands in one forward pass; more take several, so that memory stays bounded."""
MOST_DISAGREEMENT = 0.5
"""Most reprojection error of a mesh, hand sizes. The network may rightly disagree with landmarks of
a badly drawn hand, but a mesh so far off shows something else. Chosen by judgement, not measured
with the published weights."""
SMALLEST_SCALE = 1e-3
"""Least scale of the camera; at a smaller one the hand would have a few thousandths of the crop."""


class GraphormerReconstructor:
    """Reconstructs hands with MeshGraphormer; the user supplies its weights and MANO.

    Raises BackendUnavailable if a file or torch is missing, WeightsError for a wrong file.
    """

    name = "graphormer"

    def __init__(self, home: ModelHome | None = None) -> None:
        self.home = home or ModelHome()
        files = find_files(lambda name: weights.find(name, self.home.models_dir))
        if find_spec("torch") is None:
            raise BackendUnavailable(
                f"The mesh graphormer needs torch; run {how_to_install('torch')}."
            )
        self.mano = read_mano(files.mano)
        self.runner = self._load(files)

    def _load(self, files: GraphormerFiles) -> NetworkRunner:
        from handrefiner_ext.mesh.graphormer.checkpoint import load_network
        from handrefiner_ext.mesh.graphormer.device import NetworkRunner, choose_device

        sampling = read_sampling(files.downsampling)
        tokens = make_tokens(self.mano.rest(), [sampling.downsampling])
        network = load_network(files.weights, tokens, sampling.adjacency)
        return NetworkRunner(network, choose_device(self.home), self.home.keep_on_device)

    def reconstruct(self, image: Image, hand: Hand, params: RefineParams) -> HandMesh | Refusal:
        """Return the mesh of one hand, or the reason why there is none."""
        return self.reconstruct_all([(image, hand)], params)[0]

    def reconstruct_all(
        self, hands: Sequence[tuple[Image, Hand]], params: RefineParams
    ) -> tuple[HandMesh | Refusal, ...]:
        """Return a mesh or a refusal for every hand.

        hands: each with the picture it is in, which may be one picture or several.
        """
        found: list[HandMesh | Refusal | None] = []
        inputs, waiting = [], []
        for number, (image, hand) in enumerate(hands):
            problem = _find_problem(image, hand)
            found.append(Refusal(hand.box, problem) if problem else None)
            if problem is None:
                crop = choose_hand_crop(hand)
                inputs.append(crop.to_network(image))
                waiting.append((number, hand, crop))
        estimates = self._estimate(inputs)
        for (number, hand, crop), (camera, vertices) in zip(waiting, estimates, strict=True):
            found[number] = self._mesh(hand, crop, camera, vertices)
        return tuple(one for one in found if one is not None)

    def _estimate(
        self, inputs: Sequence[NDArray[np.float32]]
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Return (3,) camera and (778, 3) vertices for every crop (3, 224, 224)."""
        starts = range(0, len(inputs), MOST_AT_ONCE)
        batches = [np.stack(inputs[start : start + MOST_AT_ONCE]) for start in starts]
        seen = self.runner.run(batches) if batches else []
        return [
            (camera, vertices)
            for batch in seen
            for camera, vertices in zip(
                batch.camera.double().numpy(), batch.vertices.double().numpy(), strict=True
            )
        ]

    def _mesh(
        self, hand: Hand, crop: HandCrop, camera: FloatArray, vertices: FloatArray
    ) -> HandMesh | Refusal:
        finite = bool(np.isfinite(camera).all() and np.isfinite(vertices).all())
        if not finite or camera[0] < SMALLEST_SCALE:
            return Refusal(hand.box, "MeshGraphormer sees no hand here: its camera is impossible.")
        mesh = self._arrange(hand, crop, camera, vertices)
        if mesh.reprojection_error > MOST_DISAGREEMENT:
            return Refusal(
                hand.box,
                f"MeshGraphormer's hand lies {mesh.reprojection_error:.0%} of the hand's size off "
                f"the landmarks; {MOST_DISAGREEMENT:.0%} is allowed.",
            )
        return mesh

    def _arrange(
        self, hand: Hand, crop: HandCrop, camera: FloatArray, vertices: FloatArray
    ) -> HandMesh:
        """Return the mesh with its origin at the wrist; a left hand is mirrored back."""
        turn = MIRROR if crop.mirrored else np.ones(3)
        faces = self.mano.faces
        joints = self.mano.joints_of(vertices) * turn
        wrist, placed = joints[WRIST], crop.place(camera)
        shift_x, shift_y = placed.project(wrist[None])[0]
        mesh = HandMesh(
            hand=hand,
            vertices=vertices * turn - wrist,
            faces=faces[:, ::-1] if crop.mirrored else faces,
            joints=joints - wrist,
            camera=WeakPerspective(placed.scale, float(shift_x), float(shift_y)),
            reprojection_error=0.0,
            backend=self.name,
        )
        misses = np.linalg.norm(mesh.joints_2d - hand.landmarks, axis=1)
        return replace(mesh, reprojection_error=float(misses.mean()) / hand.size_px)


def _find_problem(image: Image, hand: Hand) -> str | None:
    """Say in one sentence why a hand cannot be reconstructed; None if it can."""
    if not np.isfinite(hand.landmarks).all():
        return "Its landmarks are not finite numbers."
    if hand.size_px < 1.0:
        return "Its landmarks all lie in one pixel."
    height, width = image.shape[:2]
    low, high = hand.landmarks.min(axis=0), hand.landmarks.max(axis=0)
    if hand.size_px * CROP_PER_HAND > MOST_CROP_PER_PICTURE * max(height, width):
        return "It is many times larger than the picture."
    if (high < 0.0).any() or (low > (width, height)).any():
        return "It lies outside the picture."
    return None
