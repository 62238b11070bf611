"""Paints one region with Stable Diffusion, guided by a depth ControlNet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import (
    BackendUnavailable,
    HandRefinerError,
    InvalidParameter,
    how_to_install,
    show,
)
from handrefiner_ext.inpaint.control_models import (
    FAMILY_NAMES,
    NATIVE_SIDE,
    SD1,
    recommend_strength,
)
from handrefiner_ext.inpaint.diffusion import single_file
from handrefiner_ext.inpaint.diffusion.loading import (
    Loader,
    Models,
    find_checkpoint,
    find_control,
)
from handrefiner_ext.params import OFF, PAPER, RefineParams
from handrefiner_ext.registry import AUTO
from handrefiner_ext.types import Image, Mask, ModelHome

if TYPE_CHECKING:
    import torch

STEPS, CFG_SCALE, SAMPLER = 30, 7.5, "DDIM"
"""Used where a parameter is 0 or empty; a file has no settings of its own, as a WebUI's has."""
SAMPLERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "DDIM": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}
"""The WebUI's name -> diffusers' class and its settings."""


class Region(Protocol):
    """What to paint: (h, w, 3) image, (h, w) control image, (h, w) mask, and the seed.

    start: (h, w, 3), what denoising starts from: the image, or a draft of the new hand in it.
    """

    @property
    def image(self) -> Image: ...
    @property
    def start(self) -> Image: ...
    @property
    def control(self) -> Image: ...
    @property
    def mask(self) -> Mask: ...
    @property
    def seed(self) -> int: ...


class DiffusersPainter:
    """Paints regions; loads the checkpoint at the first one and keeps it until another is named.

    Raises BackendUnavailable if a package is missing and, at the first region, if a file is.
    loader: None = one for Stable Diffusion 1.x and SDXL, on the device that `home` names, else the
    best there is.
    """

    name = "diffusers"

    def __init__(self, home: ModelHome | None = None, loader: Loader | None = None) -> None:
        missing = [name for name in ("torch", "diffusers", "transformers") if not find_spec(name)]
        if missing:
            raise BackendUnavailable(
                f"The backend diffusers needs {', '.join(missing)}; run "
                f"{how_to_install('diffusion')}."
            )
        self.home = home or ModelHome()
        device = self.home.device or _best_device()
        self.loader = loader or Loader(device, dtype=self.home.dtype)
        self._loaded: tuple[tuple[str, str], Models] | None = None

    def prepare(self, params: RefineParams) -> None:
        """Load the models and raise InvalidParameter for settings that they cannot follow."""
        check_sampler(params.sampler or SAMPLER)
        if params.sampling == PAPER and params.sampler not in ("", "DDIM"):
            raise InvalidParameter(
                f"sampling = 'paper' samples with DDIM; leave out sampler = {show(params.sampler)}."
            )
        models = self.load(params)
        if params.sampling == PAPER and models.family != SD1:
            raise InvalidParameter(
                "sampling = 'paper' is for Stable Diffusion 1.x; this checkpoint is of "
                f"{FAMILY_NAMES[models.family]}."
            )

    def native_side(self, params: RefineParams) -> int:
        return NATIVE_SIDE[self.load(params).family]

    def advise(self, params: RefineParams) -> tuple[str, ...]:
        """Return a sentence if another strength is recommended for the ControlNet in use."""
        control = self.load(params).control
        suits = recommend_strength(control)
        if suits == params.strength or params.adaptive_strength != OFF:
            return ()
        return (f"strength: {suits:g} suits {control}; {params.strength:g} was used.",)

    def paint_region(self, task: Region, params: RefineParams) -> Image:
        """Return the (h, w, 3) region with new hands inside the mask."""
        steps = params.steps or STEPS
        if int(steps * params.denoising_strength) < 1:
            return task.start
        import torch

        models = self.load(params)
        _set_sampler(models.pipeline, params.sampler or SAMPLER)
        # A host may have switched gradients or inference mode either way.
        with memory_told(), torch.inference_mode():
            painted = models.pipeline(**_request(task, params, models)).images[0]
        return np.asarray(np.rint(np.clip(painted, 0.0, 1.0) * 255.0), dtype=np.uint8)

    def paint_as_paper(self, task: Region, params: RefineParams) -> Image:
        """Return the (H, W, 3) picture, sampled as a whole, as the paper's command line does."""
        import torch

        from handrefiner_ext.inpaint.diffusion import paper_sampling

        self.prepare(params)
        pipeline = self.load(params).pipeline
        paper_task = paper_sampling.make_task(task, params)
        noises = paper_sampling.draw_noises(task.seed, paper_task.latent_shape, paper_task.steps)
        with memory_told(), torch.inference_mode():
            latents = paper_sampling.sample(pipeline, paper_task, noises)
            return paper_sampling.decode(pipeline, latents)

    def load(self, params: RefineParams) -> Models:
        """Return the models that `params` name; they are loaded once."""
        names = (params.checkpoint, params.control_model)
        if self._loaded is None or self._loaded[0] != names:
            self._loaded = None  # frees its memory first: two checkpoints at once may not fit
            folder = self.home.models_dir
            models = self.loader.load(
                find_checkpoint(params.checkpoint, folder),
                lambda family: find_control(params.control_model, family, folder),
                uses_own=params.control_model == AUTO,
            )
            self._loaded = (names, models)
        return self._loaded[1]


@contextmanager
def memory_told() -> Iterator[None]:
    """Turn torch's out-of-memory error into a sentence and release the cached memory."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise HandRefinerError(
            "There was not enough GPU memory; choose a smaller --region_size, --dtype float16, or "
            "close other programs."
        ) from error


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_sampler(name: str) -> None:
    if name not in SAMPLERS:
        raise InvalidParameter(f"sampler = {show(name)} is not one of {', '.join(SAMPLERS)}.")


def _set_sampler(pipeline: Any, name: str) -> None:
    import diffusers

    check_sampler(name)
    kind, settings = SAMPLERS[name]
    pipeline.scheduler = getattr(diffusers, kind).from_config(pipeline.scheduler.config, **settings)


def _request(task: Region, params: RefineParams, models: Models) -> dict[str, Any]:
    """Return the arguments of diffusers' pipeline; pictures are floats from 0 to 1."""
    height, width = task.mask.shape
    union = single_file.is_union(models.pipeline.controlnet)
    return {
        "prompt": params.prompt,
        "negative_prompt": params.negative_prompt,
        "image": _as_floats(task.start)[None],
        "mask_image": task.mask.astype(np.float32)[None],
        "control_image": _as_floats(np.repeat(task.control[..., None], 3, axis=2))[None],
        "height": height,
        "width": width,
        "strength": params.denoising_strength,
        "num_inference_steps": params.steps or STEPS,
        "guidance_scale": params.cfg_scale or CFG_SCALE,
        "controlnet_conditioning_scale": params.strength,
        "control_guidance_start": params.guidance_start,
        "control_guidance_end": params.guidance_end,
        "generator": _generator(task.seed),
        "output_type": "np",
        **({"control_mode": single_file.DEPTH_MODE} if union else {}),
    }


def _as_floats(picture: Image) -> NDArray[np.float32]:
    return np.asarray(picture / np.float32(255.0), dtype=np.float32)


def _generator(seed: int) -> torch.Generator:
    """Make a generator on the CPU, so that a seed gives the same noise on every device."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)
