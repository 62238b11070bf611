"""What a picture file says beside its pixels: PNG chunks, and the EXIF entries that matter here.

Metadata passes through bit for bit as PNG chunks (PNG, third edition, W3C). EXIF is a TIFF
structure (Exif 2.32, section 4.5); only its orientation and its user comment are touched, so that
all other entries survive as they are, broken ones included.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

# --- PNG chunks

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_SIZE = len(SIGNATURE) + 25
DECODING = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""What a decoder needs for the still picture."""
METADATA = frozenset(
    {b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"pHYs"}
)
"""What says something about the picture and stays true when pixels change."""
TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})
LONGEST_TEXT = 16 << 20


class Chunk(NamedTuple):
    kind: bytes
    body: bytes

    @property
    def keyword(self) -> str | None:
        """Return the keyword of a text chunk; None for any other."""
        return self.body.partition(b"\0")[0].decode("latin-1") if self.kind in TEXT else None


def split_png(data: bytes) -> tuple[Chunk, ...]:
    """Return the chunks of a PNG file up to IEND, or as far as the file goes."""
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


def join_png(chunks: Iterable[Chunk]) -> bytes:
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def insert_after_header(data: bytes, chunks: Iterable[Chunk]) -> bytes:
    """Return a PNG file with `chunks` added after its header; the rest stays byte for byte."""
    added = join_png(chunks)[len(SIGNATURE) :]
    return data[:HEADER_SIZE] + added + data[HEADER_SIZE:]


def text_chunk(keyword: str, text: str) -> Chunk:
    """Return a text as tEXt where Latin-1 can hold it, or else as iTXt."""
    try:
        return Chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        body = keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "replace")
        return Chunk(b"iTXt", body)


def read_text(chunk: Chunk) -> str | None:
    """Return the text of a text chunk; None for a damaged one."""
    rest = chunk.body.partition(b"\0")[2]
    try:
        if chunk.kind == b"tEXt":
            return rest.decode("latin-1")
        if chunk.kind == b"zTXt":
            return _inflate(rest[1:]).decode("latin-1")
        packed = rest[:1] == b"\1"
        text = rest[2:].split(b"\0", 2)[2]
        return (_inflate(text) if packed else text).decode("utf-8")
    except (LookupError, ValueError, zlib.error):
        return None


def _inflate(data: bytes) -> bytes:
    """Return what was compressed, up to a limit: a few bytes may stand for gigabytes."""
    return zlib.decompressobj().decompress(data, LONGEST_TEXT)


def profile_chunk(profile: bytes) -> Chunk:
    """Return an ICC profile as a chunk."""
    return Chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))


METRE_IN_INCHES = 1 / 0.0254


def resolution_chunk(dpi: tuple[float, float]) -> Chunk | None:
    """Return pixels per inch as a chunk; None where a file says nothing that can be."""
    x, y = (round(float(per_inch) * METRE_IN_INCHES) for per_inch in dpi)
    if not (0 < x < 1 << 31 and 0 < y < 1 << 31):
        return None
    return Chunk(b"pHYs", struct.pack(">IIB", x, y, 1))


def read_resolution(chunk: Chunk) -> tuple[float, float] | None:
    """Return the pixels per inch of a pHYs chunk; None for a damaged one, or one without a unit."""
    if len(chunk.body) != 9 or chunk.body[8] != 1:
        return None
    x, y = struct.unpack_from(">II", chunk.body)
    return x / METRE_IN_INCHES, y / METRE_IN_INCHES


# --- EXIF

EXIF_PREFIX = b"Exif\0\0"
ORIENTATION, EXIF_DIRECTORY, USER_COMMENT = 0x0112, 0x8769, 0x9286
UPRIGHT = 1
ASCII = 2
"""Type of an entry that holds a text."""
ENTRY_SIZE = 12
CODED_AS = 8
"""Bytes at the start of a user comment that name its character code."""


class Entry(NamedTuple):
    """length: number of values. at: where the value, or the offset of the values, stands."""

    length: int
    at: int


