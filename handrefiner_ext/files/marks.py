"""The mark that every output carries: it is ours, and which picture it was made from.

A file is replaced only where its mark names the same source, so nothing of the user's is lost. The
mark is JSON: a text chunk of a PNG, a comment of a JPEG, a chunk of a WebP, a key of a JSON file,
or an extra of a glTF file.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from handrefiner_ext import __version__
from handrefiner_ext.errors import PictureError
from handrefiner_ext.pictures.disk import usable, writing_to
from handrefiner_ext.pictures.metadata import (
    SIGNATURE,
    Chunk,
    add_jpeg_comment,
    add_webp_chunk,
    list_jpeg_comments,
    list_webp_chunks,
    split_png,
    text_chunk,
)

KEY = "handrefiner"
WEBP_KIND = b"HREF"
PNG_HEAD = 4096
"""The mark is the first chunk after a PNG's header; this many bytes hold it."""
LONGEST_LINE = 1 << 20
DIGITS = 32
GLB_HEAD = struct.Struct("<4sIIII")
"""Magic, version, length of the file; length and kind of the first chunk, which is JSON."""
GLB_MAGIC, GLB_JSON = b"glTF", 0x4E4F534A


@dataclass(frozen=True)
class Mark:
    """What a mark says.

    source: name of the picture. path: digest of where it is. content: digest of its file.
    settings: code of the parameters and of everything else that was read; empty for maps.
    """

    source: str
    path: str = ""
    content: str = ""
    settings: str = ""

    def names(self, other: Mark) -> bool:
        """Return whether both marks name the same source: by its place, or by its content."""
        same_path = self.path != "" and self.path == other.path
        return same_path or (self.content != "" and self.content == other.content)

    def describe(self) -> dict[str, str]:
        """Return the mark as it stands in a file."""
        said = {name: value for name, value in asdict(self).items() if value}
        return {"version": __version__, **said}

    @property
    def text(self) -> str:
        return json.dumps(self.describe())

    @property
    def chunk(self) -> Chunk:
        """Return the mark of a PNG."""
        return text_chunk(KEY, self.text)


def digest(data: bytes) -> str:
    """Return what tells contents apart: hexadecimal digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def digest_place(place: Path | str) -> str:
    """Return the digest of a file's absolute path, or of its address such as s3://bucket/a.png."""
    if isinstance(place, str):
        return digest(place.encode("utf-8", "surrogatepass"))
    return digest(os.fsencode(os.path.normcase(os.path.realpath(place))))


def mark_jpeg(data: bytes, mark: Mark) -> bytes:
    return add_jpeg_comment(data, f"{KEY} {mark.text}".encode())


def mark_webp(data: bytes, mark: Mark) -> bytes:
    return add_webp_chunk(data, WEBP_KIND, mark.text.encode())


def mark_glb(data: bytes, mark: Mark) -> bytes:
    """Return a binary glTF file with the mark among the extras of its asset."""
    said, rest = _split_glb(data)
    said["asset"]["extras"] = {KEY: mark.describe()}
    text = json.dumps(said, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = GLB_HEAD.size + len(text) + len(rest)
    return GLB_HEAD.pack(GLB_MAGIC, 2, size, len(text), GLB_JSON) + text + rest


def read_mark(data: bytes) -> Mark | None:
    """Return the mark in a file's bytes (the first `PNG_HEAD` are enough for a PNG)."""
    try:
        said = _find_said(data)
    except (ValueError, LookupError, TypeError, struct.error):
        return None
    if not isinstance(said, dict):
        return None
    names = [f.name for f in fields(Mark)]
    return Mark(**{name: str(said.get(name, "")) for name in names})


def read_head(path: Path) -> bytes | None:
    """Return as much of a file as `read_mark` needs; None where there is no file."""
    try:
        with usable(path).open("rb") as file:
            return file.read(PNG_HEAD if path.suffix.lower() == ".png" else -1)
    except OSError:
        # A folder, or a file that cannot be read, is not ours. In a folder that cannot be searched
        # nothing is seen: otherwise every name would count as taken, without an end.
        return b"" if os.path.lexists(usable(path)) else None


def check_replaceable(path: Path, mark: Mark) -> None:
    """Raise PictureError if there is a file that was not made from the mark's picture.

    Names are chosen before the work; this finds what has appeared since.
    """
    head = read_head(path)
    if head is None:
        return
    found = read_mark(head)
    if found is None or not mark.names(found):
        raise PictureError(
            f"{path} has appeared during the run and was not made from this picture, so it is "
            "kept; run the same command again, and the result gets another name."
        )


def check_own(path: Path, is_ours: Callable[[str], bool]) -> None:
    """Raise PictureError if there is a file that is not ours.

    is_ours: decides by the file's first line. An empty file may be replaced, and a device be
    written to.
    """
    if not path.is_file():
        return
    with writing_to(path), usable(path).open("rb") as file:
        line = file.readline(LONGEST_LINE)
    if line and not is_ours(line.decode("utf-8", "replace")):
        raise PictureError(
            f"{path} exists and was not written by HandRefiner, so it is kept; give another name."
        )


def _find_said(data: bytes) -> Any:
    if data.startswith(SIGNATURE):
        bodies = [chunk.body for chunk in split_png(data) if chunk.keyword == KEY]
        return json.loads(bodies[0].rpartition(b"\0")[2]) if bodies else None
    if data.startswith(GLB_MAGIC):
        return _split_glb(data)[0]["asset"]["extras"][KEY]
    if data.startswith(b"\xff\xd8"):
        start = f"{KEY} ".encode()
        texts = [text for text in list_jpeg_comments(data) if text.startswith(start)]
        return json.loads(texts[0].removeprefix(start)) if texts else None
    if data.startswith(b"RIFF"):
        texts = [body for kind, body in list_webp_chunks(data) if kind == WEBP_KIND]
        return json.loads(texts[0]) if texts else None
    if data.lstrip().startswith(b"{"):
        return json.loads(data)[KEY]
    return None


def _split_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of a binary glTF file, and what follows it."""
    length = GLB_HEAD.unpack_from(data)[3]
    end = GLB_HEAD.size + length
    said: dict[str, Any] = json.loads(data[GLB_HEAD.size : end])
    return said, data[end:]
