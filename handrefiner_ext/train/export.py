"""Writes trained networks under the names that their authors' own code gives them.

The WebUI and its ControlNet extension load such a file; diffusers' converters, which
`inpaint/diffusion/single_file.py` uses, rename the other way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CONTROL = "control_model."
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ALONE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
}
"""Parts that occur once; the key without its last word."""
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
"""Names in the VAE's attention."""


def name_unet_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, weight) of a UNet or ControlNet of diffusers, under the original names."""
    state = model.state_dict()
    layers = int(model.config.layers_per_block)
    attending = {key.split(".")[1] for key in state if re.match(r"up_blocks\.\d\.attentions", key)}
    hints = {key.split(".")[2] for key in state if "controlnet_cond_embedding.blocks." in key}
    alone = {
        **ALONE,
        "controlnet_cond_embedding.conv_out": f"input_hint_block.{2 * len(hints) + 2}",
    }
    for key, weight in state.items():
        stem, _, kind = key.rpartition(".")
        if stem in alone:
            yield f"{alone[stem]}.{kind}", weight
        else:
            yield _name_in_block(key, layers, attending), weight


def _name_in_block(key: str, layers: int, attending: set[str]) -> str:
    """layers: of a block. attending: numbers of the up blocks that have attention."""
    if match := re.match(r"controlnet_down_blocks\.(\d+)\.(.*)", key):
        return f"zero_convs.{match[1]}.0.{match[2]}"
    if match := re.match(r"controlnet_cond_embedding\.blocks\.(\d+)\.(.*)", key):
        return f"input_hint_block.{2 * int(match[1]) + 2}.{match[2]}"
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{_name_leaf(match[1], match[3])}"
    match = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", key)
    assert match is not None, key
    way, block, part, number, leaf = match.groups()
    first = int(block) * (layers + 1) + (way == "down")
    if part == "downsamplers":
        return f"input_blocks.{first + layers}.0.op.{leaf.removeprefix('conv.')}"
    if part == "upsamplers":
        return f"output_blocks.{first + layers}.{1 + (block in attending)}.{leaf}"
    row = "input_blocks" if way == "down" else "output_blocks"
    return f"{row}.{first + int(number)}.{int(part == 'attentions')}.{_name_leaf(part, leaf)}"


def _name_leaf(part: str, leaf: str) -> str:
    name, _, rest = leaf.partition(".")
    return f"{RESNET[name]}.{rest}" if part == "resnets" else leaf


def name_vae_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, weight) of diffusers' AutoencoderKL under the original names."""
    blocks = len(model.config.block_out_channels)
    for key, weight in model.state_dict().items():
        name = _name_vae(key, blocks)
        is_matrix = "attn_1" in name and name.endswith("weight") and ".norm." not in name
        yield name, weight[..., None, None] if is_matrix else weight


def _name_vae(key: str, blocks: int) -> str:
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    key = re.sub(r"up_blocks\.(\d)\.", lambda m: f"up.{blocks - 1 - int(m[1])}.", key)
    key = key.replace("upsamplers.0.", "upsample.")
    key = re.sub(r"(up\.\d)\.resnets\.", r"\1.block.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if "mid_block.attentions.0." in key:
        for ours, theirs in ATTENTION.items():
            key = key.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}.")
    return key.replace("mid_block.attentions.0", "mid.attn_1")


def name_control_weights(controlnet: Any) -> dict[str, torch.Tensor]:
    """Return the weights of a ControlNet as its file has them."""
    return {f"{CONTROL}{name}": weight for name, weight in name_unet_weights(controlnet)}


def name_checkpoint_weights(pipeline: Any) -> dict[str, torch.Tensor]:
    """Return the weights of a Stable Diffusion 1.x pipeline as a checkpoint's file has them."""
    text = {
        f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}": weight
        for key, weight in pipeline.text_encoder.state_dict().items()
        if not key.endswith("position_ids")
    }
    return {
        **{f"model.diffusion_model.{k}": v for k, v in name_unet_weights(pipeline.unet)},
        **{f"first_stage_model.{k}": v for k, v in name_vae_weights(pipeline.vae)},
        **text,
    }


def write_weights(weights: Mapping[str, torch.Tensor], place: Path) -> Path:
    """Write weights as float16 .safetensors; a file of that name is replaced only when all is
    written."""
    import torch
    from safetensors.torch import save_file

    halves = {
        name: (weight.half() if weight.is_floating_point() else weight).contiguous().clone()
        for name, weight in weights.items()
    }
    if any(not torch.isfinite(weight).all() for weight in halves.values()):
        raise OverflowError("a weight is too large for float16")
    partial = place.with_suffix(".part")
    save_file(halves, partial, metadata={"format": "pt"})
    partial.replace(place)
    return place
