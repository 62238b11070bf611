"""Checkpoints and ControlNets from single files or folders of diffusers, without any network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import InvalidParameter, WeightsError
from handrefiner_ext.inpaint.control_models import FAMILY_NAMES, SD1, SDXL
from handrefiner_ext.inpaint.diffusion import controls, single_file
from handrefiner_ext.inpaint.diffusion.architecture import ARCHITECTURES, Architecture
from handrefiner_ext.inpaint.diffusion.open_clip import build_second_text_encoder
from handrefiner_ext.inpaint.diffusion.tokens import build_tokenizer

FindControl = Callable[[str], Path]
"""Family -> the ControlNet to use for it."""


@dataclass(frozen=True)
class Models:
    """pipeline: of diffusers, for inpainting under a ControlNet. control: name of its file."""

    pipeline: Any
    family: str
    control: str


class Loader:
    """Builds diffusers' inpainting pipeline with ControlNet; half precision on a CUDA GPU.

    dtype: as torch names it; None = float16 on CUDA, else float32. architectures: by family.
    """

    def __init__(
        self,
        device: str,
        architectures: Mapping[str, Architecture] = ARCHITECTURES,
        dtype: str | None = None,
    ) -> None:
        import torch

        self.device = device
        self.architectures = architectures
        usual = "float16" if device.startswith("cuda") else "float32"
        self.dtype: Any = getattr(torch, dtype or usual)

    def load(self, checkpoint: Path, find_control: FindControl, uses_own: bool = True) -> Models:
        """uses_own: take the checkpoint's own ControlNet if it has one, else `find_control`."""
        if checkpoint.is_dir():
            models = self._build_from_folder(checkpoint, find_control)
        else:
            models = self._build_from_file(checkpoint, find_control, uses_own)
        _check(models, checkpoint)
        models.pipeline.set_progress_bar_config(disable=True)
        try:
            models.pipeline.to(self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise InvalidParameter(f"The device {self.device} cannot be used: {reason}.") from error
        return models

    def _build_from_folder(self, checkpoint: Path, find_control: FindControl) -> Models:
        family = _tell_folder_family(checkpoint)
        place = find_control(family)
        controlnet = self._load_controlnet(place, family)
        more: dict[str, Any] = (
            {"add_watermarker": False} if family == SDXL else {"safety_checker": None}
        )
        if family == SD1:
            more["requires_safety_checker"] = False
        try:
            pipeline = _pipeline_class(family, controlnet).from_pretrained(
                checkpoint, controlnet=controlnet, local_files_only=True, **more
            )
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{checkpoint} is no checkpoint as diffusers writes it: {error}"
            ) from error
        return Models(pipeline.to(self.dtype), family, place.name)

    def _build_from_file(
        self, checkpoint: Path, find_control: FindControl, uses_own: bool
    ) -> Models:
        from diffusers import DDIMScheduler

        state = single_file.read_state(checkpoint, self.dtype)
        family = single_file.tell_family(checkpoint, state)
        architecture = self.architectures[family]
        if uses_own and controls.holds_control(state):
            name = f"control_sd15_inpaint_depth_hand (in {checkpoint.name})"
            controlnet = controls.build_controlnet(checkpoint, state, architecture)
        else:
            place = find_control(family)
            name, controlnet = place.name, self._load_controlnet(place, family)
        parts = {
            "vae": single_file.build_vae(state, architecture),
            "text_encoder": single_file.build_text_encoder(state, architecture),
            "tokenizer": build_tokenizer(),
            "unet": single_file.build_unet(state, architecture),
            "controlnet": controlnet,
            "scheduler": DDIMScheduler(**architecture.noise),
        }
        if family == SDXL:
            parts["text_encoder_2"] = build_second_text_encoder(state, architecture)
            parts["tokenizer_2"] = build_tokenizer(padding="!")
            parts["add_watermarker"] = False
        else:
            parts |= {"safety_checker": None, "feature_extractor": None}
            parts["requires_safety_checker"] = False
        return Models(_pipeline_class(family, controlnet)(**parts), family, name)

    def _load_controlnet(self, path: Path, family: str) -> Any:
        if path.is_dir():
            return _load_controlnet_folder(path).to(self.dtype)
        state = single_file.read_state(path, self.dtype)
        return controls.build_controlnet(path, state, self.architectures[family])


def _load_controlnet_folder(path: Path) -> Any:
    import diffusers

    try:
        name = _read_class(path / "config.json")
        kind = controls.UNIONS if name == controls.UNIONS else "ControlNetModel"
        return getattr(diffusers, kind).from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is no ControlNet: {error}") from error


def _tell_folder_family(checkpoint: Path) -> str:
    try:
        return SDXL if "XL" in _read_class(checkpoint / "model_index.json") else SD1
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{checkpoint} is no checkpoint as diffusers writes it: {error}"
        ) from error


def _read_class(path: Path) -> str:
    """The class of diffusers that wrote a folder."""
    return str(json.loads(path.read_text("utf-8"))["_class_name"])


def _pipeline_class(family: str, controlnet: Any) -> Any:
    import diffusers

    if family == SD1:
        return diffusers.StableDiffusionControlNetInpaintPipeline
    if controls.is_union(controlnet):
        return diffusers.StableDiffusionXLControlNetUnionInpaintPipeline
    return diffusers.StableDiffusionXLControlNetInpaintPipeline


def _check(models: Models, checkpoint: Path) -> None:
    pipeline = models.pipeline
    channels = int(pipeline.unet.config.in_channels)
    if channels not in (4, 9):
        raise WeightsError(
            f"{checkpoint} takes {channels} channels; an ordinary checkpoint takes 4, an "
            "inpainting one 9."
        )
    wanted = int(pipeline.unet.config.cross_attention_dim)
    found = int(pipeline.controlnet.config.cross_attention_dim)
    if found != wanted:
        raise WeightsError(controls.describe_misfit(models.control, wanted, found))
    if controls.is_union(pipeline.controlnet) and channels == 9:
        raise WeightsError(
            f"diffusers cannot steer an inpainting checkpoint by a union ControlNet; use a depth "
            f"ControlNet in place of {models.control}, or an ordinary SDXL checkpoint."
        )
    if controls.is_union(pipeline.controlnet) and models.family != SDXL:
        raise WeightsError(
            f"{models.control} is a union ControlNet of {FAMILY_NAMES[SDXL]}; {checkpoint} is of "
            f"{FAMILY_NAMES[models.family]}."
        )
