"""The WebUI's text of a picture: what it was made with, and our entries in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modules.infotext_utils import parse_generation_parameters, quote

from handrefiner_ext.host.patches import options
from handrefiner_ext.infotext import MARK

ENTRY = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""A key and its value, as the WebUI reads them (infotext_utils.py:16)."""
FEWEST = 3
"""Entries from which on the WebUI takes a text's last line for parameters."""


@dataclass(frozen=True)
class Generation:
    """What a picture's second pass takes from the picture; None where its text does not say."""

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    subseed: int = 0
    subseed_strength: float = 0.0
    steps: int | None = None
    cfg_scale: float | None = None
    sampler_name: str | None = None
    scheduler: str | None = None


def read_generation(text: str) -> Generation:
    """Return what a picture's text says; the defaults for a picture without one."""
    if not text.strip():
        return Generation()
    with options({"infotext_styles": "Ignore"}):  # else styles are taken out of the prompt
        said: Mapping[str, Any] = parse_generation_parameters(text, [])
    seed = _number(said, "Seed", 0)
    return Generation(
        prompt=str(said.get("Prompt", "")),
        negative_prompt=str(said.get("Negative prompt", "")),
        seed=int(seed),
        subseed=int(_number(said, "Variation seed", seed)),
        subseed_strength=_number(said, "Variation seed strength", 0.0),
        steps=int(_number(said, "Steps", 0)) or None,
        cfg_scale=_number(said, "CFG scale", 0.0) or None,
        sampler_name=said.get("Sampler"),
        scheduler=said.get("Schedule type"),
    )


def _number(said: Mapping[str, Any], name: str, default: float) -> float:
    try:
        return float(said.get(name, default))
    except ValueError:
        return default


def replace_entry(text: str, key: str, value: str) -> str:
    """Return a picture's text with another value of one entry, where it has that entry."""
    head, line, last = text.rpartition("\n")

    def write(entry: re.Match[str]) -> str:
        if entry[1] != key:
            return entry[0]
        begin, end = entry.start(1) - entry.start(), entry.end(2) - entry.start()
        return f"{entry[0][:begin]}{key}: {quote(value)}{entry[0][end:]}"

    return head + line + ENTRY.sub(write, last)


VERSION = ", Version: "


def add_to_text(text: str, entries: Mapping[str, str]) -> str:
    """Return a picture's text with our entries, in place of those of an earlier run."""
    *lines, last = text.strip().split("\n")
    ours = [f"{key}: {quote(value)}" for key, value in entries.items()]
    if len(ENTRY.findall(last)) < FEWEST:  # no parameters yet
        return "\n".join([*(line for line in (*lines, last) if line), ", ".join(ours)])
    kept = ENTRY.sub(lambda entry: "" if entry[1].startswith(MARK) else entry[0], last)
    # The WebUI writes its own version behind what extensions add.
    before, comma, version = kept.strip().rstrip(",").partition(VERSION)
    return "\n".join([*lines, ", ".join([before, *ours]) + comma + version])
