"""CLIP's tokenizer from the merges that ship with this package (openai/CLIP, MIT)."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

MERGES = Path(__file__).parents[2] / "assets" / "clip_merges.txt.gz"
END_OF_WORD = "</w>"
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def read_merges(path: Path = MERGES) -> list[str]:
    """Pairs of tokens that become one, the most frequent first."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [line.rstrip("\n") for line in stream]


def list_letters() -> list[str]:
    """A letter for each byte in CLIP's order: printable ones first, as themselves.

    The others get letters from 256 on (Radford et al. 2019, byte-level BPE).
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + others))]


def number_tokens(merges: list[str]) -> dict[str, int]:
    """Token -> its number: letters, letters that end words, merged ones, the two special ones."""
    letters = list_letters()
    ended = [letter + END_OF_WORD for letter in letters]
    merged = [pair.replace(" ", "") for pair in merges]
    return {token: n for n, token in enumerate((*letters, *ended, *merged, *SPECIAL))}


def build_tokenizer(padding: str = SPECIAL[1]) -> Any:
    """transformers' CLIPTokenizer; padding: the token after the text, SDXL's second one has "!"."""
    from transformers import CLIPTokenizer

    merges = read_merges()
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, pairs = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps(number_tokens(merges)), encoding="utf-8")
        pairs.write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        return CLIPTokenizer.from_pretrained(
            folder, model_max_length=77, pad_token=padding, local_files_only=True
        )
