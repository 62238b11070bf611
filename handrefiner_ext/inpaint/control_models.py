"""ControlNet models by their names: whose family they are, which suits best, at what strength."""

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
"""Pixels at which a family paints best."""
RANKING = {
    SD1: (r"sd15_inpaint_depth_hand", r"control_v11f1p_sd15_depth", r"control.*depth", r"depth"),
    SDXL: (r"depth_hand|hand_depth", r"^(?!.*t2i).*depth", r"depth", r"union"),
}
"""Patterns of model names, best first."""
RECOMMENDED = ((r"depth_hand|hand_depth", 0.55), (r"union", 0.7), (r"", 0.6))
"""Pattern of a name -> strength that suits it; the first that fits counts."""


def model_family(name: str) -> str | None:
    """The family that a ControlNet model's name tells; None where it tells none."""
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
    """The best of the models so named for a checkpoint of `family`; None where none fits."""
    fitting = [name for name in names if model_family(name) == family]
    for pattern in RANKING[family]:
        found = sorted(name for name in fitting if re.search(pattern, name.lower()))
        if found:
            return found[0]
    return None


def recommend_strength(name: str) -> float:
    """For a model of that name."""
    return next(value for pattern, value in RECOMMENDED if re.search(pattern, name.lower()))
