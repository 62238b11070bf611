"""SDXL with tiny random weights, as original files and as diffusers' folders."""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    DDIMScheduler,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from tiny_diffusion import TINY, rename_unet, rename_vae
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from handrefiner_ext.inpaint.diffusion.architecture import STABLE_DIFFUSION_XL
from handrefiner_ext.inpaint.diffusion.text import build_tokenizer

TEXT_2 = 48
BLOCKS = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "attention_head_dim": (4, 8),
    "transformer_layers_per_block": (1, 2),
    "cross_attention_dim": TINY.text["hidden_size"] + TEXT_2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + TEXT_2,
}
TINY_XL = replace(
    STABLE_DIFFUSION_XL,
    unet={
        **STABLE_DIFFUSION_XL.unet,
        **BLOCKS,
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    },
    controlnet={
        **STABLE_DIFFUSION_XL.controlnet,
        **BLOCKS,
        "conditioning_embedding_out_channels": (8, 8, 16, 16),
    },
    vae={**STABLE_DIFFUSION_XL.vae, **{k: TINY.vae[k] for k in ("layers_per_block",)}}
    | {"block_out_channels": TINY.vae["block_out_channels"]},
    text=TINY.text,
    text_2={
        **STABLE_DIFFUSION_XL.text_2,
        "hidden_size": TEXT_2,
        "intermediate_size": 53,
        "projection_dim": TEXT_2,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
)
INSIDE = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


class TinyXl:
    """Every part with random weights of one seed; the ControlNets' zero convolutions are not 0."""

    def __init__(self, channels: int, seed: int = 3) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            unet = {**TINY_XL.unet, "in_channels": channels}
            self.unet = UNet2DConditionModel.from_config(unet)
            self.vae = AutoencoderKL.from_config(dict(TINY_XL.vae))
            self.text = CLIPTextModel(CLIPTextConfig(**TINY_XL.text))
            self.text_2 = CLIPTextModelWithProjection(CLIPTextConfig(**TINY_XL.text_2))
            self.depth = ControlNetModel.from_config(dict(TINY_XL.controlnet))
            self.union = ControlNetUnionModel.from_config(
                {**TINY_XL.controlnet, "num_trans_channel": 32, "num_proj_channel": 32}
            )
            for control in (self.depth, self.union):
                for name, weight in control.named_parameters():
                    if name.startswith(("controlnet_down", "controlnet_mid")):
                        torch.nn.init.normal_(weight, std=0.3)

    def plain_pipeline(self) -> StableDiffusionXLInpaintPipeline:
        """Without any ControlNet."""
        return StableDiffusionXLInpaintPipeline(
            vae=self.vae,
            text_encoder=self.text,
            text_encoder_2=self.text_2,
            tokenizer=build_tokenizer(),
            tokenizer_2=build_tokenizer(padding="!"),
            unet=self.unet,
            scheduler=DDIMScheduler(**TINY_XL.noise),
            add_watermarker=False,
        )

    def save_folder(self, folder):
        self.plain_pipeline().save_pretrained(folder)
        return folder

    def save_safetensors(self, place):
        return _save(self.original_state(), place)

    def original_state(self) -> dict[str, torch.Tensor]:
        """Under the names that Stability's own code gives them."""
        first = "conditioner.embedders.0.transformer.text_model."
        second = "conditioner.embedders.1.model."
        return {
            **{f"model.diffusion_model.{k}": v for k, v in rename_unet(self.unet)},
            **{f"first_stage_model.{k}": v for k, v in rename_vae(self.vae)},
            **{first + k.removeprefix("text_model."): v for k, v in self.text.state_dict().items()},
            **{second + k: v for k, v in _rename_open_clip(self.text_2.state_dict())},
            f"{second}logit_scale": torch.tensor(4.6),
            f"{first}embeddings.position_ids": torch.arange(77)[None],
        }

    def save_depth(self, place):
        """As diffusers names it, which SDXL's ControlNets mostly are."""
        return _save(self.depth.state_dict(), place)

    def save_original_depth(self, place):
        return _save({f"control_model.{k}": v for k, v in rename_unet(self.depth)}, place)

    def save_union(self, place):
        return _save(self.union.state_dict(), place)


def _save(state, place):
    save_file({k: v.contiguous().clone() for k, v in state.items()}, place)
    return place


def _rename_open_clip(state):
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        key = key.removeprefix("text_model.")
        if key.startswith("encoder.layers."):
            number, _, rest = key.removeprefix("encoder.layers.").partition(".")
            layers.setdefault(number, {})[rest] = value
        elif key == "text_projection.weight":
            yield "text_projection", value.T
        elif key == "embeddings.position_embedding.weight":
            yield "positional_embedding", value
        elif key == "embeddings.token_embedding.weight":
            yield "token_embedding.weight", value
        elif not key.endswith("position_ids"):
            yield key.replace("final_layer_norm", "ln_final"), value
    for number, parts in layers.items():
        start = f"transformer.resblocks.{number}"
        for kind in ("weight", "bias"):
            joined = [parts.pop(f"self_attn.{name}_proj.{kind}") for name in "qkv"]
            yield f"{start}.attn.in_proj_{kind}", torch.cat(joined)
        for key, value in parts.items():
            stem, _, kind = key.rpartition(".")
            yield f"{start}.{INSIDE[stem]}.{kind}", value
