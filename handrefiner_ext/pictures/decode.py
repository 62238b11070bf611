"""Decode a picture file: its own pixels and its metadata."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageCms, UnidentifiedImageError, features

from handrefiner_ext.errors import PictureError, how_to_install
from handrefiner_ext.pictures.metadata import (
    DECODING,
    EXIF_PREFIX,
    METADATA,
    SIGNATURE,
    Chunk,
    join_png,
    list_exif_texts,
    profile_chunk,
    read_user_comment,
    resolution_chunk,
    split_png,
    text_chunk,
)

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
)
NEEDS = {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".avif": "AVIF", ".jxl": "JXL"}
"""Suffixes of formats that may need another package (AVIF only before Pillow 11.3)."""
EXTRAS = {"HEIF": "heif", "AVIF": "heif", "JXL": "jxl"}
"""Format -> the extra that reads it."""
OTHERS = frozenset(
    {
        *(".jp2", ".j2k", ".jpx", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".psd", ".xcf", ".kra"),
        *(".exr", ".hdr", ".dds", ".ico", ".icns", ".svg", ".pcx", ".qoi", ".dng", ".cr2", ".cr3"),
        *(".nef", ".arw", ".orf", ".rw2", ".raf"),
    }
)
"""Pictures in formats that are not read."""
JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
MAX_PIXELS = 100_000_000
BAND = 256
"""Rows of a picture that are handed over at a time."""
KEYWORD = re.compile(r"[ -~]{1,79}")
COMFY = re.compile(r"(prompt|workflow):([\[{].*)", re.DOTALL)
"""How ComfyUI writes its texts into the EXIF of a WebP."""
OUR_COMMENT = b"handrefiner {"
"""The mark of an output (`files.marks`), which says nothing about the picture."""
PARAMETERS = "parameters"
"""Keyword under which the WebUI keeps a picture's generation parameters."""
DEEP_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
FIRST_FRAME = "Only the first frame is used."
# What Pillow's decoders raise on broken files, besides OSError.
DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError),
    *(RuntimeError, struct.error, zlib.error),
)

Pixels = NDArray[Any]
"""(H, W, C) uint8 or uint16; C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA."""


@dataclass(frozen=True)
class Decoded:
    """A file's pixels as stored, its metadata as PNG chunks, and what the user should know."""

    pixels: Pixels
    metadata: tuple[Chunk, ...]
    notes: tuple[str, ...]


