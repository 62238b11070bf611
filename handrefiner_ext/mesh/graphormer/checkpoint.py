"""The network's weights: read from a file, checked strictly, and converted to safetensors.

A file is mapped into memory where its format allows it, so that loading copies nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.mesh.graphormer.network import (
    COUNTS,
    TOLERATED,
    UNUSED,
    HandNetwork,
    build_empty,
    find_fault,
)
from handrefiner_ext.pickles import printable, read_tensors
from handrefiner_ext.types import FloatArray

SAFETENSORS = ".safetensors"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file by name; code in the file is never executed.

    Reads .safetensors, torch's archives (1.6 and later), and torch's older format, in which the
    weights are published. What inference never uses may be left out. torch.load is not used: it
    lets a file allocate any number of bytes, and its message for an attack advises the user to
    load it unsafely. Raises WeightsError.
    """
    if path.suffix != SAFETENSORS:
        return read_tensors(path, without=UNUSED)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not an intact safetensors file ({printable(str(error))}). Download it "
            "again."
        ) from error


def load_network(path: Path, template: FloatArray, adjacency: FloatArray) -> HandNetwork:
    """Return the network with the weights in `path`.

    template: (216, 3) metres. adjacency: (195, 195). Raises WeightsError for another file.
    """
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
    """Return a state without what inference never uses."""
    unwanted = UNUSED.keys() | TOLERATED
    return {name: value for name, value in state.items() if name not in unwanted}


def convert_to_safetensors(source: Path, target: Path) -> None:
    """Write the weights that inference uses from `source` to `target`, completely or not at all.

    The new file is a fifth smaller than the published one, and can be mapped as it is. Raises
    WeightsError if `source` does not hold MeshGraphormer's hand weights.
    """
    from safetensors.torch import save_file

    points = COUNTS.joints + COUNTS.vertices
    network = build_empty(torch.zeros(points, 3), torch.eye(COUNTS.vertices))
    state = read_checkpoint(source)
    needed = {name: tuple(value.shape) for name, value in network.own_state().items()}
    fault = find_fault(needed, {name: tuple(value.shape) for name, value in state.items()})
    if fault:
        raise WeightsError(f"{source} is refused. {fault}")
    kept = {name: value.contiguous() for name, value in drop_unused(state).items()}
    unfinished = target.with_name(target.name + ".part")
    save_file(kept, unfinished, metadata={"format": "pt"})
    unfinished.replace(target)
