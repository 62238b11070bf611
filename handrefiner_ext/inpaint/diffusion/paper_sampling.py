"""The paper's own sampling, reproduced number for number, for comparisons with it.

HandRefiner (Lu et al. 2023, arXiv 2311.17957): DDIM (Song et al. 2021, arXiv 2010.02502, eta 0)
over the whole picture from pure noise, classifier-free guidance with the control on both sides,
and in every step the latents outside the mask replaced by the noised picture's. The noise can be
given; drawn from a seed, it comes in the order in which the paper's code draws it on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handrefiner_ext.errors import PictureError
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Image, Mask

STEPS, CFG_SCALE = 50, 9.0
NEGATIVE_PROMPT = (
    "fake 3D rendered image, longbody, lowres, bad anatomy, bad hands, missing fingers, extra "
    "digit, fewer digits, cropped, worst quality, low quality, blue"
)
"""The paper's command line always uses it."""
LATENT_PX = 8
MULTIPLE = 64
"""Pixels; the sides of a picture must be multiples of it, so that every level of the UNet fits."""


@dataclass(frozen=True)
class PaperTask:
    """One picture to sample.

    image: (H, W, 3). control: (H, W), near is bright. mask: (H, W), True where it may change.
    strength: of the ControlNet. guided: first and last fraction of the steps with control.
    """

    image: Image
    control: Image
    mask: Mask
    prompt: str
    negative_prompt: str = NEGATIVE_PROMPT
    strength: float = 1.0
    steps: int = STEPS
    cfg_scale: float = CFG_SCALE
    guided: tuple[float, float] = (0.0, 1.0)

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        height, width = self.mask.shape
        return 1, 4, height // LATENT_PX, width // LATENT_PX


@dataclass(frozen=True)
class Noises:
    """All random numbers of a run, (1, 4, h, w) each.

    masked, picture: for the VAE's posterior of the masked picture and of the whole one.
    initial: the latents that sampling starts from. steps: added to the picture in each step.
    """

    masked: Tensor
    picture: Tensor
    initial: Tensor
    steps: Sequence[Tensor]


def make_task(region: Any, params: RefineParams) -> PaperTask:
    """Make the task, with the paper's steps, guidance and negative prompt where `params` has none.

    region: image, control image and mask of the whole picture.
    Raises PictureError if a side is not a multiple of 64 pixels.
    """
    height, width = region.mask.shape
    if height % MULTIPLE or width % MULTIPLE:
        raise PictureError(
            f"sampling paper needs a picture whose sides are multiples of {MULTIPLE} pixels (the "
            f"paper's are 512 × 512); this one is {width} × {height}. Scale it, or use sampling "
            "regions."
        )
    return PaperTask(
        *(region.image, region.control, region.mask, params.prompt),
        negative_prompt=params.negative_prompt or NEGATIVE_PROMPT,
        strength=params.strength,
        steps=params.steps or STEPS,
        cfg_scale=params.cfg_scale or CFG_SCALE,
        guided=(params.guidance_start, params.guidance_end),
    )


