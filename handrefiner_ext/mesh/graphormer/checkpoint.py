"""The network's weights from a file, mapped into memory and strictly checked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.mesh.graphormer.network import HandNetwork, build_empty
from handrefiner_ext.mesh.graphormer.published_keys import TOLERATED, UNUSED
from handrefiner_ext.pickles import read_tensors
from handrefiner_ext.types import FloatArray

SAFETENSORS = ".safetensors"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Name -> tensor, mapped from the file where its format allows it; nothing in it is run.

    What inference never uses may be left out.

    Reads .safetensors, torch's archives (1.6 and later), and torch's older format, which the
    published file has and torch itself cannot map. Raises WeightsError.
    """
    try:
        if path.suffix == SAFETENSORS:
            return _read_safetensors(path)
        if not zipfile.is_zipfile(path):
            return read_tensors(path, without=UNUSED)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except WeightsError:
        raise
    except Exception as error:  # what a damaged file raises differs between torch's versions
        raise WeightsError(
            f"{path} is no intact file of weights ({error}); get it anew."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict, tensors by name; it is another file.")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def load_network(path: Path, template: FloatArray, adjacency: FloatArray) -> HandNetwork:
    """The network with the weights of `path`; template (216, 3) metres, adjacency (195, 195)."""
    with torch.inference_mode(False):
        tokens, rows = (torch.from_numpy(np.float32(part)) for part in (template, adjacency))
        network = build_empty(tokens, rows)
        state = read_checkpoint(path)
        try:
            network.load_state_dict(state, assign=True)
        except WeightsError as error:
            raise WeightsError(f"{path} is refused. {error}") from error
        return network.float() if _is_half(network) else network


def _is_half(network: HandNetwork) -> bool:
    return network.upsampling.weight.dtype is not torch.float32


def drop_unused(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state without what inference never uses."""
    unwanted = UNUSED.keys() | TOLERATED
    return {name: value for name, value in state.items() if name not in unwanted}
