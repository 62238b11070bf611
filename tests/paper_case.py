"""One small case for the paper's sampling, the same here and in the paper's own code.

Everything follows from names and seeds through numpy alone, so that no version of torch or
diffusers changes it. The ControlNet's picture encoder has the paper's own widths, which its code
does not let one choose.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import torch
from tiny_diffusion import TINY, TinyModels

SIDE, STEPS, STRENGTH, CFG = 512, 10, 0.55, 9.0
"""The paper takes 50 steps, which a test has no time for; the tool measures both."""
LATENT = (1, 4, SIDE // 8, SIDE // 8)
PROMPT, NEGATIVE = "a man making a hand gesture, indoor", "bad hands, missing fingers"
# Attention where it is cheap: over 32 x 32 places, not 64 x 64.
DOWN = {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D")}
UP = {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}
EMBEDDING = {"conditioning_embedding_out_channels": (16, 32, 96, 256)}
ARCHITECTURE = replace(
    TINY, unet={**TINY.unet, **DOWN, **UP}, controlnet={**TINY.controlnet, **DOWN, **EMBEDDING}
)


def make_state(channels: int = 9) -> dict[str, torch.Tensor]:
    """The layout of inpaint_depth_control.ckpt: inpainting UNet, ControlNet, VAE, texts."""
    models = TinyModels(channels, architecture=ARCHITECTURE)
    state = models.original_state() | models.control_state()
    return {name: _fill(name, value) for name, value in state.items()}


def _fill(name: str, value: torch.Tensor) -> torch.Tensor:
    """Weights of the size that keeps numbers in bounds, from the name alone."""
    if not value.is_floating_point():
        return value
    drawn = _draw(name, tuple(value.shape))
    if value.ndim == 1:
        is_norm = "norm" in name or ".in_layers.0." in name or ".out_layers.0." in name
        middle = 1.0 if name.endswith("weight") and is_norm else 0.0
        return middle + 0.05 * drawn
    if "embedding" in name.rpartition(".")[0] and value.ndim == 2 and "cond_stage" in name:
        return 0.1 * drawn
    return drawn / float(np.sqrt(np.prod(value.shape[1:])))


def _draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))


def make_picture() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(512, 512, 3) picture, (512, 512) control image and mask; no edge lies on a latent's."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = [np.sin(rows / 37 + k) + np.cos(columns / 29 - k) for k in range(3)]
    image = np.stack(waves, axis=2) * 60 + 127
    control = np.zeros((SIDE, SIDE), dtype=np.uint8)
    inside = (rows - 260) ** 2 + (columns - 233) ** 2 < 90**2
    control[inside] = (51 + (rows[inside] - 170) * 200 // 180).clip(51, 255).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[139:381, 117:349] = True
    return image.clip(0, 255).astype(np.uint8), control, mask


def make_noises(steps: int = STEPS) -> dict[str, torch.Tensor]:
    """masked, picture: of the two posteriors. initial. steps: (steps, 1, 4, 64, 64)."""
    return {
        "masked": _draw("masked", LATENT),
        "picture": _draw("picture", LATENT),
        "initial": _draw("initial", LATENT),
        "steps": _draw("steps", (steps, *LATENT)),
    }
