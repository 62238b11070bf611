"""What a run works on: the pictures that paths, folders and prompt files name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from handrefiner_ext.errors import PictureError, UsageError, how_to_install
from handrefiner_ext.files.marks import read_head, read_mark
from handrefiner_ext.pictures.decode import EXTRAS, NEEDS, OTHERS, readable_suffixes

WILDCARDS = frozenset("*?[")
EXAMPLE = '{"img": "1.jpg", "txt": "a woman waving"}'


@dataclass(frozen=True)
class Prompted:
    """A picture and its own prompt (None = that of the run).

    origin: the line that names it. under: the folder inside the input folder that it is from.
    """

    source: Path
    prompt: str | None = None
    origin: str = ""
    under: str = ""


@dataclass(frozen=True)
class Source:
    """What to work on: one picture, or a folder of them.

    prompts: the pictures that a prompt file names, each with its prompt; None without a file.
    recursive: those of folders inside, too.
    """

    place: str
    is_folder: bool
    prompts: tuple[Prompted, ...] | None = None
    recursive: bool = False


@dataclass(frozen=True)
class Listing:
    """The pictures of a run. notes: sentences about files that were skipped."""

    pictures: list[Prompted]
    notes: tuple[str, ...] = ()


def expand(names: Iterable[str], outputs: Iterable[str], recursive: bool = False) -> Listing:
    """Return the pictures meant by files, folders and, where the shell left them, wildcards.

    outputs: folders that are written to; what earlier runs have written there is left out.
    recursive: go into the folders inside, too.
    """
    sources: dict[str, Prompted] = {}
    notes: list[str] = []
    failed: list[PictureError] = []
    for name in names:
        path = Path(name)
        found = [Prompted(path)]
        if path.is_dir():
            try:
                found, said = _list_fresh(path, outputs, recursive)
            except PictureError as error:  # costs the other folders nothing
                failed.append(error)
                found, said = [], (str(error),)
            notes += said
        elif WILDCARDS & set(path.name) and path.parent.is_dir() and not path.exists():
            found = [Prompted(each) for each in sorted(path.parent.glob(path.name))] or found
        for each in found:
            sources.setdefault(os.path.realpath(each.source), each)
    if failed and not sources:
        raise failed[0]
    return Listing(list(sources.values()), tuple(notes))


def find_sources(source: Source, outputs: Iterable[str]) -> Listing:
    """Return the picture, or those of the folder, or those of it that the prompt file names.

    outputs: as for `expand`.
    """
    place = Path(source.place)
    if not place.exists():
        raise PictureError(f"{place} does not exist.")
    if not source.is_folder:
        return Listing([Prompted(place)])
    if not place.is_dir():
        raise PictureError(f"{place} is not a folder; use --input_img for a single picture.")
    if source.prompts is not None:
        return Listing(list(source.prompts))
    return Listing(*_list_fresh(place, outputs, source.recursive))


def _list_fresh(
    folder: Path, outputs: Iterable[str], recursive: bool
) -> tuple[list[Prompted], tuple[str, ...]]:
    """Return the folder's pictures, without earlier outputs if it is an output folder too."""
    written = {os.path.realpath(name) for name in outputs}
    names, folders = walk(folder, written, recursive)
    found = sort_out(names)
    check_readable(found, folder)
    notes = found.say(folders)
    pictures = [
        Prompted(folder / name, under=PurePath(name).parent.as_posix().removeprefix("."))
        for name in found.pictures
    ]
    if not any(_is_inside(os.path.realpath(folder), place) for place in written):
        return pictures, tuple(notes)
    fresh = [picture for picture in pictures if not is_output(picture.source)]
    if len(fresh) < len(pictures):
        notes.append(f"Skipping {len(pictures) - len(fresh)} outputs of earlier runs.")
    return fresh, tuple(notes)


def walk(folder: Path, written: set[str], recursive: bool) -> tuple[list[str], list[str]]:
    """Return the files in a folder, and the folders in it that are not gone into.

    Neither hidden folders are, nor those that are written to or cannot be read. Names are relative
    to the folder.
    """
    names: list[str] = []
    left: list[str] = []

    def skip(error: OSError) -> None:
        if os.path.realpath(error.filename or folder) == os.path.realpath(folder):
            raise error
        left.append(os.path.relpath(error.filename, folder))

    for place, folders, files in os.walk(folder, onerror=skip):
        inside = os.path.relpath(place, folder)
        found = (name for name in files if os.path.isfile(os.path.join(place, name)))
        names += [name if inside == "." else os.path.join(inside, name) for name in found]
        shown = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and os.path.realpath(os.path.join(place, name)) not in written
        )
        folders[:] = shown if recursive else []
        left += [] if recursive else shown
    return names, left


