"""The names of output files.

The outputs of `name.jpg` begin with `name`. Where that would overwrite an input, a picture of the
user's, or what another picture of the same name (`name.png`) gave, now or in an earlier run, they
begin with `name_jpg`, then `name_jpg_2` and so on. PNG outputs carry a mark that names their
source; so a second run replaces its own outputs and nothing else.
"""

from __future__ import annotations

import json
import os
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from handrefiner_ext import __version__
from handrefiner_ext.pictures.metadata import (
    SIGNATURE,
    Chunk,
    split_png,
    text_chunk,
)

MARK = "handrefiner"
MARK_WITHIN = 4096
"""The mark is the first chunk after the header; so many bytes are read to find it."""
LONGEST_STEM = 255 - len("_overlay.png") - len("_jpeg_99")
"""Bytes; most file systems allow 255 in a name."""


@dataclass(frozen=True)
class Job:
    """One picture, and the beginning of its outputs' names.

    prompt: of this picture alone, None = that of the run. first: number of its first output.
    origin: where the picture was asked for, which is said if it fails.
    """

    source: Path
    stem: str
    prompt: str | None = None
    first: int = 0
    origin: str = ""


@dataclass(frozen=True)
class OutputKind:
    """One kind of output: the folder it goes to, and how the names of its files end."""

    folder: Path
    ending: str


def plain_name(path: Path) -> str:
    """Return the file's name, with bytes that are not UTF-8 replaced."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def make_mark(source: Path, settings: str = "") -> Chunk:
    """Return the chunk that says: made by HandRefiner from this picture, with `settings`."""
    said = {"version": __version__, "source": plain_name(source)}
    return text_chunk(MARK, json.dumps(said | ({"settings": settings} if settings else {})))


def read_mark(path: Path) -> str | None:
    """Return the name of the picture that the PNG was made from; None if it is not our output."""
    said = _read_said(path)
    return None if said is None else str(said.get("source", ""))


def read_settings(path: Path) -> str | None:
    """Return the settings in the PNG's mark; None if it is not our output."""
    said = _read_said(path)
    return None if said is None else str(said.get("settings", ""))


def _read_said(path: Path) -> dict[str, object] | None:
    try:
        with path.open("rb") as file:
            head = file.read(MARK_WITHIN)
    except OSError:
        return None
    if not head.startswith(SIGNATURE):
        return None
    for chunk in split_png(head):
        if chunk.keyword == MARK:
            return _said_in(chunk)
    return None


def plan(sources: Sequence[Path], kinds: Sequence[OutputKind]) -> list[Job]:
    """Choose a stem for each picture such that no output overwrites what it must not."""
    taken = {_key(source) for source in sources}
    stems: dict[Path, str] = {}
    # Plain names first: a_png.jpg keeps its own although a.png may have to fall back on it.
    firsts = list({fold(source.stem): source for source in reversed(sources)}.values())
    for source in sorted(sources, key=lambda source: source not in firsts):
        stem = next(s for s in _candidates(source) if _is_free(s, source, kinds, taken))
        taken |= {_key(kind.folder / (stem + kind.ending)) for kind in kinds}
        stems[source] = stem
    return [Job(source, stems[source]) for source in sources]


def fold(name: str) -> str:
    """Return a key that is equal for names that a file system may take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _candidates(source: Path) -> Iterator[str]:
    stem = _shorten(source.stem)
    yield stem
    labelled = "_".join([stem, *filter(None, [source.suffix[1:]])])
    yield labelled
    yield from (f"{labelled}_{number}" for number in count(2))


def _shorten(stem: str) -> str:
    """Cut a stem that is too long for the longest ending; a checksum keeps it unique."""
    raw = os.fsencode(stem)
    if len(raw) <= LONGEST_STEM:
        return stem
    return f"{raw[: LONGEST_STEM - 9].decode('utf-8', 'ignore')}_{zlib.crc32(raw):08x}"


def _is_free(stem: str, source: Path, kinds: Sequence[OutputKind], taken: set[str]) -> bool:
    return all(
        _key(path) not in taken and not _belongs_to_another(path, source)
        for path in (kind.folder / (stem + kind.ending) for kind in kinds)
    )


def _belongs_to_another(path: Path, source: Path) -> bool:
    """Return whether a PNG is another picture's output, or the user's own beside its source."""
    if path.suffix != ".png" or not path.exists():
        return False
    mark = read_mark(path)
    if mark is not None:
        return fold(mark) != fold(plain_name(source))
    return _key(path.parent) == _key(source.parent)


def _key(path: Path) -> str:
    return fold(os.path.join(os.path.realpath(path.parent), path.name))


def _said_in(chunk: Chunk) -> dict[str, object]:
    text = chunk.body.rpartition(b"\0")[2].decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
