"""Small models in the shape of Stable Diffusion 1.x, for `handrefiner train small`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handrefiner_ext.inpaint.diffusion.architecture import STABLE_DIFFUSION_1, Architecture

TINY, SD15 = "tiny", "sd15"
INPAINTING_CHANNELS = 9
NOISE = {**STABLE_DIFFUSION_1.noise, "prediction_type": "v_prediction"}
"""Where there is almost nothing but noise, a network that says the noise is right without having
seen anything; one that says the velocity (Salimans & Ho 2022) has to say the picture, and learns
its layout far earlier."""


@dataclass(frozen=True)
class Preset:
    """architecture: of every part. size: pixels of each side of the pictures to learn from.

    linear: the VAE begins as a linear code (see `codec`). vae_pace: its learning rate, as a share
    of the painting's; a deep decoder is torn away from the linear code by large steps.
    hides_picture: share of the examples that are learnt from nothing but noise. The more latents,
    the better a network reads a picture's colours from what the last timestep leaves of it.
    """

    architecture: Architecture
    size: int
    linear: bool = False
    vae_pace: float = 1.0
    hides_picture: float = 0.0


def _tiny() -> Architecture:
    """Three blocks of one layer, GroupNorm of 4 groups, latents of a quarter of the picture's side.

    The VAE has one group: with a group for every channel or two, normalising takes the colour away.

    Only diffusers can load it: the WebUI's classes have GroupNorm of 32 groups and latents of an
    eighth.
    """
    blocks = {
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    }
    usual = STABLE_DIFFUSION_1
    return Architecture(
        unet={
            **usual.unet,
            **blocks,
            "sample_size": 32,
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        },
        controlnet={
            **usual.controlnet,
            **blocks,
            "conditioning_embedding_out_channels": (8, 16, 32),
        },
        vae={
            **usual.vae,
            "block_out_channels": (12, 24, 48),
            "layers_per_block": 1,
            "norm_num_groups": 1,
            "mid_block_add_attention": False,
            "sample_size": 128,
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
        },
        text=_text(16),
        noise=NOISE,
    )


def _sd15() -> Architecture:
    """Stable Diffusion 1.5's topology, a tenth as wide.

    Its GroupNorm has about as many channels a group as Stable Diffusion's, not as many groups: with
    32 of them each of 32 channels is normalised alone and loses its mean, which is where colours
    are. The WebUI loads it with a config of its own beside it.
    """
    usual = STABLE_DIFFUSION_1
    narrow = {
        "block_out_channels": (32, 64, 128, 128),
        "norm_num_groups": 4,
        "cross_attention_dim": 32,
        "attention_head_dim": 1,
    }
    return Architecture(
        unet={**usual.unet, **narrow, "sample_size": 32},
        controlnet={**usual.controlnet, **narrow},
        vae={
            **usual.vae,
            "block_out_channels": (16, 32, 64, 64),
            "norm_num_groups": 1,
            "sample_size": 256,
        },
        text=_text(32),
        noise=NOISE,
    )


def _text(width: int) -> dict[str, Any]:
    return {
        **STABLE_DIFFUSION_1.text,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }


PRESETS: Mapping[str, Preset] = {
    TINY: Preset(_tiny(), 128, linear=True),
    SD15: Preset(_sd15(), 256, linear=True, vae_pace=0.3, hides_picture=0.2),
}
