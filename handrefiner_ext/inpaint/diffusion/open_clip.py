"""SDXL's second text encoder from its original weights (OpenCLIP's names) to transformers'."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.inpaint.diffusion.architecture import Architecture
from handrefiner_ext.inpaint.diffusion.single_file import (
    FIRST_WEIGHT,
    TEXT_XL_2,
    State,
    fill_text_encoder,
    take,
)

if TYPE_CHECKING:
    import torch

OUTSIDE = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
INSIDE = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
TEMPERATURE = "logit_scale"
"""Of training; no part of the encoder."""
BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.*)")


def build_second_text_encoder(state: State, architecture: Architecture) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    assert architecture.text_2 is not None
    model = CLIPTextModelWithProjection(CLIPTextConfig(**architecture.text_2))
    part = take(state, TEXT_XL_2)
    renamed = dict(
        pair
        for key, value in part.items()
        if not key.endswith(TEMPERATURE)
        for pair in _rename(key[len(TEXT_XL_2) :], value)
    )
    return fill_text_encoder(model.to(state[FIRST_WEIGHT].dtype), renamed)


def _rename(key: str, value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """transformers' keys and values for one of OpenCLIP's."""
    if key in OUTSIDE:
        yield OUTSIDE[key], value
    elif key == "text_projection":
        yield "text_projection.weight", value.T.contiguous()
    elif match := BLOCK.fullmatch(key):
        yield from _rename_inside(f"text_model.encoder.layers.{match[1]}", match[2], value)
    else:
        raise WeightsError(f"The text encoder has a weight that is unknown: {key}.")


def _rename_inside(layer: str, key: str, value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Queries, keys and values lie in one matrix there, in three here."""
    if key in ("attn.in_proj_weight", "attn.in_proj_bias"):
        for name, third in zip("qkv", value.chunk(3), strict=True):
            yield f"{layer}.self_attn.{name}_proj.{key.removeprefix('attn.in_proj_')}", third
        return
    stem, _, kind = key.rpartition(".")
    if stem not in INSIDE:
        raise WeightsError(f"The text encoder has a weight that is unknown: {layer}, {key}.")
    yield f"{layer}.{INSIDE[stem]}.{kind}", value
