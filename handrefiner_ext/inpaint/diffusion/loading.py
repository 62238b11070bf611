"""Checkpoints and ControlNets from single files or folders of diffusers, without any network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.inpaint.diffusion import single_file
from handrefiner_ext.inpaint.diffusion.architecture import STABLE_DIFFUSION_1, Architecture
from handrefiner_ext.inpaint.diffusion.tokens import build_tokenizer

if TYPE_CHECKING:
    pass


class Loader:
    """Builds diffusers' inpainting pipeline with ControlNet; half precision on a CUDA GPU."""

    def __init__(self, device: str, architecture: Architecture = STABLE_DIFFUSION_1) -> None:
        import torch

        self.device = device
        self.architecture = architecture
        self.dtype = torch.float16 if device.startswith("cuda") else torch.float32

    def load(self, checkpoint: Path, control: Path | None, find_control: Callable[[], Path]) -> Any:
        """control: None = the checkpoint's own ControlNet if it has one, else `find_control`."""
        build = self._build_from_folder if checkpoint.is_dir() else self._build_from_file
        pipeline = build(checkpoint, control, find_control)
        _check_family(pipeline, checkpoint)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self.device)

    def _build_from_folder(
        self, checkpoint: Path, control: Path | None, find_control: Callable[[], Path]
    ) -> Any:
        from diffusers import StableDiffusionControlNetInpaintPipeline

        controlnet = self._load_controlnet(control or find_control())
        try:
            return StableDiffusionControlNetInpaintPipeline.from_pretrained(
                checkpoint,
                controlnet=controlnet,
                safety_checker=None,
                requires_safety_checker=False,
                local_files_only=True,
            ).to(self.dtype)
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{checkpoint} is no checkpoint as diffusers writes it: {error}"
            ) from error

    def _build_from_file(
        self, checkpoint: Path, control: Path | None, find_control: Callable[[], Path]
    ) -> Any:
        from diffusers import DDIMScheduler, StableDiffusionControlNetInpaintPipeline

        state = single_file.read_state(checkpoint, self.dtype)
        single_file.check_kind(checkpoint, state)
        if control is None and single_file.holds_control(state):
            controlnet = single_file.build_controlnet(checkpoint, state, self.architecture)
        else:
            controlnet = self._load_controlnet(control or find_control())
        return StableDiffusionControlNetInpaintPipeline(
            vae=single_file.build_vae(state, self.architecture),
            text_encoder=single_file.build_text_encoder(state, self.architecture),
            tokenizer=build_tokenizer(),
            unet=single_file.build_unet(state, self.architecture),
            controlnet=controlnet,
            scheduler=DDIMScheduler(**self.architecture.noise),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    def _load_controlnet(self, path: Path) -> Any:
        from diffusers import ControlNetModel

        if not path.is_dir():
            state = single_file.read_state(path, self.dtype)
            return single_file.build_controlnet(path, state, self.architecture)
        try:
            return ControlNetModel.from_pretrained(path, local_files_only=True).to(self.dtype)
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{path} is no ControlNet: {error}") from error


def _check_family(pipeline: Any, checkpoint: Path) -> None:
    channels = int(pipeline.unet.config.in_channels)
    if channels not in (4, 9):
        raise WeightsError(
            f"{checkpoint} takes {channels} channels; an ordinary checkpoint takes 4, an "
            "inpainting one 9."
        )
    texts = pipeline.unet.config.cross_attention_dim
    control = pipeline.controlnet.config.cross_attention_dim
    if control != texts:
        raise WeightsError(
            f"The ControlNet is not of the checkpoint's family: {checkpoint} has texts of {texts} "
            f"numbers, the ControlNet of {control}."
        )
