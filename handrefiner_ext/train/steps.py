"""One step: noise is added to pictures of hands, and the networks say what was added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from handrefiner_ext.inpaint.control_models import SDXL
from handrefiner_ext.inpaint.diffusion.loading import Models
from handrefiner_ext.train.data import Draw, Example, draw_mask

if TYPE_CHECKING:
    import torch


KEPT_TEXTS = 256
"""Prompts whose embeddings are kept: SDXL's take 0.6 MB of the GPU each."""


@dataclass(frozen=True)
class Batch:
    """n pictures, ready for the networks; s is their side, l = s / 8 that of their latents.

    noisy: (n, 4, l, l), scaled latents with noise. target: what is to be said of them, noise or
    velocity. timesteps: (n,). control: (n, 3, s, s),
    0 to 1. masked: (n, 5, l, l), mask and latents of the masked picture, or (n, 0, l, l) for an
    ordinary checkpoint. text: (n, 77, w). added: what SDXL is told besides. shows_control: (n,).
    """

    noisy: torch.Tensor
    target: torch.Tensor
    timesteps: torch.Tensor
    control: torch.Tensor
    masked: torch.Tensor
    text: torch.Tensor
    added: dict[str, torch.Tensor] | None
    shows_control: torch.Tensor


class Encoder:
    """Makes batches, with the frozen VAE and text encoders of a checkpoint."""

    def __init__(self, models: Models) -> None:
        from diffusers import DDPMScheduler

        self.models = models
        self.pipeline = models.pipeline
        self.schedule = DDPMScheduler.from_config(self.pipeline.scheduler.config)
        self.inpaints = int(self.pipeline.unet.config.in_channels) != 4
        self._recall_text = lru_cache(KEPT_TEXTS)(self._encode_text)

    def encode(self, examples: Sequence[Example], draws: Sequence[Draw]) -> Batch:
        """Return the batch of these examples; every random number comes from their draws."""
        import torch

        with torch.no_grad():
            images = torch.stack([_to_tensor(each.image) for each in examples])
            latents = self._to_latents(images, draws)
            masked = latents[:, :0]
            if self.inpaints:
                masks = [
                    draw_mask(each.control, draw.rng)
                    for each, draw in zip(examples, draws, strict=True)
                ]
                masked = self._mask_latents(images, np.stack(masks), draws)
            noisy, target, timesteps = self.add_noise(latents, draws)
            text, added = self.tell([each.prompt for each in examples], draws, images.shape[-1])
            return Batch(
                noisy=noisy,
                target=target,
                timesteps=timesteps,
                control=torch.stack([_to_hint(each) for each in examples]).to(latents.device),
                masked=masked,
                text=text,
                added=added,
                shows_control=torch.tensor([d.shows_control for d in draws], device=latents.device),
            )

    def add_noise(
        self, latents: torch.Tensor, draws: Sequence[Draw]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the noisy latents, what the UNet is to say of them, and the (n,) timesteps."""
        import torch

        schedule = self.schedule
        count = int(schedule.config.num_train_timesteps)
        timesteps = torch.tensor([int(d.timestep * count) for d in draws], device=latents.device)
        latents = latents.float()
        noise = torch.stack([_normal(latents.shape[1:], d.noise_seed) for d in draws]).to(latents)
        hidden = torch.tensor([d.hides_picture for d in draws], device=latents.device)
        if hidden.any():
            noise = _hide(schedule, latents, noise, timesteps, hidden)
        target = noise
        if schedule.config.prediction_type == "v_prediction":
            target = schedule.get_velocity(latents, noise, timesteps)
        return schedule.add_noise(latents, noise, timesteps), target, timesteps

    def _to_latents(self, images: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
        """A sample of the VAE's posterior, times its scale (Rombach et al. 2022)."""
        import torch

        vae = self.pipeline.vae
        posterior = vae.encode(images.to(vae.device, vae.dtype)).latent_dist
        shape = posterior.mean.shape[1:]
        drawn = [_normal(shape, draw.noise_seed + 1) for draw in draws]
        noise = torch.stack(drawn).to(posterior.mean)
        latents: torch.Tensor = posterior.mean + posterior.std * noise
        return latents * float(vae.config.scaling_factor)

    def _mask_latents(
        self, images: torch.Tensor, masks: np.ndarray[Any, Any], draws: Sequence[Draw]
    ) -> torch.Tensor:
        """The further channels of an inpainting UNet: the mask, and the picture greyed under it."""
        import torch

        mask = torch.from_numpy(masks.astype(np.float32))[:, None]
        greyed = self._to_latents(images * (mask < 0.5), draws)
        small = torch.nn.functional.interpolate(mask, size=greyed.shape[-2:])
        return torch.cat([small.to(greyed), greyed], dim=1)

    def tell(
        self, prompts: Sequence[str], draws: Sequence[Draw], side: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor] | None]:
        """Return the (n, 77, w) text embeddings, and what SDXL is told besides; side: in pixels."""
        import torch

        told = [
            self._recall_text(prompt if draw.shows_prompt else "")
            for prompt, draw in zip(prompts, draws, strict=True)
        ]
        text = torch.cat([one[0] for one in told])
        if self.models.family != SDXL:
            return text, None
        # SDXL is told the size of the original, where it was cropped, and the size to paint.
        times = torch.tensor([[side, side, 0, 0, side, side]] * len(told)).to(text)
        return text, {"text_embeds": torch.cat([one[1] for one in told]), "time_ids": times}

    def _encode_text(self, prompt: str) -> Any:
        said = self.pipeline.encode_prompt(
            prompt=prompt,
            device=self.pipeline.text_encoder.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        return (said[0], said[2]) if self.models.family == SDXL else (said[0],)


def predict(unet: Any, controlnet: Any, batch: Batch) -> torch.Tensor:
    """Return the (n, 4, l, l) that the UNet says, with the ControlNet at strength 1."""
    noisy = batch.noisy
    shown = batch.shows_control.to(noisy)[:, None, None, None]
    down, mid = controlnet(
        noisy,
        batch.timesteps,
        encoder_hidden_states=batch.text.float(),
        controlnet_cond=batch.control.float(),
        added_cond_kwargs=batch.added,
        return_dict=False,
    )
    kind = next(unet.parameters()).dtype
    said: torch.Tensor = unet(
        _join(noisy, batch.masked).to(kind),
        batch.timesteps,
        encoder_hidden_states=batch.text.to(kind),
        added_cond_kwargs=batch.added,
        down_block_additional_residuals=[(each * shown).to(kind) for each in down],
        mid_block_additional_residual=(mid * shown).to(kind),
        return_dict=False,
    )[0]
    return said


def find_error(said: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean squared error over the whole picture, in and outside the mask."""
    import torch

    return torch.nn.functional.mse_loss(said.float(), batch.target.float())


def _join(noisy: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.cat([noisy, masked.to(noisy)], dim=1)


def _to_tensor(image: np.ndarray[Any, Any]) -> torch.Tensor:
    import torch

    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1.0).permute(2, 0, 1)


def _to_hint(example: Example) -> torch.Tensor:
    import torch

    depth = torch.from_numpy(example.control.astype(np.float32) / 255.0)
    return depth[None].expand(3, -1, -1)


def _hide(
    schedule: Any,
    latents: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    hidden: torch.Tensor,
) -> torch.Tensor:
    """Return the noise, changed where the picture is hidden so that no trace of it is left.

    Stable Diffusion's last timestep keeps 7 % of a picture's amplitude, enough to read its colours
    from; sampling begins without it (Lin et al. 2023, arXiv 2305.08891). Here the noisy latents are
    `noise` itself, and what is to be said of them follows from the noise that is returned.
    """
    import torch

    kept = schedule.alphas_cumprod.to(latents)[timesteps][:, None, None, None]
    hiding = (noise - kept.sqrt() * latents) / (1.0 - kept).sqrt()
    return torch.where(hidden[:, None, None, None], hiding, noise)


def _normal(shape: Any, seed: int) -> torch.Tensor:
    """Draw on the CPU, so that a seed gives the same noise on every device."""
    import torch

    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))