def _is_inside(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def is_output(path: Path) -> bool:
    """Return whether a file was written by HandRefiner."""
    data = read_head(path)
    return data is not None and read_mark(data) is not None


def list_pictures(folder: Path) -> list[Path]:
    """Return the pictures directly in a folder that can be read, by name; no hidden files."""
    return [folder / name for name in sort_out(_list_files(folder)).pictures]


def _list_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


@dataclass(frozen=True)
class Sorted:
    """The names in a folder: pictures, and those that are passed over.

    unreadable: suffix -> names of pictures whose format is not read here.
    """

    pictures: tuple[str, ...]
    hidden: tuple[str, ...]
    unreadable: Mapping[str, tuple[str, ...]]

    def say(self, folders: Sequence[str] = ()) -> list[str]:
        """Return what was passed over and why, as one line; none where nothing was.

        folders: names of the folders inside.
        """
        parts = []
        if self.hidden:
            parts.append(f"{_count(self.hidden, 'hidden file')} ({_name_some(self.hidden)})")
        for suffix, names in self.unreadable.items():
            parts.append(f"{_count(names, f'{suffix} file')} ({_explain(suffix)})")
        if folders:
            parts.append(f"{_count(folders, 'folder')} ({_name_some(folders)})")
        return [f"Skipping {', '.join(parts)}."] if parts else []


def sort_out(names: Iterable[str]) -> Sorted:
    """Tell the pictures among the names of files from those that are passed over."""
    readable = readable_suffixes()
    pictures, hidden = [], []
    unreadable: dict[str, list[str]] = {}
    for name in sorted(names):
        suffix = Path(name).suffix.lower()
        if suffix not in readable and suffix not in NEEDS and suffix not in OTHERS:
            continue
        if PurePath(name).name.startswith(
            "."
        ):  # macOS keeps ._name.jpg, which is no picture, beside name.jpg
            hidden.append(name)
        elif suffix in readable:
            pictures.append(name)
        else:
            unreadable.setdefault(suffix, []).append(name)
    left = {suffix: tuple(names) for suffix, names in sorted(unreadable.items())}
    return Sorted(tuple(pictures), tuple(hidden), left)


def check_readable(found: Sorted, place: object) -> None:
    """Raise PictureError for a folder whose pictures are all in formats that are not read."""
    if found.unreadable and not found.pictures:
        said = "; ".join(f"{suffix}: {_explain(suffix)}" for suffix in found.unreadable)
        raise PictureError(f"{place} holds no picture that can be read ({said}).")


def _explain(suffix: str) -> str:
    if suffix in NEEDS:
        return f"run {how_to_install(EXTRAS[NEEDS[suffix]])} to read them"
    return "save them as PNG, JPEG or WebP"


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''}"


def _name_some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


# --- prompt files


def read_prompts(path: Path, folder: Path) -> list[Prompted]:
    """Read the paper's prompt file: JSON lines {"img": name, "txt": prompt}, in its order.

    Empty lines are skipped; the names are those of pictures in `folder`. Raises UsageError with the
    number of the first line that cannot be understood.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8; save it as UTF-8.") from error
    lines = enumerate(text.split("\n"), start=1)
    return [_read_line(path, folder, n, line) for n, line in lines if line.strip()]


def _read_line(path: Path, folder: Path, number: int, line: str) -> Prompted:
    where = f"{path}, line {number}"
    try:
        said = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON ({error}); write it like {EXAMPLE}.") from error
    if not isinstance(said, dict):
        raise UsageError(f"{where} is not a JSON object; write it like {EXAMPLE}.")
    for key in ("img", "txt"):
        if not isinstance(said.get(key), str):
            raise UsageError(f"{where} has no text under {key!r}; write it like {EXAMPLE}.")
    if not said["img"].strip():
        raise UsageError(f"{where} names no picture; write it like {EXAMPLE}.")
    return Prompted(folder / said["img"], said["txt"], where)