def read_orientation(exif: bytes) -> int:
    """Return how the picture must be turned, 1..8; 1 (upright) if EXIF says nothing valid."""
    order = _byte_order(exif)
    entry = _find(exif, order, _first_directory(exif, order), ORIENTATION)
    value = 0 if entry is None else int(_unpack(exif, order + "H", entry.at) or 0)
    return value if value in range(1, 9) else UPRIGHT


def set_upright(exif: bytes) -> bytes:
    """Return the EXIF with its orientation set to upright."""
    order = _byte_order(exif)
    entry = _find(exif, order, _first_directory(exif, order), ORIENTATION)
    if entry is None:
        return exif
    return exif[: entry.at] + struct.pack(order + "H", UPRIGHT) + exif[entry.at + 2 :]


def read_user_comment(exif: bytes) -> str | None:
    """Return the user comment, in which the WebUI keeps the parameters of JPEG and WebP files."""
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


def list_exif_texts(exif: bytes) -> list[str]:
    """Return the texts in the first directory: maker, model, description and the like."""
    order = _byte_order(exif)
    texts = []
    for at in _list_entries(exif, order, _first_directory(exif, order)):
        if _unpack(exif, order + "H", at + 2) != ASCII:
            continue
        length = _unpack(exif, order + "I", at + 4) or 0
        start = at + 8 if length <= 4 else _unpack(exif, order + "I", at + 8)
        if start is not None and start + length <= len(exif):
            texts.append(exif[start : start + length].decode("utf-8", "replace").strip("\0 "))
    return texts


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
    """Return the entry `tag` of the directory that starts at byte `directory`."""
    for at in _list_entries(exif, order, directory):
        if _unpack(exif, order + "H", at) == tag:
            return Entry(_unpack(exif, order + "I", at + 4) or 0, at + 8)
    return None


def _list_entries(exif: bytes, order: str, directory: int | None) -> list[int]:
    """Return where the entries of a directory start, as far as the file goes."""
    entries = None if directory is None else _unpack(exif, order + "H", directory)
    starts = ((directory or 0) + 2 + number * ENTRY_SIZE for number in range(entries or 0))
    return [at for at in starts if at + ENTRY_SIZE <= len(exif)]


def _unpack(exif: bytes, layout: str, at: int) -> int | None:
    if at + struct.calcsize(layout) > len(exif):
        return None
    return int(struct.unpack_from(layout, exif, at)[0])


# --- JPEG segments and WebP chunks

COMMENT, START_OF_SCAN = 0xFE, 0xDA
LONGEST_SEGMENT = 65533


def list_jpeg_comments(data: bytes) -> list[bytes]:
    """Return the comments of a JPEG file, from its first segment to where its pixels begin."""
    return [data[at + 4 : end] for kind, at, end in _list_segments(data) if kind == COMMENT]


def add_jpeg_comment(data: bytes, comment: bytes) -> bytes:
    """Return a JPEG file with a comment in front of its first table; the rest stays as it is."""
    if len(comment) > LONGEST_SEGMENT:
        raise ValueError("a comment of a JPEG has at most 65533 bytes")
    # After the application segments, because some readers want JFIF's or EXIF's to be the first.
    ends = [end for kind, _, end in _list_segments(data) if 0xE0 <= kind <= 0xEF]
    at = max(ends, default=2)
    return data[:at] + struct.pack(">BBH", 0xFF, COMMENT, len(comment) + 2) + comment + data[at:]


def _list_segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return kind, start and end of the segments in front of a JPEG's pixels."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if kind == START_OF_SCAN:
            break
        found.append((kind, at, at + 2 + length))
        at += 2 + length
    return found


def list_webp_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return kind and body of the chunks of a WebP file (a RIFF container)."""
    found, at = [], 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        found.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def add_webp_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """Return a WebP file with one more chunk at its end, which readers that do not know it skip."""
    padded = body + b"\0" * (len(body) % 2)
    whole = data + struct.pack("<4sI", kind, len(body)) + padded
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
