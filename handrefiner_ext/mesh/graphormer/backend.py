"""Backend `graphormer`: all hands of a picture, or of several, through the network at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext import weights
from handrefiner_ext.errors import BackendUnavailable, how_to_install
from handrefiner_ext.mesh.graphormer.crop import LARGEST, MARGIN, Crop, choose_crop
from handrefiner_ext.mesh.graphormer.mano import read_hand_model
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
"""Names of a file, the best one first -> what it is, and where to get it."""


@dataclass(frozen=True)
class GraphormerFiles:
    """Where the files lie."""

    weights: Path
    downsampling: Path
    mano: Path


def find_files(find: Callable[[str], Path | None]) -> GraphormerFiles:
    """The files that `find` knows by name; BackendUnavailable says which are missing."""
    paths = [next(filter(None, map(find, names)), None) for names in NEEDED]
    missing = [how for how, path in zip(NEEDED.values(), paths, strict=True) if path is None]
    if missing:
        raise BackendUnavailable(f"The mesh graphormer lacks {'; '.join(missing)}.")
    return GraphormerFiles(*(path for path in paths if path is not None))


if TYPE_CHECKING:
    from handrefiner_ext.mesh.graphormer.device import NetworkRunner

MOST_AT_ONCE = 16
"""Hands in one forward; more go in several, so that memory stays bounded."""
MAX_REPROJECTION_ERROR = 0.5
"""Hand sizes. The network may rightly disagree with the landmarks of a badly drawn hand; a mesh
so far off shows something else. Chosen without the published weights at hand."""
SMALLEST_SCALE = 1e-3
"""Of the camera: a hand of thousandths of the crop is none."""
MIRROR = np.array([-1.0, 1.0, 1.0])


class GraphormerReconstructor:
    """Meshes by MeshGraphormer, with weights and MANO that the user brings.

    Raises BackendUnavailable where a file or torch is missing, WeightsError for a wrong file.
    """

    name = "graphormer"

    def __init__(self, home: ModelHome | None = None) -> None:
        self.home = home or ModelHome()
        files = find_files(lambda name: weights.find(name, self.home.models_dir))
        if find_spec("torch") is None:
            raise BackendUnavailable(
                f"The mesh graphormer needs torch; run {how_to_install('torch')}."
            )
        self.hand_model = read_hand_model(files.mano)
        self.runner = self._load(files)

    def _load(self, files: GraphormerFiles) -> NetworkRunner:
        from handrefiner_ext.mesh.graphormer.checkpoint import load_network
        from handrefiner_ext.mesh.graphormer.device import NetworkRunner, choose_device

        sampling = read_sampling(files.downsampling)
        tokens = make_tokens(self.hand_model.rest(), [sampling.downsampling])
        network = load_network(files.weights, tokens, sampling.adjacency)
        return NetworkRunner(network, choose_device(self.home), self.home.keep_on_device)

    def reconstruct(self, image: Image, hand: Hand, params: RefineParams) -> HandMesh | Refusal:
        return self.reconstruct_all([(image, hand)], params)[0]

    def reconstruct_all(
        self, hands: Sequence[tuple[Image, Hand]], params: RefineParams
    ) -> tuple[HandMesh | Refusal, ...]:
        """Every hand with the picture it is in, which may be one picture or several."""
        found: list[HandMesh | Refusal | None] = []
        looks, waiting = [], []
        for number, (image, hand) in enumerate(hands):
            problem = _find_problem(image, hand)
            found.append(Refusal(hand.box, problem) if problem else None)
            if problem is None:
                crop = choose_crop(hand)
                looks.append(crop.look(image))
                waiting.append((number, hand, crop))
        estimates = self._estimate(looks)
        for (number, hand, crop), (camera, vertices) in zip(waiting, estimates, strict=True):
            found[number] = self._mesh(hand, crop, camera, vertices)
        return tuple(one for one in found if one is not None)

    def _estimate(
        self, looks: Sequence[NDArray[np.float32]]
    ) -> list[tuple[FloatArray, FloatArray]]:
        """(3,) camera and (778, 3) vertices for every crop (3, 224, 224)."""
        starts = range(0, len(looks), MOST_AT_ONCE)
        batches = [np.stack(looks[start : start + MOST_AT_ONCE]) for start in starts]
        seen = self.runner.run(batches) if batches else []
        return [
            (camera, vertices)
            for batch in seen
            for camera, vertices in zip(
                batch.camera.double().numpy(), batch.vertices.double().numpy(), strict=True
            )
        ]

    def _mesh(
        self, hand: Hand, crop: Crop, camera: FloatArray, vertices: FloatArray
    ) -> HandMesh | Refusal:
        finite = bool(np.isfinite(camera).all() and np.isfinite(vertices).all())
        if not finite or camera[0] < SMALLEST_SCALE:
            return Refusal(hand.box, "MeshGraphormer sees no hand here: its camera is impossible.")
        mesh = self._arrange(hand, crop, camera, vertices)
        if mesh.reprojection_error > MAX_REPROJECTION_ERROR:
            return Refusal(
                hand.box,
                f"MeshGraphormer's hand lies {mesh.reprojection_error:.0%} of the hand's size off "
                f"the landmarks; {MAX_REPROJECTION_ERROR:.0%} is allowed.",
            )
        return mesh

    def _arrange(
        self, hand: Hand, crop: Crop, camera: FloatArray, vertices: FloatArray
    ) -> HandMesh:
        """The mesh with its origin at the wrist; a left hand becomes one again."""
        turn = MIRROR if crop.mirrored else np.ones(3)
        faces = self.hand_model.faces
        joints = self.hand_model.joints_of(vertices) * turn
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
    if not np.isfinite(hand.landmarks).all():
        return "Its landmarks are not finite numbers."
    if hand.size_px < 1.0:
        return "Its landmarks all lie in one pixel."
    height, width = image.shape[:2]
    low, high = hand.landmarks.min(axis=0), hand.landmarks.max(axis=0)
    if hand.size_px * MARGIN > LARGEST * max(height, width):
        return "It is many times larger than the picture."
    if (high < 0.0).any() or (low > (width, height)).any():
        return "It lies outside the picture."
    return None