def decode(data: bytes, most_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a picture file; raise PictureError (a sentence without subject) if that fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            is_png = data.startswith(SIGNATURE)
            return _decode_png(data, most_pixels) if is_png else _decode_other(data, most_pixels)
    except UnidentifiedImageError as error:
        extra = _find_missing(data)
        if extra is not None:
            kind = "JPEG XL" if extra == "jxl" else "HEIC or AVIF"
            raise PictureError(
                f"is a {kind} picture; run {how_to_install(extra)} to read it, or save it as PNG."
            ) from error
        raise PictureError("is not a picture that can be read; use PNG, JPEG or WebP.") from error
    except PillowImage.DecompressionBombError as error:  # raised before check_size can look
        raise PictureError(
            f"has more than {most_pixels // 10**6} million pixels, the most that are possible. "
            "Scale it down first."
        ) from error
    except DECODER_ERRORS as error:
        raise PictureError(f"is damaged and cannot be read ({error}).") from error


def _decode_png(data: bytes, most_pixels: int) -> Decoded:
    """Decode the first (or only) frame; Pillow never sees the metadata, which may be hostile."""
    chunks = split_png(data)
    if not chunks or chunks[0].kind != b"IHDR":
        raise PictureError("is damaged and cannot be read (a PNG without a header).")
    metadata = tuple(c for c in chunks if c.kind in METADATA)
    notes = (FIRST_FRAME,) if any(c.kind == b"acTL" for c in chunks) else ()
    still = join_png(c for c in chunks if c.kind in DECODING)
    with PillowImage.open(io.BytesIO(still), formats=("PNG",)) as opened:
        check_size(opened, most_pixels)
        opened.load()
        deep = chunks[0].body[8] == 16
        pixels = _decode_deep_png(chunks) if deep else own_pixels(opened)
    return Decoded(pixels, metadata, notes)


def _decode_deep_png(chunks: tuple[Chunk, ...]) -> Pixels:
    """Decode 16 bits a channel (Pillow would cut them to 8); a transparent colour becomes alpha."""
    still = join_png(c for c in chunks if c.kind in DECODING - {b"tRNS"})
    stored = cv2.imdecode(np.frombuffer(still, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise PictureError("is damaged and cannot be read (16-bit PNG).")
    pixels: Pixels = swap_red_and_blue(stored)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    key = next((c.body for c in chunks if c.kind == b"tRNS"), b"")
    if len(key) != 2 * pixels.shape[2]:
        return pixels
    hidden = (pixels == np.frombuffer(key, ">u2")).all(axis=2)
    alpha = np.where(hidden, 0, 65535).astype(np.uint16)
    colours = pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2)
    return np.dstack([colours, alpha])


def swap_red_and_blue(pixels: Pixels) -> Pixels:
    """Convert between RGB(A) and BGR(A), OpenCV's order; grey stays as it is."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    return np.ascontiguousarray(pixels[..., (2, 1, 0, 3)[:channels]]) if channels > 1 else pixels


def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of the pictures that can be read with what is installed."""
    formats = list_formats()
    return SUFFIXES | {suffix for suffix, needed in NEEDS.items() if needed in formats}


@cache
def list_formats() -> tuple[str, ...]:
    """Return the formats that Pillow may read here; what other packages add is registered."""
    formats = list(FORMATS)
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
        formats.append("HEIF")
        if hasattr(pillow_heif, "register_avif_opener"):  # until Pillow read AVIF itself
            pillow_heif.register_avif_opener()
    if find_spec("pillow_jxl") is not None:
        import pillow_jxl  # noqa: F401  # registers itself

        formats.append("JXL")
    PillowImage.init()
    pillows_own = find_spec("PIL.AvifImagePlugin") is not None
    if "AVIF" in PillowImage.OPEN and (not pillows_own or features.check("avif")):
        formats.append("AVIF")
    return tuple(formats)


def _find_missing(data: bytes) -> str | None:
    """Return the extra that would read a file, by its first bytes; None for no such file."""
    if data.startswith(JXL_STARTS):
        return "jxl"
    return "heif" if data[4:8] == b"ftyp" else None


def _decode_other(data: bytes, most_pixels: int) -> Decoded:
    with PillowImage.open(io.BytesIO(data), formats=list_formats()) as opened:
        check_size(opened, most_pixels)
        notes = (FIRST_FRAME,) if getattr(opened, "n_frames", 1) > 1 else ()
        opened.seek(0)
        opened.load()
        metadata = build_metadata(opened.info, keep_profile=opened.mode != "CMYK")
        return Decoded(own_pixels(opened), metadata, notes)


def take_pillow(given: PillowImage.Image) -> Decoded:
    """Return the pixels of a PIL picture as they are, and its metadata.

    PictureError (a sentence without its subject) for what a file could not hold either.
    """
    info = dict(given.info)
    exif = given.getexif()
    if not info.get("exif") and exif:
        info["exif"] = exif.tobytes()
    chunks = list(build_metadata(info, keep_profile=given.mode != "CMYK"))
    said = {chunk.keyword for chunk in chunks}
    for key, text in info.items():
        if not isinstance(key, str) or not isinstance(text, str) or not KEYWORD.fullmatch(key):
            continue
        if key not in said and key != "comment":
            chunks.append(text_chunk(key, text))
    if given.mode == "I":  # so Pillow before 10 opened a PNG with 16 bits
        values = np.asarray(given)
        if values.size and values.min() >= 0 and values.max() <= 65535:
            return Decoded(values.astype(np.uint16)[..., None], tuple(chunks), ())
    return Decoded(own_pixels(given), tuple(chunks), ())


def check_size(opened: PillowImage.Image, most_pixels: int = MAX_PIXELS) -> None:
    """Raise PictureError for a picture that is too large to decode; every reader has this limit."""
    if opened.width * opened.height > most_pixels:
        raise PictureError(
            f"has {opened.width} × {opened.height} pixels; at most {most_pixels // 10**6} million "
            "are possible. Scale it down first."
        )


def own_pixels(opened: PillowImage.Image) -> Pixels:
    """Return the pixels as grey, grey and alpha, RGB or RGBA, whichever loses least."""
    if opened.mode in DEEP_GREY:
        return np.asarray(opened).astype(np.uint16)[..., None]
    if opened.mode in ("I", "F"):
        raise PictureError("has 32 bits a channel; save it with 8 or 16 first.")
    converted = _convert(opened)
    width, height = converted.size
    pixels: Pixels = np.zeros((height, width, len(converted.getbands())), np.uint8)
    # Whole, numpy takes a picture through two further copies.
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        band = np.asarray(converted.crop((0, top, width, bottom)))
        pixels[top:bottom] = band.reshape(bottom - top, width, -1)
    return pixels


def _convert(opened: PillowImage.Image) -> PillowImage.Image:
    transparent = "transparency" in opened.info
    if opened.mode in ("1", "L"):
        return opened.convert("RGBA" if transparent else "L")
    if opened.mode in ("LA", "RGBA") or (opened.mode == "RGB" and not transparent):
        return opened
    if opened.mode in ("P", "RGB"):
        return opened.convert("RGBA" if transparent else "RGB")
    if opened.mode in ("PA", "RGBa"):
        return opened.convert("RGBA")
    return _cmyk_to_rgb(opened) if opened.mode == "CMYK" else opened.convert("RGB")


def _cmyk_to_rgb(opened: PillowImage.Image) -> PillowImage.Image:
    """Convert to sRGB, through the printer's profile if there is one."""
    profile = opened.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(opened, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None
        if converted is not None:
            return converted
    return opened.convert("RGB")


def build_metadata(
    info: Mapping[str | tuple[int, int], Any], keep_profile: bool
) -> tuple[Chunk, ...]:
    """Return the metadata of a JPEG, WebP or other file as PNG chunks.

    Texts that the WebUI and ComfyUI keep in EXIF become the texts in which they look for them in a
    PNG.
    """
    chunks = []
    profile, exif, comment = (info.get(key) for key in ("icc_profile", "exif", "comment"))
    if profile and keep_profile:
        chunks.append(profile_chunk(profile))
    # Where the file itself has no unit, Pillow's number is EXIF's, which survives as it is, or 72.
    is_said = info["jfif_unit"] != 0 if "jfif_unit" in info else not exif
    resolution = _read_dpi(info.get("dpi")) if is_said else None
    if resolution is not None:
        chunks.append(resolution)
    if exif:
        body = exif.removeprefix(EXIF_PREFIX)
        chunks.append(Chunk(b"eXIf", body))
        parameters = read_user_comment(body)
        if parameters:
            chunks.append(text_chunk(PARAMETERS, parameters))
        found = [COMFY.fullmatch(text) for text in list_exif_texts(body)]
        chunks += [text_chunk(match[1], match[2]) for match in found if match]
    if isinstance(comment, bytes):
        comment = "" if comment.startswith(OUR_COMMENT) else comment.decode("utf-8", "replace")
    if comment:
        chunks.append(text_chunk("Comment", comment))
    return tuple(chunks)


def _read_dpi(dpi: object) -> Chunk | None:
    """Return what Pillow read as pixels per inch as a chunk; files may say anything there."""
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    try:
        return resolution_chunk((float(dpi[0]), float(dpi[1])))
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
