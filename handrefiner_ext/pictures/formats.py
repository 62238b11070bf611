"""Writing a picture in the format that its name says: PNG, JPEG or WebP.

Metadata goes where the programs that made it look for it. The WebUI reads its parameters from a
text of a PNG and from the user comment in the EXIF of JPEG and WebP; ComfyUI reads prompt and
workflow from texts of a PNG and from "prompt:…" and "workflow:…" in the EXIF of a WebP.
"""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL import JpegImagePlugin

from handrefiner_ext.errors import PictureError
from handrefiner_ext.pictures.decode import PARAMETERS
from handrefiner_ext.pictures.metadata import (
    EXIF_DIRECTORY,
    EXIF_PREFIX,
    USER_COMMENT,
    Chunk,
    list_exif_texts,
    read_resolution,
    read_text,
    read_user_comment,
)
from handrefiner_ext.pictures.picture import Picture, encode_picture, repaint
from handrefiner_ext.types import Image

log = logging.getLogger(__name__)
PNG, JPEG, WEBP = "PNG", "JPEG", "WEBP"
FORMAT_OF = {".png": PNG, ".webp": WEBP} | dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), JPEG)
"""Suffix -> format."""
STARTS = {JPEG: b"\xff\xd8\xff", WEBP: b"RIFF"}
QUALITY = 95
"""Of JPEG and lossy WebP where nothing says otherwise."""
MOST_DPI = 65535
"""Pixels per inch that a JPEG can say."""
LARGEST_EXIF = 65533 - len(EXIF_PREFIX)
"""Bytes in a segment of a JPEG."""
COMFY_PROMPT, COMFY_OTHERS = 0x0110, 0x010F
"""EXIF entries in which ComfyUI writes its prompt and, counting down, what else there is."""
COMFY_TEXTS = ("prompt", "workflow")


def encode_as(picture: Picture, image: Image, suffix: str, quality: int | None = None) -> bytes:
    """Return `picture` with the pixels of `image` in the format of a suffix such as ".jpg".

    An unchanged picture that was loaded from this format is copied. A JPEG is written with the
    tables of the JPEG that was loaded, unless `quality` (1 to 100) is given; a WebP is lossless
    where the loaded one was. PictureError for a format that is not written or has no transparency.
    """
    kind = FORMAT_OF.get(suffix.lower())
    if kind is None:
        raise PictureError(
            f"Pictures cannot be written as {suffix!r}; use {', '.join(sorted(FORMAT_OF))}."
        )
    if kind == PNG:
        return encode_picture(picture, image)
    original = picture.original or b""
    if image is picture.image and quality is None and original.startswith(STARTS[kind]):
        return original
    if kind == JPEG and picture.pixels.shape[2] in (2, 4):
        raise PictureError("A JPEG cannot hold this picture's transparency; use PNG or WebP.")
    pixels = repaint(picture, image)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if kind == WEBP and pixels.shape[2] == 2:
        pixels = np.concatenate([pixels[..., :1].repeat(3, axis=2), pixels[..., 1:]], axis=2)
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    options = (
        _describe_jpeg(original, quality) if kind == JPEG else _describe_webp(original, quality)
    )
    buffer = io.BytesIO()
    made = PillowImage.fromarray(np.ascontiguousarray(flat))
    made.save(buffer, kind, **options, **_describe_metadata(picture.metadata, kind))
    return buffer.getvalue()


def encode_thumbnail(image: Image) -> bytes:
    """Return a small picture, (H, W, 3), as a JPEG that takes little room."""
    buffer = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(image)).save(buffer, JPEG, quality=72)
    return buffer.getvalue()


def _describe_jpeg(original: bytes, quality: int | None) -> dict[str, Any]:
    """Return how to compress: as the JPEG that was loaded, if it was one."""
    if quality is not None or not original.startswith(STARTS[JPEG]):
        return {"quality": quality or QUALITY, "subsampling": 0}
    with PillowImage.open(io.BytesIO(original), formats=(JPEG,)) as opened:
        assert isinstance(opened, JpegImagePlugin.JpegImageFile)
        if opened.mode not in ("L", "RGB"):  # CMYK has tables for four channels
            return {"quality": QUALITY}
        sampling = JpegImagePlugin.get_sampling(opened)
        options: dict[str, Any] = {"qtables": opened.quantization}
        return options | ({"subsampling": sampling} if sampling >= 0 else {})


def _describe_webp(original: bytes, quality: int | None) -> dict[str, Any]:
    if quality is not None:
        return {"quality": quality, "exact": True}
    lossless = original.startswith(STARTS[WEBP]) and b"VP8L" in original[:64]
    return {"quality": QUALITY, "lossless": lossless, "exact": True}


def _describe_metadata(chunks: tuple[Chunk, ...], kind: str) -> dict[str, Any]:
    said: dict[str, Any] = {}
    texts = {c.keyword: read_text(c) for c in chunks if c.keyword is not None}
    exif = next((c.body for c in chunks if c.kind == b"eXIf"), b"")
    exif = add_texts(exif, {key: text for key, text in texts.items() if text is not None}, kind)
    if exif:
        said["exif"] = EXIF_PREFIX + exif
    profile = next((c.body for c in chunks if c.kind == b"iCCP"), None)
    if profile is not None:
        said["icc_profile"] = zlib.decompress(profile.partition(b"\0")[2][1:])
    if kind == JPEG and texts.get("Comment"):
        said["comment"] = texts["Comment"]
    sizes = next((c for c in chunks if c.kind == b"pHYs"), None)
    resolution = None if sizes is None else read_resolution(sizes)
    if kind == JPEG and resolution is not None and max(resolution) <= MOST_DPI:
        said["dpi"] = tuple(round(per_inch) for per_inch in resolution)
    return said


def add_texts(exif: bytes, texts: Mapping[str, str], kind: str) -> bytes:
    """Return EXIF with the WebUI's and ComfyUI's texts where these programs read them."""
    present = dict(text.partition(":")[::2] for text in list_exif_texts(exif))
    wanted = {key: texts[key] for key in COMFY_TEXTS if key in texts and key not in present}
    parameters = texts.get(PARAMETERS)
    if read_user_comment(exif):
        parameters = None
    if not wanted and parameters is None:
        return exif
    made = PillowImage.Exif()
    if exif:
        made.load(EXIF_PREFIX + exif)
    if parameters is not None:
        comment = b"UNICODE\0" + parameters.encode("utf-16-be", "replace")
        made.get_ifd(EXIF_DIRECTORY)[USER_COMMENT] = comment
    tag = COMFY_OTHERS
    for key, text in wanted.items():
        value = f"{key}:{text}".encode()
        if key == "prompt":
            made[COMFY_PROMPT] = value
        else:
            made[tag] = value
            tag -= 1
    body: bytes = made.tobytes().removeprefix(EXIF_PREFIX)
    if kind == JPEG and len(body) > LARGEST_EXIF:
        log.warning("The prompt does not fit into a JPEG and is left out; use PNG or WebP.")
        return exif if len(exif) <= LARGEST_EXIF else b""
    return body
