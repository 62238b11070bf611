"""Files on a disk: read with a sentence for what is wrong, written whole or not at all.

Windows, where most users are, needs three things more: a path of more than 260 characters takes a
prefix, a file that a viewer holds open cannot be replaced until it lets go, and some names (CON,
NUL, COM1) belong to devices.
"""

from __future__ import annotations

import ntpath
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from handrefiner_ext.errors import PictureError

MAX_BYTES = 1 << 30
IS_WINDOWS = os.name == "nt"
LONGEST_PLAIN_PATH = 240
"""Characters; Windows takes 260 with the drive and the end, and a temporary name is longer."""
DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"}
)
PARTIAL = re.compile(r"\.handrefiner-\d+-\d+")
SECONDS_BETWEEN_TRIES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""A viewer or a virus scanner that looks at a file lets go of it within these."""


def is_reserved(name: str) -> bool:
    """Return whether Windows takes a file's name for a device, whatever follows its first dot."""
    return name.partition(".")[0].rstrip(" ").upper() in DEVICES


def lengthen(path: str) -> str:
    """Return an absolute Windows path so that it may have more than 260 characters."""
    if len(path) < LONGEST_PLAIN_PATH or path.startswith("\\\\?\\"):
        return path
    path = ntpath.normpath(path)  # behind the prefix, Windows itself resolves nothing
    if path.startswith("\\\\"):
        return "\\\\?\\UNC\\" + path[2:]
    return "\\\\?\\" + path


def usable(path: Path) -> Path:
    """Return the path as this system opens it, however long it is."""
    return Path(lengthen(os.path.abspath(path))) if IS_WINDOWS else path


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what the system says against writing a file into a PictureError that names it."""
    try:
        yield
    except OSError as error:
        raise PictureError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing; PictureError if that is impossible.

    The folder is made where it is missing.
    """
    place = usable(path)
    partial = place.with_name(f".handrefiner-{zlib.crc32(os.fsencode(path.name))}-{os.getpid()}")
    try:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            if place.is_file():
                shutil.copymode(place, partial)  # what was private stays so
            _replace(partial, place)
        finally:
            partial.unlink(missing_ok=True)
    except PermissionError as error:
        reason = error.strerror or str(error)
        raise PictureError(
            f"{path} cannot be written: {reason}. Close it where it is open, or choose another "
            "folder."
        ) from error
    except OSError as error:
        raise PictureError(f"{path} cannot be written: {error.strerror or error}.") from error


def remove_partial_files(folder: Path, pid: int | None = None) -> None:
    """Remove what a process that died was writing, in a folder and those inside; None = any's."""
    with suppress(OSError):
        for path in usable(folder).rglob(f".handrefiner-*-{'*' if pid is None else pid}"):
            if PARTIAL.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _replace(partial: Path, place: Path) -> None:
    """Give a file its name, again and again while another program holds the old one."""
    for seconds in SECONDS_BETWEEN_TRIES:
        try:
            partial.replace(place)
            return
        except PermissionError:
            if not IS_WINDOWS:  # elsewhere an open file is no obstacle, and waiting helps nothing
                raise
            time.sleep(seconds)
    partial.replace(place)


def read_file(path: Path) -> bytes:
    """Return the bytes of a picture file; PictureError with the reason if that is impossible."""
    place = usable(path)
    try:
        if place.is_dir():
            raise PictureError(f"{path} is a folder, not a picture.")
        if not place.exists():
            raise PictureError(f"{path} does not exist.")
        if not place.is_file():
            raise PictureError(f"{path} is a device or a pipe, not a file that can be read.")
        if place.stat().st_size > MAX_BYTES:
            raise PictureError(f"{path} is larger than 1 GB, the most that is read.")
        data = place.read_bytes()
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data:
        raise PictureError(f"{path.name} is empty.")
    return data
