"""Stable Diffusion with tiny random weights, as diffusers' folders and as original files."""

from __future__ import annotations

import re

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from diffusers import StableDiffusionInpaintPipeline as InpaintPipeline
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from handrefiner_ext.inpaint.diffusion.architecture import STABLE_DIFFUSION_1, Architecture
from handrefiner_ext.inpaint.diffusion.text import build_tokenizer

LAYERS, VAE_BLOCKS, TEXT_WIDTH = 1, 4, 32
BLOCKS = {"block_out_channels": (32, 64), "layers_per_block": LAYERS, "attention_head_dim": 4}
DOWN = ("CrossAttnDownBlock2D", "DownBlock2D")
TINY = Architecture(
    unet={
        **STABLE_DIFFUSION_1.unet,
        **BLOCKS,
        "cross_attention_dim": TEXT_WIDTH,
        "down_block_types": DOWN,
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
    controlnet={
        **STABLE_DIFFUSION_1.controlnet,
        **BLOCKS,
        "cross_attention_dim": TEXT_WIDTH,
        "down_block_types": DOWN,
        "conditioning_embedding_out_channels": (8, 8, 16, 16),
    },
    vae={
        **STABLE_DIFFUSION_1.vae,
        "block_out_channels": (32,) * VAE_BLOCKS,
        "layers_per_block": 1,
    },
    text={
        **STABLE_DIFFUSION_1.text,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 37,
        "projection_dim": TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
)


class TinyModels:
    """Every part with random weights of one seed; the ControlNet's zero convolutions are not 0."""

    def __init__(self, channels: int, seed: int = 1, architecture: Architecture = TINY) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.unet = UNet2DConditionModel.from_config(
                {**architecture.unet, "in_channels": channels}
            )
            self.vae = AutoencoderKL.from_config(dict(architecture.vae))
            self.text = CLIPTextModel(CLIPTextConfig(**architecture.text))
            self.control = ControlNetModel.from_config(dict(architecture.controlnet))
            for name, weight in self.control.named_parameters():
                if name.startswith(("controlnet_down", "controlnet_mid")):
                    torch.nn.init.normal_(weight, std=0.3)

    def plain_pipeline(self) -> InpaintPipeline:
        """Without any ControlNet."""
        return InpaintPipeline(
            vae=self.vae,
            text_encoder=self.text,
            tokenizer=build_tokenizer(),
            unet=self.unet,
            scheduler=DDIMScheduler(**TINY.noise),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    def save_folder(self, folder):
        self.plain_pipeline().save_pretrained(folder)
        return folder

    def save_control_folder(self, folder):
        self.control.save_pretrained(folder)
        return folder

    def original_state(self) -> dict[str, torch.Tensor]:
        """Under the names that the authors' own code gives them."""
        text = {
            "cond_stage_model.transformer.text_model." + key.removeprefix("text_model."): value
            for key, value in self.text.state_dict().items()
        }
        return {
            **{f"model.diffusion_model.{k}": v for k, v in rename_unet(self.unet)},
            **{f"first_stage_model.{k}": v for k, v in rename_vae(self.vae)},
            **text,
            "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[
                None
            ],
        }

    def control_state(self) -> dict[str, torch.Tensor]:
        return {f"control_model.{k}": v for k, v in rename_unet(self.control)}

    def save_safetensors(self, place):
        save_file({k: v.contiguous().clone() for k, v in self.original_state().items()}, place)
        return place

    def save_control_safetensors(self, place):
        save_file({k: v.contiguous().clone() for k, v in self.control_state().items()}, place)
        return place


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
SINGLE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}


def rename_unet(model):
    state = model.state_dict()
    attending = {key.split(".")[1] for key in state if re.match(r"up_blocks\.\d\.attentions", key)}
    for key, value in state.items():
        yield _unet_name(key, attending), value


def _unet_name(key: str, attending: set[str]) -> str:
    """attending: numbers of the up blocks with attention."""
    stem, _, kind = key.rpartition(".")
    if stem in SINGLE:
        return f"{SINGLE[stem]}.{kind}"
    if match := re.match(r"controlnet_down_blocks\.(\d+)\.", key):
        return f"zero_convs.{match[1]}.0.{kind}"
    if match := re.match(r"controlnet_cond_embedding\.blocks\.(\d+)\.", key):
        return f"input_hint_block.{2 * (int(match[1]) + 1)}.{kind}"
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{_leaf(match[1], match[3])}"
    match = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", key)
    side, block, kind_of_part, number, leaf = match.groups()
    first = int(block) * (LAYERS + 1) + (side == "down")
    if kind_of_part == "downsamplers":
        return f"input_blocks.{first + LAYERS}.0.op.{leaf.removeprefix('conv.')}"
    if kind_of_part == "upsamplers":
        return f"output_blocks.{first + LAYERS}.{1 + (block in attending)}.{leaf}"
    row = "input_blocks" if side == "down" else "output_blocks"
    column = 1 if kind_of_part == "attentions" else 0
    return f"{row}.{first + int(number)}.{column}.{_leaf(kind_of_part, leaf)}"


def _leaf(part: str, leaf: str) -> str:
    name, _, rest = leaf.partition(".")
    return f"{RESNET[name]}.{rest}" if part == "resnets" else leaf


ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def rename_vae(model):
    for key, value in model.state_dict().items():
        name = _vae_name(key)
        is_matrix = "attn_1" in name and name.endswith("weight") and ".norm." not in name
        yield name, value[..., None, None] if is_matrix else value


def _vae_name(key: str) -> str:
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    key = re.sub(r"up_blocks\.(\d)\.", lambda m: f"up.{VAE_BLOCKS - 1 - int(m[1])}.", key)
    key = key.replace("upsamplers.0.", "upsample.")
    key = re.sub(r"(up\.\d)\.resnets\.", r"\1.block.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if "mid_block.attentions.0." in key:
        for ours, theirs in ATTENTION.items():
            key = key.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}.")
    return key.replace("mid_block.attentions.0", "mid.attn_1")
