"""Parts of a model from one file, recognised by its keys and loaded strictly, without any hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.inpaint.control_models import SD1, SDXL
from handrefiner_ext.inpaint.diffusion.architecture import Architecture
from handrefiner_ext.pickles import read_tensors

if TYPE_CHECKING:
    import torch

FIRST_WEIGHT = "model.diffusion_model.input_blocks.0.0.weight"
UNET, VAE, CONTROL = "model.diffusion_model.", "first_stage_model.", "control_model."
TEXT = "cond_stage_model.transformer."
TEXT_XL, TEXT_XL_2 = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
TEXTS = {SD1: (TEXT,), SDXL: (TEXT_XL, TEXT_XL_2)}
"""Family -> beginnings of the keys of its text encoders."""
OTHERS = {
    "conditioner.embedders.0.model.": "a checkpoint of SDXL's refiner",
    "cond_stage_model.model.": "a checkpoint of Stable Diffusion 2",
    "model.diffusion_model.joint_blocks.": "a checkpoint of Stable Diffusion 3",
    "model.diffusion_model.double_blocks.": "a checkpoint of Flux",
}
"""Beginning of a key -> what has such keys and is not read."""
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


def tell_family(path: Path, state: State) -> str:
    """The family of a checkpoint; WeightsError for what is none of Stable Diffusion 1.x or SDXL."""
    for beginning, kind in OTHERS.items():
        if has(state, beginning):
            raise WeightsError(
                f"{path} is {kind}; this backend paints with Stable Diffusion 1.x and SDXL."
            )
    family = SDXL if has(state, "conditioner.embedders.") else SD1
    needed = {UNET: FIRST_WEIGHT in state, VAE: has(state, VAE)}
    needed |= {beginning: has(state, beginning) for beginning in TEXTS[family]}
    missing = [beginning for beginning, there in needed.items() if not there]
    if missing:
        raise WeightsError(
            f"{path} is no Stable Diffusion checkpoint: it has no weights named "
            f"{', '.join(missing)}…"
        )
    return family


def has(state: State, beginning: str) -> bool:
    return any(key.startswith(beginning) for key in state)


def build_unet(state: State, architecture: Architecture) -> Any:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    channels = int(state[FIRST_WEIGHT].shape[1])
    settings = {**architecture.unet, "in_channels": channels}
    return fill(UNet2DConditionModel, settings, convert_ldm_unet_checkpoint, take(state, UNET))


def build_vae(state: State, architecture: Architecture) -> Any:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    return fill(AutoencoderKL, architecture.vae, convert_ldm_vae_checkpoint, take(state, VAE))


def take(state: State, beginning: str) -> dict[str, torch.Tensor]:
    """The part whose keys begin so, under the same keys."""
    return {key: value for key, value in state.items() if key.startswith(beginning)}


def fill(
    kind: Any,
    settings: Mapping[str, Any],
    convert: Callable[[Any, Any], Mapping[str, torch.Tensor]],
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
    """CLIP's, the only one of Stable Diffusion 1.x and the first of SDXL."""
    from transformers import CLIPTextConfig, CLIPTextModel

    beginning = TEXTS[architecture.family][0]
    part = {key[len(beginning) :]: value for key, value in take(state, beginning).items()}
    model = CLIPTextModel(CLIPTextConfig(**architecture.text)).to(state[FIRST_WEIGHT].dtype)
    return fill_text_encoder(model, part)


def fill_text_encoder(model: Any, part: State) -> Any:
    """part: under transformers' names, with `text_model.` in front as older versions have it."""
    own = model.state_dict()
    nested = has(own, "text_model.")  # not any more in newer versions
    weights = {
        key if nested else key.removeprefix("text_model."): value
        for key, value in part.items()
        if not key.endswith(POSITIONS)
    }
    counted = {key: value for key, value in own.items() if key.endswith(POSITIONS)}
    try:
        model.load_state_dict({**counted, **weights}, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"The weights do not fit CLIP's text encoder: {reason}") from error
    return model.eval()
