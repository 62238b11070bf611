"""graphormer_hand_state_dict.bin -> .safetensors: a fifth smaller, and mapped as it lies."""

from __future__ import annotations

from pathlib import Path

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.mesh.graphormer.published_keys import find_fault


def convert_to_safetensors(source: Path, target: Path) -> None:
    """Write what inference uses of the weights in `source` to `target`, whole or not at all.

    Raises WeightsError where `source` is not a file of MeshGraphormer's hand weights.
    """
    import torch
    from safetensors.torch import save_file

    from handrefiner_ext.mesh.graphormer.checkpoint import drop_unused, read_checkpoint
    from handrefiner_ext.mesh.graphormer.network import COUNTS, build_empty

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
