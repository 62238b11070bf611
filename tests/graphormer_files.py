"""Files of weights with which the network always answers the hand at rest, seen by a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from graphormer_cases import make_parts
from mano_model import write_downsampling, write_mano

from handrefiner_ext.mesh.graphormer.network import UNUSED, HandNetwork, build_empty
from handrefiner_ext.mesh.graphormer.template import make_tokens

FILLING = 1.0 / 1.6
"""Share of the crop's side that the hand takes, as the margin of the crop has it."""


def make_steady_state() -> dict[str, torch.Tensor]:
    """Weights that hand the template's points through and see nothing of the picture.

    The mesh becomes the hand at rest exactly; the camera shows it in the middle of the crop.
    """
    template, _, downsampling = make_parts()
    network = build_empty(torch.zeros(216, 3), torch.eye(195))
    state = {name: torch.zeros(v.shape, dtype=v.dtype) for name, v in network.own_state().items()}
    for name, value in state.items():
        if name.endswith("running_var"):
            value.fill_(1.0)
    for block in range(3):
        state[f"trans_encoder.{block}.residual.weight"][:3, :3] = torch.eye(3)
    coarse = make_tokens(template, downsampling)[21:]
    vertices = template[1] - template[0][0]
    state["upsampling.weight"] += torch.from_numpy(np.float32(vertices @ np.linalg.pinv(coarse)))
    joints = template[0] - template[0][0]
    low, high = joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)
    scale = 2.0 * FILLING / (high - low).max()
    state["cam_param_fc3.bias"] += torch.tensor([scale, *(-(low + high) / 2.0)])
    return state


def see_with(network: HandNetwork, scale: float, shift: np.ndarray) -> None:
    """Let the camera of such a network be (scale, shift x, shift y)."""
    network.cam_param_fc3.bias.copy_(torch.tensor([scale, *shift]))


def write_models(folder: Path, with_unused: bool = False) -> None:
    """The three files, the weights in the published file's old format.

    with_unused: also what inference does not use, so that the file has its published size.
    """
    state = make_steady_state()
    if with_unused:
        state |= {name: torch.zeros(shape) for name, shape in UNUSED.items()}
    weights = folder / "graphormer_hand_state_dict.bin"
    torch.save(state, weights, _use_new_zipfile_serialization=False)
    write_downsampling(folder / "mano_downsampling.npz")
    write_mano(folder / "MANO_RIGHT.pkl")
