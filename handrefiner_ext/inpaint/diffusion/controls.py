"""ControlNets from files: which kind one is, and building it, strictly and without any hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.inpaint.diffusion import single_file
from handrefiner_ext.inpaint.diffusion.architecture import Architecture
from handrefiner_ext.inpaint.diffusion.single_file import CONTROL, State

if TYPE_CHECKING:
    import torch

TASKS = "task_embedding"
"""What only a union ControlNet has: one row for each kind of control."""
DEPTH_MODE = 1
"""Number of depth among the kinds of control of the union models (xinsir's)."""
UNIONS = "ControlNetUnionModel"


def holds_control(state: State) -> bool:
    """Whether a checkpoint brings its ControlNet, as the paper's combined file does."""
    return single_file.has(state, CONTROL)


def is_union(controlnet: Any) -> bool:
    return type(controlnet).__name__ == UNIONS


def build_controlnet(path: Path, state: State, architecture: Architecture) -> Any:
    """From the original names, those inside a checkpoint, or diffusers' own in one file."""
    from diffusers import ControlNetModel

    inside = single_file.take(state, CONTROL)
    part = {key.removeprefix(CONTROL): value for key, value in (inside or state).items()}
    if not {"time_embed.0.weight", "time_embedding.linear_1.weight"} & set(part):
        raise WeightsError(f"{path} is no ControlNet: it has no weights named {CONTROL}…")
    _check_texts(path, part, architecture)
    if TASKS in part:
        return _build_union(part, architecture)
    return single_file.fill(ControlNetModel, architecture.controlnet, _convert, part)


def _convert(part: dict[str, torch.Tensor], config: Any) -> Mapping[str, torch.Tensor]:
    """To diffusers' names; SDXL's embedding of sizes, which its converter passes over, too."""
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    converted: dict[str, torch.Tensor] = dict(convert_controlnet_checkpoint(part, config))
    for number, theirs in enumerate(("label_emb.0.0", "label_emb.0.2"), start=1):
        for kind in ("weight", "bias"):
            if f"{theirs}.{kind}" in part:
                converted[f"add_embedding.linear_{number}.{kind}"] = part[f"{theirs}.{kind}"]
    return converted


def _build_union(part: dict[str, torch.Tensor], architecture: Architecture) -> Any:
    try:
        from diffusers import ControlNetUnionModel
    except ImportError as error:
        raise WeightsError(
            "A union ControlNet needs a newer diffusers; run pip install -U diffusers."
        ) from error
    tasks, channels = part[TASKS].shape
    settings = {
        **architecture.controlnet,
        **{"num_control_type": int(tasks), "num_trans_channel": int(channels)},
        "num_proj_channel": int(channels),
    }
    return single_file.fill(ControlNetUnionModel, settings, lambda part, config: part, part)


def _check_texts(path: Path, part: State, architecture: Architecture) -> None:
    """A ControlNet reads the checkpoint's texts; another family's have other widths."""
    widths = {int(v.shape[1]) for key, v in part.items() if key.endswith("attn2.to_k.weight")}
    wanted = int(architecture.unet["cross_attention_dim"])
    if widths and widths != {wanted}:
        raise WeightsError(describe_misfit(path, wanted, min(widths)))


def describe_misfit(path: Path | str, wanted: int, found: int) -> str:
    return (
        f"The ControlNet is not of the checkpoint's family: {path} reads texts of {found} numbers, "
        f"the checkpoint's have {wanted}. Choose another with --control_model."
    )
