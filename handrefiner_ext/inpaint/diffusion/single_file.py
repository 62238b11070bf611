"""Parts of a model from one file, recognised by its keys and loaded strictly, without any hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.inpaint.diffusion.architecture import Architecture
from handrefiner_ext.pickles import read_tensors

if TYPE_CHECKING:
    import torch

FIRST_WEIGHT = "model.diffusion_model.input_blocks.0.0.weight"
UNET, VAE, CONTROL = "model.diffusion_model.", "first_stage_model.", "control_model."
TEXT = "cond_stage_model.transformer."
OTHERS = {
    "conditioner.embedders.": "a checkpoint of SDXL",
    "cond_stage_model.model.": "a checkpoint of Stable Diffusion 2",
}
"""Beginning of a key -> what has such keys and is not read yet."""
POSITIONS = "position_ids"
"""Counted by the model itself; old files carry them all the same."""

State = Mapping[str, "torch.Tensor"]


def read_state(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file or of an old checkpoint, of which nothing is executed."""
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
            f"{path} is no intact safetensors file ({error}); get it anew."
        ) from error


def check_kind(path: Path, state: State) -> None:
    """Raise WeightsError for what is no checkpoint of Stable Diffusion 1.x."""
    for beginning, kind in OTHERS.items():
        if any(key.startswith(beginning) for key in state):
            raise WeightsError(f"{path} is {kind}; this backend paints with Stable Diffusion 1.x.")
    needed = {UNET: FIRST_WEIGHT in state, VAE: _has(state, VAE), TEXT: _has(state, TEXT)}
    missing = [beginning for beginning, there in needed.items() if not there]
    if missing:
        raise WeightsError(
            f"{path} is no Stable Diffusion checkpoint: it has no weights named "
            f"{', '.join(missing)}…"
        )


def holds_control(state: State) -> bool:
    """Whether the file brings its ControlNet, as the paper's inpaint_depth_control.ckpt does."""
    return _has(state, CONTROL)


def _has(state: State, beginning: str) -> bool:
    return any(key.startswith(beginning) for key in state)


def build_unet(state: State, architecture: Architecture) -> Any:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    channels = int(state[FIRST_WEIGHT].shape[1])
    settings = {**architecture.unet, "in_channels": channels}
    part = {key: value for key, value in state.items() if key.startswith(UNET)}
    return _fill(UNet2DConditionModel, settings, convert_ldm_unet_checkpoint, part)


def build_vae(state: State, architecture: Architecture) -> Any:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    part = {key: value for key, value in state.items() if key.startswith(VAE)}
    return _fill(AutoencoderKL, architecture.vae, convert_ldm_vae_checkpoint, part)


def build_controlnet(path: Path, state: State, architecture: Architecture) -> Any:
    from diffusers import ControlNetModel
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    part = {key: value for key, value in state.items() if key.startswith(CONTROL)}
    if not part and "time_embed.0.weight" not in state:
        raise WeightsError(f"{path} is no ControlNet: it has no weights named {CONTROL}…")
    settings = architecture.controlnet
    return _fill(ControlNetModel, settings, convert_controlnet_checkpoint, part or dict(state))


def _fill(
    kind: Any,
    settings: Mapping[str, Any],
    convert: Callable[[Any, Any], dict[str, torch.Tensor]],
    part: dict[str, torch.Tensor],
) -> Any:
    """A model of diffusers with the weights of `part`, every one accounted for."""
    import torch

    with torch.device("meta"):
        model = kind.from_config(dict(settings))
    try:
        model.load_state_dict(convert(part, model.config), strict=True, assign=True)
    except (RuntimeError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"The weights do not fit {kind.__name__}: {reason}") from error
    return model.eval()


def build_text_encoder(state: State, architecture: Architecture) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    dtype = state[FIRST_WEIGHT].dtype
    model = CLIPTextModel(CLIPTextConfig(**architecture.text)).to(dtype)
    own = model.state_dict()
    nested = any(key.startswith("text_model.") for key in own)  # not any more in newer versions
    part = {
        key[len(TEXT) :] if nested else key[len(TEXT) :].removeprefix("text_model."): value
        for key, value in state.items()
        if key.startswith(TEXT) and not key.endswith(POSITIONS)
    }
    counted = {key: value for key, value in own.items() if key.endswith(POSITIONS)}
    try:
        model.load_state_dict({**counted, **part}, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"The weights do not fit CLIP's text encoder: {reason}") from error
    return model.eval()
