"""The names of output files.

The outputs of `name.jpg` begin with `name`. Where that would overwrite an input, a file of the
user's, or what another picture gave, now or in an earlier run, they begin with `name_jpg`, then
`name_jpg_2` and so on. Every output carries a mark that names its source (`files.marks`); so a
second run replaces its own outputs and nothing else.
"""

from __future__ import annotations

import os
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from handrefiner_ext.files.marks import Mark, digest, digest_place, read_head, read_mark
from handrefiner_ext.pictures import FORMAT_OF
from handrefiner_ext.pictures.disk import IS_WINDOWS, is_reserved, usable

LONGEST_STEM = 255 - len("_overlay.png") - len("_jpeg_99")
"""Bytes; most file systems allow 255 in a name."""
SUFFIX = "{suffix}"


@dataclass(frozen=True)
class Job:
    """One picture, and the beginning of its outputs' names.

    prompt: of this picture alone, None = that of the run. first: number of its first output.
    origin: where the picture was asked for, which is said if it fails. place: digest of where it
    is. note: why its outputs have other names than it has; empty where they have not. suffix: of
    its outputs. The stem begins with the folder that is mirrored, if there is one.
    """

    source: Path
    stem: str
    prompt: str | None = None
    first: int = 0
    origin: str = ""
    place: str = ""
    note: str = ""
    suffix: str = ".png"

    @property
    def under(self) -> Path:
        """Return the folder, within each output folder, of its outputs."""
        return Path(self.stem).parent

    def mark(self, content: str, settings: str = "") -> Mark:
        """Return the mark of its outputs. content: digest of its file."""
        place = self.place or digest_place(self.source)
        return Mark(plain_name(self.source), place, content, settings)


@dataclass(frozen=True)
class OutputKind:
    """One kind of output: the folder it goes to, and how the names of its files end.

    `SUFFIX` in the ending stands for that of the source, where pictures are written in its format.
    """

    folder: Path
    ending: str

    def path(self, stem: str, suffix: str) -> Path:
        """Return the file of a picture."""
        return self.folder / (stem + self.ending.replace(SUFFIX, suffix))


class Shelf(Protocol):
    """Where pictures come from and outputs go to."""

    def locate(self, source: Path) -> str:
        """Return the digest of a picture's place."""
        ...

    def digest(self, source: Path) -> str:
        """Return the digest of a picture's content; empty where it cannot be read."""
        ...

    def look(self, path: Path) -> bytes | None:
        """Return as much of an output file as `read_mark` needs; None where there is no file."""
        ...


@dataclass(frozen=True)
class LocalShelf:
    """Folders of this machine."""

    def locate(self, source: Path) -> str:
        return digest_place(source)

    def digest(self, source: Path) -> str:
        try:
            return digest(usable(source).read_bytes())
        except OSError:
            return ""

    def look(self, path: Path) -> bytes | None:
        return read_head(path)


LOCAL = LocalShelf()


def plain_name(path: Path) -> str:
    """Return the file's name, with bytes that are not UTF-8 replaced."""
    return plain(path.name)


def plain(text: str | Path) -> str:
    """Return a path, or a sentence that names one, as Unicode: bytes that are not are replaced."""
    # Not os.fsencode, which in a locale without UTF-8 fails at the arrows of our own sentences.
    surrogates = "surrogatepass" if IS_WINDOWS else "surrogateescape"
    return str(text).encode("utf-8", surrogates).decode("utf-8", "replace")


def plan(
    sources: Sequence[Path],
    kinds: Sequence[OutputKind],
    shelf: Shelf = LOCAL,
    inputs: Iterable[Path] = (),
    under: Mapping[Path, str] = MappingProxyType({}),
) -> list[Job]:
    """Choose a stem for each picture such that no output overwrites what it must not.

    inputs: other files that the run reads, such as drawn masks. under: the folder, within each
    output folder, of a picture's outputs.
    """
    read = frozenset(map(_key, inputs))
    taken = {_key(path) for path in sources} | read
    jobs: dict[Path, Job] = {}
    # Plain names first: a_png.jpg keeps its own although a.png may have to fall back on it.
    firsts = list({fold(source.stem): source for source in reversed(sources)}.values())
    for source in sorted(sources, key=lambda source: source not in firsts):
        job = _choose((source, under.get(source, "")), kinds, shelf, (taken, read))
        taken |= {_key(kind.path(job.stem, job.suffix)) for kind in kinds}
        jobs[source] = job
    return [jobs[source] for source in sources]


def keep_suffix(source: Path) -> str:
    """Return the suffix of an output in its source's format, or .png where that is not written."""
    return source.suffix if source.suffix.lower() in FORMAT_OF else ".png"


def _choose(
    given: tuple[Path, str],
    kinds: Sequence[OutputKind],
    shelf: Shelf,
    blocked: tuple[set[str], frozenset[str]],
) -> Job:
    """Return the job of one picture.

    given: the picture, and its folder within each output folder. blocked: keys of files that must
    not be written, and of those among them that the user is told about.
    """
    (source, under), (taken, read) = given, blocked
    keeps = any(SUFFIX in kind.ending for kind in kinds)
    suffix = keep_suffix(source) if keeps else ".png"
    place = shelf.locate(source)
    owner = _Owner(Mark(source.name, place), source, shelf)
    kept: list[Path] = []
    for name in _candidates(source):
        stem = f"{under}/{name}" if under else name
        paths = [kind.path(stem, suffix) for kind in kinds]
        if any(_key(path) in taken for path in paths):
            kept += [path for path in paths if _key(path) in read]
            continue
        strange = next((path for path in paths if not owner.may_write(path)), None)
        if strange is None:
            note = _explain(kept[0], name) if kept else ""
            return Job(source, stem, place=place, note=note, suffix=suffix)
        kept.append(strange)
    raise AssertionError("the candidates never end")


def _explain(kept: Path, stem: str) -> str:
    return (
        f"{plain_name(kept)} was not made from this picture and is kept; the results are named "
        f"{plain(stem)}_…"
    )


@dataclass
class _Owner:
    """One picture, which may replace its own outputs. Its content is read where it matters."""

    mark: Mark
    source: Path
    shelf: Shelf
    content: str | None = None

    def may_write(self, path: Path) -> bool:
        """Return whether there is no such file, or one that was made from this picture."""
        data = self.shelf.look(path)
        if data is None:
            return True
        found = read_mark(data)
        if found is None:
            return False
        if self.mark.names(found):
            return True
        if self.content is None:
            self.content = self.shelf.digest(self.source)
        return Mark("", content=self.content).names(found)


def fold(name: str) -> str:
    """Return a key that is equal for names that a file system may take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _candidates(source: Path) -> Iterator[str]:
    stem = _shorten(source.stem)
    if is_reserved(f"{stem}_"):  # con.x_0.png would be the device CON on Windows
        stem = f"_{stem}"
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


def _key(path: Path) -> str:
    return fold(os.path.join(os.path.realpath(path.parent), path.name))
