"""PNG files as chunks, so that metadata passes through bit for bit (PNG, third edition, W3C)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_SIZE = len(SIGNATURE) + 25
DECODING = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""What a decoder needs for the still picture."""
METADATA = frozenset(
    {b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"pHYs"}
)
"""What says something about the picture and stays true when pixels change."""
TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})


class Chunk(NamedTuple):
    kind: bytes
    body: bytes

    @property
    def keyword(self) -> str | None:
        """The keyword of a text chunk; None for any other."""
        return self.body.partition(b"\0")[0].decode("latin-1") if self.kind in TEXT else None


def split(data: bytes) -> tuple[Chunk, ...]:
    """The chunks of a PNG file up to IEND, or up to where the file breaks off."""
    chunks, at = [], len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            break
        chunks.append(Chunk(kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
        if kind == b"IEND":
            break
    return tuple(chunks)


def join(chunks: Iterable[Chunk]) -> bytes:
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def insert_after_header(data: bytes, chunks: Iterable[Chunk]) -> bytes:
    """`data` with `chunks` between IHDR and what follows; everything else byte for byte."""
    added = join(chunks)[len(SIGNATURE) :]
    return data[:HEADER_SIZE] + added + data[HEADER_SIZE:]


def text_chunk(keyword: str, text: str) -> Chunk:
    """`text` as tEXt where Latin-1 can hold it, as iTXt elsewhere."""
    try:
        return Chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        body = keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "replace")
        return Chunk(b"iTXt", body)


def profile_chunk(profile: bytes) -> Chunk:
    """An ICC profile."""
    return Chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
