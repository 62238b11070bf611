"""Finds and loads checkpoints and ControlNets, from single files or diffusers folders, offline."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from handrefiner_ext import weights
from handrefiner_ext.errors import BackendUnavailable, InvalidParameter, WeightsError, show
from handrefiner_ext.inpaint.control_models import FAMILY_NAMES, SD1, SDXL, choose_control
from handrefiner_ext.inpaint.diffusion import single_file
from handrefiner_ext.inpaint.diffusion.architecture import ARCHITECTURES, Architecture
from handrefiner_ext.inpaint.diffusion.text import (
    build_second_text_encoder,
    build_text_encoder,
    build_tokenizer,
)
from handrefiner_ext.pickles import printable
from handrefiner_ext.registry import AUTO
from handrefiner_ext.weights.manifest import HAND_CONTROLNET, INPAINTING, PLAIN_DEPTH

MODEL_ENDINGS = frozenset({".safetensors", ".pth", ".pt", ".ckpt", ".bin"})
CONTROL_FOLDERS = ("ControlNet", "models/ControlNet", "controlnet")
"""Subfolders of a models folder."""
WEBUI_FOLDERS = ("models/ControlNet", "extensions/sd-webui-controlnet/models")
"""Folders under a WebUI's root."""
LIBRARIES = ("diffusers", "transformers", "torchvision", "huggingface_hub")
"""Packages whose warnings are held back while models are loaded."""
FindControl = Callable[[str], Path | None]
"""Takes the family of a checkpoint, returns the place of the ControlNet to use with it; None for a
new one, copied from the checkpoint's UNet."""
NEW_CONTROL = "copied from the UNet"


@dataclass(frozen=True)
class Models:
    """pipeline: diffusers' inpainting pipeline with ControlNet. control: the ControlNet's name."""

    pipeline: Any
    family: str
    control: str


@contextmanager
def libraries_quiet() -> Iterator[None]:
    """Hold back progress bars and advice of diffusers and transformers while the block runs.

    They tell of half a second's work, of torchvision, which nothing here needs, and of parts that
    are to stay float32 where there are none. Whoever sets the library's own variable for its
    verbosity hears it all.
    """
    with ExitStack() as after, warnings.catch_warnings():
        for package in LIBRARIES:
            warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
        for name in ("diffusers", "transformers"):
            if f"{name.upper()}_VERBOSITY" in os.environ:
                continue
            library: Any = import_module(f"{name}.utils.logging")
            after.callback(library.set_verbosity, library.get_verbosity())
            library.set_verbosity_error()
            if library.is_progress_bar_enabled():
                after.callback(library.enable_progress_bar)
                library.disable_progress_bar()
        yield


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
        """Load both; with `uses_own`, a ControlNet inside the checkpoint comes before others."""
        with libraries_quiet():
            return self._load(checkpoint, find_control, uses_own)

    def _load(self, checkpoint: Path, find_control: FindControl, uses_own: bool) -> Models:
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
        more: dict[str, Any] = (
            {"add_watermarker": False} if family == SDXL else {"safety_checker": None}
        )
        if family == SD1:
            more["requires_safety_checker"] = False
        if place is None:
            more["unet"] = _load_unet_folder(checkpoint)
            controlnet = copy_encoder(more["unet"])
        else:
            controlnet = self._load_controlnet(place, family)
        try:
            pipeline = _pipeline_class(family, controlnet).from_pretrained(
                checkpoint, controlnet=controlnet, local_files_only=True, **more
            )
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{checkpoint} is not a checkpoint folder as diffusers writes it: "
                f"{printable(str(error), 300)}"
            ) from error
        return Models(pipeline.to(self.dtype), family, place.name if place else NEW_CONTROL)

    def _build_from_file(
        self, checkpoint: Path, find_control: FindControl, uses_own: bool
    ) -> Models:
        from diffusers import DDIMScheduler

        state = single_file.read_state(checkpoint, self.dtype)
        family = single_file.tell_family(checkpoint, state)
        architecture = self.architectures[family]
        unet = single_file.build_unet(state, architecture)
        if uses_own and single_file.has(state, single_file.CONTROL):
            name = f"control_sd15_inpaint_depth_hand (in {checkpoint.name})"
            controlnet = single_file.build_controlnet(checkpoint, state, architecture)
        else:
            place = find_control(family)
            name = place.name if place else NEW_CONTROL
            controlnet = self._load_controlnet(place, family) if place else copy_encoder(unet)
        parts = {
            "vae": single_file.build_vae(state, architecture),
            "text_encoder": build_text_encoder(state, architecture),
            "tokenizer": build_tokenizer(),
            "unet": unet,
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
        return single_file.build_controlnet(path, state, self.architectures[family])


def copy_encoder(unet: Any, sees: Sequence[int] = (16, 32, 96, 256)) -> Any:
    """Return a ControlNet that begins as the encoder of `unet` (Zhang et al. 2023, section 3.1).

    It takes the four channels of the latents alone, also where the UNet is an inpainting one.
    sees: channels of the layers that see the control image.
    """
    import torch
    from diffusers import ControlNetModel

    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=tuple(sees))
    latents = int(unet.config.out_channels)
    if int(unet.config.in_channels) != latents:
        whole = unet.conv_in
        control.conv_in = torch.nn.Conv2d(
            latents, whole.out_channels, whole.kernel_size, padding=whole.padding
        )
        control.conv_in.weight.data.copy_(whole.weight[:, :latents])
        control.conv_in.bias.data.copy_(whole.bias)
        control.register_to_config(in_channels=latents)
    return control.to(unet.dtype)


