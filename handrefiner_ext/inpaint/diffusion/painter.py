"""One region through Stable Diffusion under the hand ControlNet."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext import weights
from handrefiner_ext.errors import BackendUnavailable, HandRefinerError, InvalidParameter
from handrefiner_ext.inpaint.diffusion.loading import Loader
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Image, Mask, ModelHome
from handrefiner_ext.weights.manifest import HAND_CONTROLNET, INPAINTING, WeightsFile

if TYPE_CHECKING:
    import torch

NATIVE_SIDE = 512
"""Of Stable Diffusion 1.x, pixels."""
STEPS, CFG_SCALE, SAMPLER = 30, 7.5, "DDIM"
"""What a 0 or an empty text means here, where there is no picture's own."""
SAMPLERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "DDIM": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}
"""The WebUI's name -> class of diffusers and its settings."""


class Region(Protocol):
    """What is painted: (h, w, 3) image, (h, w) control image, (h, w) mask, and the seed."""

    @property
    def image(self) -> Image: ...
    @property
    def control(self) -> Image: ...
    @property
    def mask(self) -> Mask: ...
    @property
    def seed(self) -> int: ...


class DiffusersPainter:
    """Paints regions; the checkpoint is loaded at the first and kept until another is wanted.

    Raises BackendUnavailable where a package is missing and, at the first region, where a file is.
    loader: None = of Stable Diffusion 1.x, on the device that `home` names or the best there is.
    """

    name = "diffusers"

    def __init__(self, home: ModelHome | None = None, loader: Loader | None = None) -> None:
        missing = [name for name in ("torch", "diffusers", "transformers") if not find_spec(name)]
        if missing:
            raise BackendUnavailable(
                f"The backend diffusers needs {', '.join(missing)}; install it with: "
                'pip install "handrefiner[diffusion]".'
            )
        self.home = home or ModelHome()
        self.loader = loader or Loader(self.home.device or _best_device())
        self._loaded: tuple[tuple[str, str], Any] | None = None

    def native_side(self, params: RefineParams) -> int:
        return NATIVE_SIDE

    def paint_region(self, task: Region, params: RefineParams) -> Image:
        """(h, w, 3): the region with new hands inside the mask."""
        steps = params.steps or STEPS
        if int(steps * params.denoising_strength) < 1:
            return task.image
        import torch

        pipeline = self._pipeline(params)
        _set_sampler(pipeline, params.sampler or SAMPLER)
        try:
            # A host may have switched gradients or inference mode either way.
            with torch.inference_mode():
                painted = pipeline(**_request(task, params, steps)).images[0]
        except torch.OutOfMemoryError as error:
            raise HandRefinerError(
                "There was not enough GPU memory; choose a smaller region size or close other "
                "programs."
            ) from error
        return np.asarray(np.rint(np.clip(painted, 0.0, 1.0) * 255.0), dtype=np.uint8)

    def _pipeline(self, params: RefineParams) -> Any:
        """The models that `params` name, loaded once."""
        if self._loaded is None or self._loaded[0] != (params.checkpoint, params.control_model):
            self._loaded = None  # never two at once
            given = None if params.control_model == "auto" else params.control_model
            pipeline = self.loader.load(
                self._locate(params.checkpoint, INPAINTING, "inpainting", "checkpoint"),
                self._locate_control(given) if given else None,
                lambda: self._locate_control(""),
            )
            self._loaded = ((params.checkpoint, params.control_model), pipeline)
        return self._loaded[1]

    def _locate_control(self, given: str) -> Path:
        return self._locate(given, HAND_CONTROLNET, "controlnet", "control_model")

    def _locate(self, given: str, standard: WeightsFile, name: str, option: str) -> Path:
        if given:
            path = Path(given).expanduser()
            if not path.exists():
                raise InvalidParameter(
                    f"{option} = {given!r} does not exist; give a file or folder."
                )
            return path
        found = weights.find(standard.name, self.home.models_dir)
        if found is None:
            raise BackendUnavailable(
                f"The backend diffusers has no {standard.name}; run: handrefiner weights download "
                f"{name}, or name another file with {option}."
            )
        return found


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _set_sampler(pipeline: Any, name: str) -> None:
    import diffusers

    if name not in SAMPLERS:
        raise InvalidParameter(f"sampler = {name!r} is not one of {', '.join(SAMPLERS)}.")
    kind, settings = SAMPLERS[name]
    pipeline.scheduler = getattr(diffusers, kind).from_config(pipeline.scheduler.config, **settings)


def _request(task: Region, params: RefineParams, steps: int) -> dict[str, Any]:
    """The arguments of diffusers' pipeline; pictures are floats from 0 to 1."""
    height, width = task.mask.shape
    return {
        "prompt": params.prompt,
        "negative_prompt": params.negative_prompt,
        "image": _as_floats(task.image)[None],
        "mask_image": task.mask.astype(np.float32)[None],
        "control_image": _as_floats(np.repeat(task.control[..., None], 3, axis=2))[None],
        "height": height,
        "width": width,
        "strength": params.denoising_strength,
        "num_inference_steps": steps,
        "guidance_scale": params.cfg_scale or CFG_SCALE,
        "controlnet_conditioning_scale": params.strength,
        "control_guidance_start": params.guidance_start,
        "control_guidance_end": params.guidance_end,
        "generator": _generator(task.seed),
        "output_type": "np",
    }


def _as_floats(picture: Image) -> NDArray[np.float32]:
    return np.asarray(picture / np.float32(255.0), dtype=np.float32)


def _generator(seed: int) -> torch.Generator:
    """On the CPU whatever the device, so that a seed means the same noise everywhere."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)
