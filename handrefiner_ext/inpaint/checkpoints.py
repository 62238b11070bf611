"""What the name of a checkpoint says: which family of SDXL it is of, and whether few steps do.

Nothing in the weights says so: distilled checkpoints have the shape of what they were made from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from handrefiner_ext.params import RefineParams

FEW_STEPS: Mapping[str, str] = {
    "LCM": r"(?<![a-z])lcm(?![a-z])",
    "Lightning": r"lightning",
    "Turbo": r"turbo",
    "Hyper": r"hyper(?=[ _-]?sd|vae|xl|[^a-z]|$)",
    "DMD2": r"(?<![a-z])dmd2?(?![a-z])",
}
"""Ways to distil a checkpoint, or a LoRA, to 1 to 8 steps without guidance."""
FAMILIES: Mapping[str, str] = {
    "Pony": r"pony",
    "Illustrious": r"illustrious|noob",
    "Animagine": r"animagine",
}
"""Finetunings of SDXL from which most others of drawn pictures descend."""
LORA = re.compile(r"<(?:lora|lyco|lycoris):([^:>]+)", re.IGNORECASE)
USUAL = "20 to 30 steps and a CFG scale of 5 to 7"
FEW = "4 to 8 steps and a CFG scale of 1 to 2"


def find_family(name: str) -> str | None:
    """Return the family of SDXL that a checkpoint's name shows; None if it shows none."""
    return _first(FAMILIES, name)


def find_few_steps(name: str, prompt: str = "") -> str | None:
    """Return how a checkpoint, or a LoRA of the prompt, was made fast; None for ordinary ones."""
    names = (name, *LORA.findall(prompt))
    return next((kind for each in names if (kind := _first(FEW_STEPS, each))), None)


def _first(patterns: Mapping[str, str], name: str) -> str | None:
    found = (kind for kind, pattern in patterns.items() if re.search(pattern, name.lower()))
    return next(found, None)


@dataclass(frozen=True)
class Engine:
    """What paints: a checkpoint, with the LoRAs that a prompt names."""

    name: str
    prompt: str = ""

    @property
    def few_steps(self) -> str | None:
        return find_few_steps(self.name, self.prompt)


def warn_of_pace(picture: Engine, hands: Engine, params: RefineParams) -> str | None:
    """Return what to set where the picture's steps and CFG scale do not suit what paints the hands.

    None where both are alike, or where steps and CFG scale of the hands are set.
    """
    of_picture, of_hands = picture.few_steps, hands.few_steps
    if bool(of_picture) == bool(of_hands) or (params.steps and params.cfg_scale):
        return None
    if of_hands:
        who = f"the hands are painted with {of_hands}, which needs {FEW}"
        why = "the picture's are not meant for it"
    else:
        who = f"the picture is painted with {of_picture} in few steps, the hands are not"
        why = f"they need {USUAL}"
    return f"Set Steps and CFG scale in Advanced, Painting: {who}, and {why}."