def _load_unet_folder(checkpoint: Path) -> Any:
    from diffusers import UNet2DConditionModel

    try:
        return UNet2DConditionModel.from_pretrained(
            checkpoint, subfolder="unet", local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{checkpoint} is not a checkpoint folder as diffusers writes it: "
            f"{printable(str(error), 300)}"
        ) from error


def _load_controlnet_folder(path: Path) -> Any:
    import diffusers

    try:
        name = _read_class(path / "config.json")
        kind = single_file.UNIONS if name == single_file.UNIONS else "ControlNetModel"
        return getattr(diffusers, kind).from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is not a ControlNet: {printable(str(error), 300)}") from error


def _tell_folder_family(checkpoint: Path) -> str:
    try:
        return SDXL if "XL" in _read_class(checkpoint / "model_index.json") else SD1
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{checkpoint} is not a checkpoint folder as diffusers writes it: "
            f"{printable(str(error), 300)}"
        ) from error


def _read_class(path: Path) -> str:
    """Return the name of the diffusers class that wrote a folder."""
    return str(json.loads(path.read_text("utf-8"))["_class_name"])


def _pipeline_class(family: str, controlnet: Any) -> Any:
    import diffusers

    if family == SD1:
        return diffusers.StableDiffusionControlNetInpaintPipeline
    if single_file.is_union(controlnet):
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
        raise WeightsError(single_file.describe_misfit(models.control, wanted, found))
    if single_file.is_union(pipeline.controlnet) and channels == 9:
        raise WeightsError(
            f"diffusers cannot steer an inpainting checkpoint by a union ControlNet; use a depth "
            f"ControlNet in place of {models.control}, or an ordinary SDXL checkpoint."
        )
    if single_file.is_union(pipeline.controlnet) and models.family != SDXL:
        raise WeightsError(
            f"{models.control} is a union ControlNet of {FAMILY_NAMES[SDXL]}; {checkpoint} is of "
            f"{FAMILY_NAMES[models.family]}."
        )


def find_checkpoint(given: str, models_dir: Path | None) -> Path:
    """Return the path of a checkpoint.

    given: a path, a name in the models folders, or "" for the SD 1.5 inpainting checkpoint.
    Raises BackendUnavailable or InvalidParameter, which say how to get the file.
    """
    if given:
        return _find_given(given, "checkpoint", models_dir)
    found = weights.find(INPAINTING.name, models_dir)
    if found is None:
        raise BackendUnavailable(
            f"The backend diffusers has no {INPAINTING.name}; run: handrefiner weights download "
            "inpainting, or name another file with --checkpoint."
        )
    return found


def find_control(given: str, family: str, models_dir: Path | None) -> Path:
    """Return the path of a ControlNet.

    given: a path, a name in the models folders, or "auto" for the best installed for `family`.
    Raises BackendUnavailable or InvalidParameter, which say how to get the file.
    """
    if given not in (AUTO, ""):
        return _find_given(given, "control_model", models_dir)
    if family == SD1:
        found = weights.find(HAND_CONTROLNET.name, models_dir)
        if found is not None:
            return found
    installed = {path.name: path for path in _list_installed(models_dir)}
    best = choose_control(installed, family)
    if best is not None:
        return installed[best]
    if family == SD1:
        raise BackendUnavailable(
            f"The backend diffusers has no {HAND_CONTROLNET.name}; run: handrefiner weights "
            "download controlnet, or name another file with --control_model."
        )
    raise BackendUnavailable(
        f"No depth or union ControlNet for {FAMILY_NAMES[family]} is installed; put one with depth "
        "or union and xl in its name into the models folder or the WebUI's models/ControlNet, or "
        "name its file with --control_model."
    )


def _find_given(given: str, option: str, models_dir: Path | None) -> Path:
    path = Path(given).expanduser()
    if path.exists():
        return path
    installed = {each.name: each for each in _list_installed(models_dir)}
    found = weights.find(given, models_dir) or installed.get(given)
    if found is None and given == PLAIN_DEPTH.name:
        raise BackendUnavailable(
            f"The backend diffusers has no {given}; run: handrefiner weights download depth."
        )
    if found is None:
        raise InvalidParameter(
            f"{option} = {show(given)} does not exist; give a file or folder, or the name of a "
            "file in the models folder."
        )
    return found


def _list_installed(models_dir: Path | None) -> Iterator[Path]:
    """List weight files and diffusers folders in every models folder, the least preferred first."""
    places = weights.standard_places(models_dir)
    folders = [folder / sub for folder in places.folders for sub in ("", *CONTROL_FOLDERS)]
    folders += [places.webui / sub for sub in WEBUI_FOLDERS] if places.webui else []
    for folder in reversed(folders):  # a dictionary of them keeps the last of equal names
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in MODEL_ENDINGS or (path / "config.json").is_file():
                    yield path
