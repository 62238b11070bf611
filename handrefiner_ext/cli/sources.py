"""Paths as the command line gives them: pictures to work on, and folders to write to."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from handrefiner_ext.cli.options import RunOptions
from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.naming import list_pictures, read_mark
from handrefiner_ext.files.prompts import Prompted

WILDCARDS = frozenset("*?[")


def find_drawn_mask(options: argparse.Namespace) -> Path | None:
    drawn_mask = Path(options.drawn_mask) if options.drawn_mask else None
    if drawn_mask and not drawn_mask.exists():
        raise PictureError(f"{drawn_mask} does not exist.")
    return drawn_mask


def expand(names: Iterable[str], outputs: Iterable[str | None]) -> list[Path]:
    """The pictures meant by files, folders and, where the shell left them, wildcards."""
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


def find_sources(
    options: argparse.Namespace, run: RunOptions, outputs: Iterable[str | None]
) -> list[Prompted]:
    """The picture, or those of the folder, or those of it that the prompt file names."""
    source = Path(options.input_img or options.input_dir)
    if not source.exists():
        raise PictureError(f"{source} does not exist.")
    if options.input_img:
        return [Prompted(source)]
    if not source.is_dir():
        raise PictureError(f"{source} is not a folder; use --input_img for a single picture.")
    if run.prompts is not None:
        return list(run.prompts)
    return [Prompted(path) for path in _list_fresh(source, outputs)]


def _list_fresh(folder: Path, outputs: Iterable[str | None]) -> list[Path]:
    """The folder's pictures, without what earlier runs have written there if it is an output."""
    pictures = list_pictures(folder)
    if os.path.realpath(folder) not in {os.path.realpath(name) for name in outputs if name}:
        return pictures
    fresh = [path for path in pictures if read_mark(path) is None]
    if len(fresh) < len(pictures):
        print(f"{len(pictures) - len(fresh)} outputs of earlier runs are passed over.")
    return fresh


def open_folder(name: str) -> Path:
    """An output folder that exists and can be written to."""
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise PictureError(f"{folder} cannot be written to: {error.strerror or error}.") from error


def open_optional_folder(name: str | None) -> Path | None:
    return open_folder(name) if name else None
