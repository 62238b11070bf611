"""Make docs/images/before_depth_after.png: this project's own run on its example picture.

    python tools/make_readme_picture.py

From left to right: the picture as it was drawn, the control image with the depth of the fitted
hand, and the picture that `refine` gives back, each with the default parameters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import ModelHome

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "examples" / "badly_drawn_hand.png"
TARGET = ROOT / "docs" / "images" / "before_depth_after.png"
PANEL_PX, GAP_PX = 400, 8


def shrink(panel: np.ndarray) -> np.ndarray:
    side = (PANEL_PX, round(PANEL_PX * panel.shape[0] / panel.shape[1]))
    return np.asarray(Image.fromarray(panel).resize(side, Image.Resampling.LANCZOS))


def main() -> None:
    picture = np.asarray(Image.open(SOURCE).convert("RGB"))
    params = RefineParams()
    result = refine(picture, params, build_stages(params, ModelHome()))
    if result.image is picture:
        raise SystemExit(f"Nothing was repainted in {SOURCE}; was it drawn well?")
    control = np.repeat(result.hints.maps.control[..., None], 3, axis=2)
    panels = [shrink(panel) for panel in (picture, control, result.image)]
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, dtype=np.uint8)
    row = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(row).save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
