"""A folder anywhere: a local path, or an address that the package fsspec knows, such as s3://."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from handrefiner_ext.errors import PictureError
from handrefiner_ext.pictures import write_atomically


@dataclass(frozen=True)
class Store:
    """The files directly in one folder. What cannot be done is said in a PictureError."""

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system and the folder's path in it."""
        try:
            filesystem, path = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise PictureError(
                f"{self.url} needs another package here and on every machine of the cluster: "
                f"{error}."
            ) from error
        except ValueError as error:
            raise PictureError(f"{self.url} is no address of a folder: {error}.") from error
        return filesystem, str(path)

    @property
    def filesystem(self) -> Any:
        """As fsspec and pyarrow take it."""
        return self._opened[0]

    def path(self, name: str = "") -> str:
        """Of a file in the folder (or of the folder itself), within the file system."""
        folder = self._opened[1]
        return f"{folder.rstrip('/')}/{name}" if name else folder

    def inside(self, name: str) -> Store:
        """A folder in the folder."""
        return Store(f"{self.url.rstrip('/')}/{name}")

    def names(self) -> list[str]:
        """The files in the folder, sorted; none where there is no such folder."""
        with self._troubles_told("listed"):
            self.filesystem.invalidate_cache(self.path())
            if not self.filesystem.exists(self.path()):
                return []
            found = self.filesystem.ls(self.path(), detail=True)
        files = (entry["name"] for entry in found if entry["type"] == "file")
        return sorted(name.rstrip("/").rpartition("/")[2] for name in files)

    def make(self) -> None:
        """The folder, where its file system knows folders."""
        with self._troubles_told("made"):
            self.filesystem.makedirs(self.path(), exist_ok=True)

    def holds(self, name: str) -> bool:
        with self._troubles_told("read", name):
            return bool(self.filesystem.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        with self._troubles_told("read", name):
            data: bytes = self.filesystem.cat_file(self.path(name))
        return data

    def write(self, name: str, data: bytes) -> None:
        """A whole file or nothing, as object stores do by themselves."""
        if isinstance(self.filesystem, LocalFileSystem):
            write_atomically(Path(self.path(name)), data)
            return
        with self._troubles_told("written", name):
            self.filesystem.pipe_file(self.path(name), data)

    def remove(self) -> None:
        """The folder with all that is in it."""
        with self._troubles_told("removed"):
            if self.filesystem.exists(self.path()):
                self.filesystem.rm(self.path(), recursive=True)

    @contextmanager
    def _troubles_told(self, done: str, name: str = "") -> Iterator[None]:
        """What fails becomes a sentence."""
        try:
            yield
        except OSError as error:
            what = f"{self.url}/{name}" if name else self.url
            why = error.strerror or str(error) or type(error).__name__
            raise PictureError(f"{what} cannot be {done}: {why}.") from error


def store_of(folder: Path | str) -> Store:
    """A local folder by its absolute path, or an address as it is."""
    return Store(folder) if isinstance(folder, str) else Store(os.path.abspath(folder))
