"""The numbers of Stable Diffusion 1.x, as its authors published them with the weights.

Rombach et al. 2022 (arXiv 2112.10752), CompVis' v1-inference.yaml; in the words of diffusers and
transformers, so that single files need no hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True)
class Architecture:
    """Settings of each part; the channels that the UNet takes are those of the file."""

    unet: Mapping[str, Any] = field(default_factory=_unet)
    controlnet: Mapping[str, Any] = field(default_factory=_controlnet)
    vae: Mapping[str, Any] = field(default_factory=_vae)
    text: Mapping[str, Any] = field(default_factory=_text)
    noise: Mapping[str, Any] = field(default_factory=_noise)


STABLE_DIFFUSION_1 = Architecture()
