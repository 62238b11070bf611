"""CLIP's text encoders from the original weights, and its tokenizer.

The tokenizer is built from the merges that ship with this package (openai/CLIP, MIT). SDXL's second
text encoder has OpenCLIP's names in the original files and is renamed to transformers'.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.inpaint.diffusion.architecture import Architecture
from handrefiner_ext.inpaint.diffusion.single_file import (
    FIRST_WEIGHT,
    TEXT_XL_2,
    TEXTS,
    State,
    has,
    take,
)
from handrefiner_ext.pickles import printable

if TYPE_CHECKING:
    import torch

MERGES = Path(__file__).parents[2] / "assets" / "clip_merges.txt.gz"
END_OF_WORD = "</w>"
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
POSITIONS = "position_ids"
"""The model counts positions itself; old files hold them all the same."""
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
"""Used in training only; not part of the encoder."""
BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.*)")


def read_merges(path: Path = MERGES) -> list[str]:
    """Return the pairs of tokens that are merged, the most frequent first."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [line.rstrip("\n") for line in stream]


def list_letters() -> list[str]:
    """Return one letter for each byte, in CLIP's order: printable bytes first, as themselves.

    The others get letters from code 256 on (Radford et al. 2019, byte-level BPE).
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + others))]


def number_tokens(merges: list[str]) -> dict[str, int]:
    """Number the tokens: letters, letters that end words, merged pairs, the two special ones."""
    letters = list_letters()
    ended = [letter + END_OF_WORD for letter in letters]
    merged = [pair.replace(" ", "") for pair in merges]
    return {token: n for n, token in enumerate((*letters, *ended, *merged, *SPECIAL))}


@lru_cache(maxsize=2)
def build_tokenizer(padding: str = SPECIAL[1]) -> Any:
    """Build transformers' CLIPTokenizer; SDXL's second one pads texts with "!".

    Every checkpoint of a process shares it: it takes a third of a second, and nothing changes it.
    """
    from transformers import CLIPTokenizer

    merges = read_merges()
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, pairs = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps(number_tokens(merges)), encoding="utf-8")
        pairs.write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        return CLIPTokenizer.from_pretrained(
            folder, model_max_length=77, pad_token=padding, local_files_only=True
        )


def build_text_encoder(state: State, architecture: Architecture) -> Any:
    """Build CLIP's text encoder: the only one of Stable Diffusion 1.x, the first of SDXL."""
    from transformers import CLIPTextConfig, CLIPTextModel

    beginning = TEXTS[architecture.family][0]
    part = {key[len(beginning) :]: value for key, value in take(state, beginning).items()}
    model = CLIPTextModel(CLIPTextConfig(**architecture.text)).to(state[FIRST_WEIGHT].dtype)
    return _fill(model, part)


def _fill(model: Any, part: State) -> Any:
    """Load weights under transformers' older names, which begin with `text_model.`."""
    own = model.state_dict()
    nested = has(own, "text_model.")  # transformers 5.6 dropped the prefix
    weights = {
        key if nested else key.removeprefix("text_model."): value
        for key, value in part.items()
        if not key.endswith(POSITIONS)
    }
    counted = {key: value for key, value in own.items() if key.endswith(POSITIONS)}
    try:
        model.load_state_dict({**counted, **weights}, strict=True)
    except RuntimeError as error:
        reason = printable(" ".join(str(error).split()), 300)
        raise WeightsError(f"The weights do not fit CLIP's text encoder: {reason}") from error
    return model.eval()


def build_second_text_encoder(state: State, architecture: Architecture) -> Any:
    """Build SDXL's OpenCLIP text encoder."""
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
    return _fill(model.to(state[FIRST_WEIGHT].dtype), renamed)


def _rename(key: str, value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield transformers' keys and values for one of OpenCLIP's."""
    if key in OUTSIDE:
        yield OUTSIDE[key], value
    elif key == "text_projection":
        yield "text_projection.weight", value.T.contiguous()
    elif match := BLOCK.fullmatch(key):
        yield from _rename_inside(f"text_model.encoder.layers.{match[1]}", match[2], value)
    else:
        raise WeightsError(f"The text encoder has an unknown weight, {printable(key)}.")


def _rename_inside(layer: str, key: str, value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Rename within a layer; OpenCLIP keeps queries, keys and values in one matrix."""
    if key in ("attn.in_proj_weight", "attn.in_proj_bias"):
        for name, third in zip("qkv", value.chunk(3), strict=True):
            yield f"{layer}.self_attn.{name}_proj.{key.removeprefix('attn.in_proj_')}", third
        return
    stem, _, kind = key.rpartition(".")
    if stem not in INSIDE:
        raise WeightsError(f"The text encoder has an unknown weight, {layer}, {printable(key)}.")
    yield f"{layer}.{INSIDE[stem]}.{kind}", value
