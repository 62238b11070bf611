"""Pictures: flattening, resizing and saving (images.py:252-340, 624-775, 841-850)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

saved: list[tuple[str, Image.Image]] = []
"""(suffix, picture) of everything that was saved."""


def flatten(img: Image.Image, bgcolor: str) -> Image.Image:
    """Return the picture as RGB, with this colour where it is transparent."""
    if img.mode == "RGBA":
        background = Image.new("RGBA", img.size, bgcolor)
        img = Image.alpha_composite(background, img)
    return img.convert("RGB")


def resize_image(resize_mode: int, im: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture stretched to a size; the stand-in knows mode 0 alone."""
    if resize_mode != 0:
        raise NotImplementedError(f"resize mode {resize_mode}")
    return im.resize((width, height), Image.Resampling.LANCZOS)


def save_image(
    image: Image.Image,
    path: str,
    basename: str,
    seed: int | None = None,
    prompt: str | None = None,
    extension: str = "png",
    info: str | None = None,
    *,
    p: Any = None,
    suffix: str = "",
) -> tuple[str, None]:
    """Save a picture under a number, the seed and the suffix; return its path."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob(f"*.{extension}")))
    target = folder / f"{basename}{number:05}-{seed}{suffix}.{extension}"
    text = PngInfo()
    if info is not None:
        text.add_text("parameters", info)
    image.save(target, pnginfo=text)
    image.already_saved_as = str(target)  # type: ignore[attr-defined]
    saved.append((suffix, image))
    return str(target), None
