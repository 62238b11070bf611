"""Paths as the command line gives them: pictures to work on, and folders to write to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from handrefiner_ext.cli.reading import Source
from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.naming import list_pictures, read_mark
from handrefiner_ext.files.prompts import Prompted

WILDCARDS = frozenset("*?[")


def expand(names: Iterable[str], outputs: Iterable[str]) -> list[Path]:
    """Return the pictures meant by files, folders and, where the shell left them, wildcards.

    outputs: folders that are written to; what earlier runs have written there is left out.
    """
    sources: dict[str, Path] = {}
    for name in names:
        path = Path(name)
        found = [path]
        if path.is_dir():
            found = _list_fresh(path, outputs)
        elif WILDCARDS & set(path.name) and path.parent.is_dir() and not path.exists():
            found = sorted(path.parent.glob(path.name)) or [path]
        for each in found:
            sources.setdefault(os.path.realpath(each), each)
    return list(sources.values())


def find_sources(source: Source, outputs: Iterable[str]) -> list[Prompted]:
    """Return the picture, or those of the folder, or those of it that the prompt file names.

    outputs: as for `expand`.
    """
    place = Path(source.place)
    if not place.exists():
        raise PictureError(f"{place} does not exist.")
    if not source.is_folder:
        return [Prompted(place)]
    if not place.is_dir():
        raise PictureError(f"{place} is not a folder; use --input_img for a single picture.")
    if source.prompts is not None:
        return list(source.prompts)
    return [Prompted(path) for path in _list_fresh(place, outputs)]


def _list_fresh(folder: Path, outputs: Iterable[str]) -> list[Path]:
    """Return the folder's pictures, without earlier outputs if it is an output folder too."""
    pictures = list_pictures(folder)
    if os.path.realpath(folder) not in {os.path.realpath(name) for name in outputs}:
        return pictures
    fresh = [path for path in pictures if read_mark(path) is None]
    if len(fresh) < len(pictures):
        print(f"Skipping {len(pictures) - len(fresh)} outputs of earlier runs.")
    return fresh


def open_folder(name: str) -> Path:
    """Return an output folder that exists and can be written to."""
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise PictureError(f"{folder} cannot be written to: {error.strerror or error}.") from error


def open_optional_folder(name: str | None) -> Path | None:
    return open_folder(name) if name else None
