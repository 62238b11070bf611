"""ControlNet models by name: their family, the best one for a checkpoint, its strength."""

from __future__ import annotations

import re
from collections.abc import Iterable

SD1, SDXL = "sd1", "sdxl"
FAMILY_NAMES = {
    SD1: "Stable Diffusion 1.x",
    SDXL: "SDXL",
    "sd2": "Stable Diffusion 2",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
    "other": "of an unknown kind",
}
NATIVE_SIDE = {SD1: 512, SDXL: 1024}
"""Side in pixels at which a family paints best."""
RANKING = {
    SD1: (r"sd15_inpaint_depth_hand", r"control_v11f1p_sd15_depth", r"control.*depth", r"depth"),
    SDXL: (r"depth_hand|hand_depth", r"^(?!.*t2i).*depth", r"depth", r"union"),
}
"""Patterns of model names, best first."""
SUITABLE_STRENGTHS = ((r"depth_hand|hand_depth", 0.55), (r"union", 0.7), (r"", 0.6))
"""Patterns of model names and the strength that suits each; the first match counts."""


def model_family(name: str) -> str | None:
    """Return the family that a ControlNet model's name shows; None if it shows none."""
    word = name.lower().split(" [")[0]
    if "flux" in word:
        return "flux"
    if "sd3" in word:
        return "sd3"
    if "xl" in word:
        return SDXL
    if re.search(r"sd-?v?2|v2-1|2\.1", word):
        return "sd2"
    return SD1 if re.search(r"sd-?v?1|sd14|sd15|sd16|v1-5|1\.5", word) else None


def choose_control(names: Iterable[str], family: str) -> str | None:
    """Return the best of the models `names` for a checkpoint of `family`; None if none fits."""
    fitting = [name for name in names if model_family(name) == family]
    for pattern in RANKING[family]:
        found = sorted(name for name in fitting if re.search(pattern, name.lower()))
        if found:
            return found[0]
    return None


def recommend_strength(name: str) -> float:
    """Return the strength that suits the ControlNet model `name`."""
    return next(value for pattern, value in SUITABLE_STRENGTHS if re.search(pattern, name.lower()))