def list_timesteps(steps: int, trained: int = 1000) -> list[int]:
    """Return the timesteps, noisiest first, evenly spaced as in CompVis' `make_ddim_timesteps`."""
    return [t for t in range(1, trained + 1, trained // steps) if t < trained][::-1]


def draw_noises(seed: int, shape: tuple[int, int, int, int], steps: int) -> Noises:
    """Draw them as the paper's code does on a CPU: it seeds before encoding and before sampling."""
    encoding = torch.Generator("cpu").manual_seed(seed)
    masked, picture = (torch.randn(shape, generator=encoding) for _ in range(2))
    sampling = torch.Generator("cpu").manual_seed(seed)
    initial = torch.randn(shape, generator=sampling)
    # Every second one is the noise of DDIM's own step, which is multiplied by eta = 0.
    pairs = [torch.randn((2, *shape), generator=sampling) for _ in list_timesteps(steps)]
    return Noises(masked, picture, initial, [pair[0] for pair in pairs])


def sample(pipeline: Any, task: PaperTask, noises: Noises) -> Tensor:
    """Return the sampled latents, (1, 4, H / 8, W / 8) float32 at the UNet's scale.

    pipeline: any pipeline of diffusers with vae, text_encoder, tokenizer, unet and controlnet.
    """
    conditions = _Conditions(pipeline, task, noises)
    alphas = pipeline.scheduler.alphas_cumprod.to(pipeline.device, torch.float32)
    timesteps = list_timesteps(task.steps, len(alphas))
    latents = noises.initial.to(alphas)
    for number, (t, noise) in enumerate(zip(timesteps, noises.steps, strict=True)):
        before = timesteps[number + 1] if number + 1 < len(timesteps) else 0
        noised = alphas[t].sqrt() * conditions.picture + (1 - alphas[t]).sqrt() * noise.to(alphas)
        latents = torch.where(conditions.inside, latents, noised)
        guess = conditions.predict(latents, t, number / len(timesteps))
        clean = (latents - (1 - alphas[t]).sqrt() * guess) / alphas[t].sqrt()
        latents = alphas[before].sqrt() * clean + (1 - alphas[before]).sqrt() * guess
    return latents


def decode(pipeline: Any, latents: Tensor) -> Image:
    """Return the (H, W, 3) picture; values are truncated, not rounded, as in the paper's code."""
    vae = pipeline.vae
    decoded = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype)).sample[0].float()
    levels = (decoded.permute(1, 2, 0) * 127.5 + 127.5).clamp(0, 255)
    return np.asarray(levels.cpu().numpy().astype(np.uint8))


class _Conditions:
    """The inputs that are the same in every step; picture: (1, 4, h, w) latents of the picture."""

    def __init__(self, pipeline: Any, task: PaperTask, noises: Noises) -> None:
        self.pipeline, self.task = pipeline, task
        self.device, self.dtype = pipeline.device, pipeline.unet.dtype
        mask = torch.from_numpy(task.mask.astype(np.float32))[None, None].to(self.device)
        source = torch.from_numpy(task.image.astype(np.float32) / 127.5 - 1.0)
        source = source.permute(2, 0, 1)[None].to(self.device)
        masked = self._encode(source * (mask < 0.5), noises.masked)
        self.picture = self._encode(source, noises.picture)
        size = task.latent_shape[2:]
        small = torch.nn.functional.interpolate(mask, size=size)
        self.inside = small > 0.5
        self.more = torch.cat([small, masked], dim=1)
        hint = torch.from_numpy(task.control.astype(np.float32) / 255.0)[None, None]
        self.hint = hint.repeat(2, 3, 1, 1).to(self.device, self.dtype)
        self.texts = self._read([task.negative_prompt, task.prompt])

    def _encode(self, picture: Tensor, noise: Tensor) -> Tensor:
        vae = self.pipeline.vae
        found = vae.encode(picture.to(vae.dtype)).latent_dist
        drawn = found.mean.float() + found.std.float() * noise.to(self.device)
        scaled: Tensor = drawn * vae.config.scaling_factor
        return scaled

    def _read(self, texts: list[str]) -> Tensor:
        tokens = self.pipeline.tokenizer(
            texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
        )
        read: Tensor = self.pipeline.text_encoder(tokens.input_ids.to(self.device))[0]
        return read

    def predict(self, latents: Tensor, t: int, progress: float) -> Tensor:
        """Return the guided estimate of the noise in `latents`; progress: share of steps done."""
        start, end = self.task.guided
        controls = start <= progress <= end and self.task.strength > 0.0
        pair = latents.repeat(2, 1, 1, 1).to(self.dtype)
        residuals = self._control(pair, t) if controls else {}
        if self.pipeline.unet.config.in_channels != pair.shape[1]:
            pair = torch.cat([pair, self.more.repeat(2, 1, 1, 1).to(self.dtype)], dim=1)
        unet = self.pipeline.unet
        guesses = unet(pair, t, encoder_hidden_states=self.texts, **residuals).sample.float()
        without, within = guesses.chunk(2)
        guess: Tensor = without + self.task.cfg_scale * (within - without)
        return guess

    def _control(self, pair: Tensor, t: int) -> dict[str, Any]:
        down, middle = self.pipeline.controlnet(
            pair,
            t,
            encoder_hidden_states=self.texts,
            controlnet_cond=self.hint,
            conditioning_scale=self.task.strength,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
