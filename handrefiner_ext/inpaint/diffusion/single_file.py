"""UNet, VAE and ControlNet from one file, recognised by its keys and loaded strictly, offline.

diffusers' own `from_single_file` was tried in place of this module (diffusers 0.42, tiny models).
With accelerate a missing weight ends in "Cannot copy out of meta tensor"; without it the weight
keeps its random values and nothing is said. It reads its settings from folders only (eleven of them
for the two families), passes over SDXL's size embedding in original ControlNets, and reads .ckpt
files through torch's own unpickler. So only its converters of names are used here, which ignore
names that they do not know; pyproject.toml bounds diffusers, since they are no public interface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.inpaint.control_models import SD1, SDXL
from handrefiner_ext.inpaint.diffusion.architecture import Architecture
from handrefiner_ext.pickles import printable, read_tensors

if TYPE_CHECKING:
    import torch

FIRST_WEIGHT = "model.diffusion_model.input_blocks.0.0.weight"
UNET, VAE, CONTROL = "model.diffusion_model.", "first_stage_model.", "control_model."
TEXT = "cond_stage_model.transformer."
TEXT_XL, TEXT_XL_2 = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
TEXTS = {SD1: (TEXT,), SDXL: (TEXT_XL, TEXT_XL_2)}
"""Family -> prefixes of the keys of its text encoders."""
OTHERS = {
    "conditioner.embedders.0.model.": "a checkpoint of SDXL's refiner",
    "cond_stage_model.model.": "a checkpoint of Stable Diffusion 2",
    "model.diffusion_model.joint_blocks.": "a checkpoint of Stable Diffusion 3",
    "model.diffusion_model.double_blocks.": "a checkpoint of Flux",
}
"""Prefix of a key -> the kind of checkpoint that has such keys and is not supported."""
TASKS = "task_embedding"
"""A weight that only union ControlNets have: one row for each kind of control."""
DEPTH_MODE = 1
"""The index of depth among the kinds of control of the union models (xinsir's)."""
UNIONS = "ControlNetUnionModel"

State = Mapping[str, "torch.Tensor"]


def read_state(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors file or an old checkpoint; nothing in it is executed."""
    state = _read_tensors(path)
    return {key: v.to(dtype) if v.is_floating_point() else v for key, v in state.items()}


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix.lower() != ".safetensors":
        return read_tensors(path)
    try:
        state: dict[str, torch.Tensor] = load_file(path)
        return state
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not an intact safetensors file ({printable(str(error))}). Download it "
            "again."
        ) from error


def tell_family(path: Path, state: State) -> str:
    """Return the family of a checkpoint; WeightsError if it is neither SD 1.x nor SDXL."""
    for prefix, kind in OTHERS.items():
        if has(state, prefix):
            raise WeightsError(
                f"{path} is {kind}; this backend paints with Stable Diffusion 1.x and SDXL."
            )
    family = SDXL if has(state, "conditioner.embedders.") else SD1
    needed = {UNET: FIRST_WEIGHT in state, VAE: has(state, VAE)}
    needed |= {prefix: has(state, prefix) for prefix in TEXTS[family]}
    missing = [prefix for prefix, there in needed.items() if not there]
    if missing:
        raise WeightsError(
            f"{path} is not a Stable Diffusion checkpoint: it has no weights named "
            f"{', '.join(missing)}…"
        )
    return family


def has(state: State, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state)


def take(state: State, prefix: str) -> dict[str, torch.Tensor]:
    """Return the part whose keys begin with the prefix, under the same keys."""
    return {key: value for key, value in state.items() if key.startswith(prefix)}


def build_unet(state: State, architecture: Architecture) -> Any:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    channels = int(state[FIRST_WEIGHT].shape[1])
    settings = {**architecture.unet, "in_channels": channels}
    return _build(UNet2DConditionModel, settings, convert_ldm_unet_checkpoint, take(state, UNET))


def build_vae(state: State, architecture: Architecture) -> Any:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    return _build(AutoencoderKL, architecture.vae, convert_ldm_vae_checkpoint, take(state, VAE))


def build_controlnet(path: Path, state: State, architecture: Architecture) -> Any:
    """Build a ControlNet, whichever names its weights have.

    Those are the authors' own, the same inside a whole checkpoint, or diffusers'.
    """
    from diffusers import ControlNetModel

    inside = take(state, CONTROL)
    part = {key.removeprefix(CONTROL): value for key, value in (inside or state).items()}
    if not {"time_embed.0.weight", "time_embedding.linear_1.weight"} & set(part):
        raise WeightsError(f"{path} is not a ControlNet: it has no weights named {CONTROL}…")
    _check_text_width(path, part, architecture)
    if TASKS in part:
        return _build_union(part, architecture)
    return _build(ControlNetModel, architecture.controlnet, _convert_controlnet, part)


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
    return _build(ControlNetUnionModel, settings, lambda part, config: part, part)


def _build(
    kind: Any,
    settings: Mapping[str, Any],
    convert: Callable[[Any, Any], Mapping[str, torch.Tensor]],
    part: dict[str, torch.Tensor],
) -> Any:
    """Build a model of diffusers from `part`; a missing weight or another shape is an error."""
    import torch

    with torch.device("meta"):  # so that no random weights are drawn and no memory is spent twice
        model = kind.from_config(dict(settings))
    try:
        model.load_state_dict(convert(part, model.config), strict=True, assign=True)
    except (RuntimeError, KeyError, IndexError) as error:
        reason = printable(" ".join(str(error).split()), 300)
        raise WeightsError(f"The weights do not fit {kind.__name__}: {reason}") from error
    return model.eval()


def _convert_controlnet(part: dict[str, torch.Tensor], config: Any) -> Mapping[str, torch.Tensor]:
    """Rename to diffusers' names; its converter leaves out SDXL's size embedding."""
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    converted: dict[str, torch.Tensor] = dict(convert_controlnet_checkpoint(part, config))
    for number, theirs in enumerate(("label_emb.0.0", "label_emb.0.2"), start=1):
        for kind in ("weight", "bias"):
            if f"{theirs}.{kind}" in part:
                converted[f"add_embedding.linear_{number}.{kind}"] = part[f"{theirs}.{kind}"]
    return converted


def _check_text_width(path: Path, part: State, architecture: Architecture) -> None:
    """Refuse a ControlNet of another family, whose text embeddings have another width."""
    widths = {int(v.shape[1]) for key, v in part.items() if key.endswith("attn2.to_k.weight")}
    wanted = int(architecture.unet["cross_attention_dim"])
    if widths and widths != {wanted}:
        raise WeightsError(describe_misfit(path, wanted, min(widths)))


def describe_misfit(path: Path | str, wanted: int, found: int) -> str:
    return (
        f"The ControlNet is not of the checkpoint's family: {path} reads text embeddings of "
        f"{found} numbers, the checkpoint's have {wanted}. Choose another with --control_model."
    )


def is_union(controlnet: Any) -> bool:
    return type(controlnet).__name__ == UNIONS
