"""The settings of Stable Diffusion 1.x and SDXL, as their authors published them with the weights.

Rombach et al. 2022 (arXiv 2112.10752), CompVis' v1-inference.yaml; Podell et al. 2023 (arXiv
2307.01952), Stability's sd_xl_base.yaml; under the names of diffusers and transformers. With them
single files load offline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handrefiner_ext.inpaint.control_models import SD1, SDXL

CHANNELS = (320, 640, 1280, 1280)
TEXT_WIDTH = 768
ATTENDING = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)


def _unet() -> dict[str, Any]:
    return {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": CHANNELS,
        "layers_per_block": 2,
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": 8,
        "down_block_types": ATTENDING,
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    }


def _controlnet() -> dict[str, Any]:
    return {
        "in_channels": 4,
        "conditioning_channels": 3,
        "block_out_channels": CHANNELS,
        "layers_per_block": 2,
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": 8,
        "down_block_types": ATTENDING,
        "conditioning_embedding_out_channels": (16, 32, 96, 256),
    }


def _vae() -> dict[str, Any]:
    return {
        "sample_size": 512,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "scaling_factor": 0.18215,
    }


def _text() -> dict[str, Any]:
    """CLIP ViT-L/14's text encoder (Radford et al. 2021)."""
    return {
        "vocab_size": 49408,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 3072,
        "projection_dim": TEXT_WIDTH,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 1,
    }


def _noise() -> dict[str, Any]:
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }


XL = {
    "in_channels": 4,
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
"""Settings that SDXL's UNet and ControlNet share."""


def _text_xl() -> dict[str, Any]:
    """OpenCLIP ViT-bigG/14's text encoder (Ilharco et al. 2021)."""
    return {
        **_text(),
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "projection_dim": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "hidden_act": "gelu",
    }


@dataclass(frozen=True)
class Architecture:
    """Settings of each part; the number of the UNet's input channels is read from the file.

    text_2: those of the second text encoder; None if there is none.
    """

    family: str = SD1
    unet: Mapping[str, Any] = field(default_factory=_unet)
    controlnet: Mapping[str, Any] = field(default_factory=_controlnet)
    vae: Mapping[str, Any] = field(default_factory=_vae)
    text: Mapping[str, Any] = field(default_factory=_text)
    noise: Mapping[str, Any] = field(default_factory=_noise)
    text_2: Mapping[str, Any] | None = None


STABLE_DIFFUSION_1 = Architecture()
STABLE_DIFFUSION_XL = Architecture(
    family=SDXL,
    unet={
        **XL,
        "sample_size": 128,
        "out_channels": 4,
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    },
    controlnet={
        **XL,
        "conditioning_channels": 3,
        "conditioning_embedding_out_channels": (16, 32, 96, 256),
    },
    vae={**_vae(), "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
    text_2=_text_xl(),
)
ARCHITECTURES: Mapping[str, Architecture] = {SD1: STABLE_DIFFUSION_1, SDXL: STABLE_DIFFUSION_XL}
