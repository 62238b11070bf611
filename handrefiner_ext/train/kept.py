"""A small model on disk: written when it is finished, and read to go on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import UsageError
from handrefiner_ext.train.export import (
    name_checkpoint_weights,
    name_control_weights,
    write_weights,
)
from handrefiner_ext.train.presets import Preset

CHECKPOINT, CONTROLNET = "checkpoint", "controlnet"
"""Folders of the finished model, as diffusers reads them."""
ONE_FILE, CONTROL_FILE = (
    "small_inpainting.safetensors",
    "control_sd15_inpaint_depth_hand.safetensors",
)
ORIGINAL_HINTS = 4
"""Layers of Stable Diffusion's ControlNets that see the control image."""


@dataclass(frozen=True)
class Start:
    """What is there already.

    vae: a file with weights of a VAE of the preset's shape, named as in a checkpoint; it is not
    trained then. model: folder of a finished model of the same preset, to go on from, with its VAE
    if there is no other.
    """

    vae: Path | None = None
    model: Path | None = None

    @property
    def vae_file(self) -> Path | None:
        return self.vae or (self.model / ONE_FILE if self.model else None)

    def check(self) -> None:
        """Raise UsageError for what is not there."""
        if self.vae is not None and not self.vae.is_file():
            raise UsageError(f"--vae {self.vae} is no file; give a file with a VAE of that shape.")
        if self.model is not None and not (self.model / ONE_FILE).is_file():
            raise UsageError(
                f"--begin_with {self.model} holds no finished model; give the --out_dir of an "
                "earlier handrefiner train small."
            )


def load_vae(vae: Any, file: Path, preset: Preset) -> None:
    """Take the weights of a VAE of the preset's shape."""
    import torch

    from handrefiner_ext.inpaint.diffusion import single_file

    state = single_file.read_state(file, torch.float32)
    vae.load_state_dict(single_file.build_vae(state, preset.architecture).state_dict())


def load_painting(pipeline: Any, folder: Path) -> None:
    """Take UNet and ControlNet of a finished model, and the text encoder that they learnt with."""
    for name, place in (
        ("unet", folder / CHECKPOINT / "unet"),
        ("controlnet", folder / CONTROLNET),
        ("text_encoder", folder / CHECKPOINT / "text_encoder"),
    ):
        network = getattr(pipeline, name)
        kept = type(network).from_pretrained(place, local_files_only=True)
        try:
            network.load_state_dict(kept.float().state_dict())
        except RuntimeError as error:
            raise UsageError(
                f"--begin_with {folder}: its {name} is of another shape; give a model of the same "
                "--preset."
            ) from error


def save(pipeline: Any, folder: Path) -> Path:
    """Write the model: diffusers' folders in float16, and single files under the original names.

    A ControlNet of fewer layers than Stable Diffusion's has no original names.
    """
    import torch

    write_weights(name_checkpoint_weights(pipeline), folder / ONE_FILE)
    if len(pipeline.controlnet.config.conditioning_embedding_out_channels) == ORIGINAL_HINTS:
        write_weights(name_control_weights(pipeline.controlnet), folder / CONTROL_FILE)
    parts = ("vae", "unet", "controlnet", "text_encoder")
    for part in parts:
        network = getattr(pipeline, part).to(torch.float16).eval()
        network.to(memory_format=torch.contiguous_format)
    pipeline.controlnet.save_pretrained(folder / CONTROLNET)
    _without_control(pipeline).save_pretrained(folder / CHECKPOINT)
    return folder


def _without_control(pipeline: Any) -> Any:
    from diffusers import StableDiffusionInpaintPipeline

    parts = {key: value for key, value in pipeline.components.items() if key != "controlnet"}
    parts.pop("image_encoder", None)
    return StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
