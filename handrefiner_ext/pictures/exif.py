"""The two EXIF entries that matter here: the orientation and the user comment.

EXIF is a TIFF structure (Exif 2.32, section 4.5). Only these entries are touched, so that all
others survive bit for bit, broken ones included.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

PREFIX = b"Exif\0\0"
ORIENTATION, EXIF_DIRECTORY, USER_COMMENT = 0x0112, 0x8769, 0x9286
UPRIGHT = 1
ENTRY_SIZE = 12
CODED_AS = 8
"""Bytes at the start of a user comment that name its character code."""


class Entry(NamedTuple):
    """length: number of values. at: where the value, or the offset of the values, stands."""

    length: int
    at: int


def read_orientation(exif: bytes) -> int:
    """How the picture must be turned, 1..8; 1 (upright) where nothing valid is said."""
    order = _byte_order(exif)
    entry = _find(exif, order, _first_directory(exif, order), ORIENTATION)
    value = 0 if entry is None else int(_unpack(exif, order + "H", entry.at) or 0)
    return value if value in range(1, 9) else UPRIGHT


def set_upright(exif: bytes) -> bytes:
    """The same EXIF with an upright orientation."""
    order = _byte_order(exif)
    entry = _find(exif, order, _first_directory(exif, order), ORIENTATION)
    if entry is None:
        return exif
    return exif[: entry.at] + struct.pack(order + "H", UPRIGHT) + exif[entry.at + 2 :]


def read_user_comment(exif: bytes) -> str | None:
    """The user comment, where the WebUI keeps the parameters of JPEG and WebP pictures."""
    order = _byte_order(exif)
    pointer = _find(exif, order, _first_directory(exif, order), EXIF_DIRECTORY)
    start = None if pointer is None else _unpack(exif, order + "I", pointer.at)
    entry = _find(exif, order, start, USER_COMMENT)
    if entry is None:
        return None
    at = entry.at if entry.length <= 4 else _unpack(exif, order + "I", entry.at)
    if at is None or at + entry.length > len(exif):
        return None
    return _decode_comment(exif[at : at + entry.length], order) or None


def _decode_comment(raw: bytes, order: str) -> str | None:
    code, text = raw[:CODED_AS], raw[CODED_AS:]
    if not code.startswith(b"UNICODE"):
        return text.decode("utf-8", "replace").strip("\0 ")
    # The standard leaves the byte order of UTF-16 open: piexif writes big-endian whatever the
    # file's own order, others follow the file. The reading with more Latin letters is right.
    readings = [text.decode(name, "replace") for name in ("utf-16-be", "utf-16-le")]
    if order == "<":
        readings.reverse()
    best = max(readings, key=lambda reading: sum(letter < "\u0250" for letter in reading))
    return best.strip("\0\ufeff ")


def _byte_order(exif: bytes) -> str:
    return "<" if exif[:2] == b"II" else ">"


def _first_directory(exif: bytes, order: str) -> int | None:
    return _unpack(exif, order + "I", 4) if exif[:2] in (b"II", b"MM") else None


def _find(exif: bytes, order: str, directory: int | None, tag: int) -> Entry | None:
    """The entry `tag` of the directory that starts at byte `directory`."""
    entries = None if directory is None else _unpack(exif, order + "H", directory)
    for number in range(entries or 0):
        at = (directory or 0) + 2 + number * ENTRY_SIZE
        if at + ENTRY_SIZE > len(exif):
            return None
        if _unpack(exif, order + "H", at) == tag:
            return Entry(_unpack(exif, order + "I", at + 4) or 0, at + 8)
    return None


def _unpack(exif: bytes, layout: str, at: int) -> int | None:
    if at + struct.calcsize(layout) > len(exif):
        return None
    return int(struct.unpack_from(layout, exif, at)[0])
