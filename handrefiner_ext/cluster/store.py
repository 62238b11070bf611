"""Folders anywhere: local paths, or addresses that the package fsspec knows, such as s3://."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.marks import digest, digest_place, read_head
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.outputs import RefineFolders
from handrefiner_ext.pictures import write_atomically

NOWHERE = Path(os.devnull, "elsewhere")
"""Placeholder for a folder that is not a local path."""
CHANGES = (
    "ETag",
    "etag",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)
"""What file systems say of a file by which a change of it is seen, the surest first."""


@dataclass(frozen=True)
class Store:
    """The files directly in one folder. PictureError says what cannot be done."""

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """Return the file system and the folder's path in it."""
        try:
            filesystem, path = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise PictureError(
                f"{self.url} needs another package here and on every machine of the cluster: "
                f"{error}."
            ) from error
        except ValueError as error:
            raise PictureError(f"{self.url} is not the address of a folder: {error}.") from error
        return filesystem, str(path)

    @property
    def filesystem(self) -> Any:
        """Return the file system, as fsspec and pyarrow take it."""
        return self._opened[0]

    def path(self, name: str = "") -> str:
        """Return the path of a file in the folder (or of the folder itself) in its file system."""
        folder = self._opened[1]
        return f"{folder.rstrip('/')}/{name}" if name else folder

    def inside(self, name: str) -> Store:
        """Return a folder in the folder."""
        return Store(f"{self.url.rstrip('/')}/{name}")

    def names(self) -> list[str]:
        """Return the names of the files in the folder, sorted; none if there is no such folder."""
        with self._troubles_told("listed"):
            self.filesystem.invalidate_cache(self.path())
            if not self.filesystem.exists(self.path()):
                return []
            found = self.filesystem.ls(self.path(), detail=True)
        files = (entry["name"] for entry in found if entry["type"] == "file")
        return sorted(name.rstrip("/").rpartition("/")[2] for name in files)

    def stamp(self, name: str) -> str:
        """Return what differs when the file has been changed, without reading it."""
        with self._troubles_told("read", name):
            return _stamp(self.filesystem.info(self.path(name)))

    def make(self) -> None:
        """Make the folder, where its file system knows folders."""
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
        """Write a whole file or nothing, as object stores do by themselves."""
        if isinstance(self.filesystem, LocalFileSystem):
            write_atomically(Path(self.path(name)), data)
            return
        with self._troubles_told("written", name):
            self.filesystem.pipe_file(self.path(name), data)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        with self._troubles_told("removed"):
            if self.filesystem.exists(self.path()):
                self.filesystem.rm(self.path(), recursive=True)

    @contextmanager
    def _troubles_told(self, done: str, name: str = "") -> Iterator[None]:
        """Turn what fails into a sentence."""
        try:
            yield
        except OSError as error:
            what = f"{self.url}/{name}" if name else self.url
            why = error.strerror or str(error) or type(error).__name__
            raise PictureError(f"{what} cannot be {done}: {why}.") from error


def _stamp(info: Mapping[str, Any]) -> str:
    change = next((f"{key} {info[key]}" for key in CHANGES if info.get(key) is not None), "")
    return f"{info.get('size')} bytes, {change}"


def store_of(folder: Path | str) -> Store:
    """Return the store of a local folder, by its absolute path, or of an address as it is."""
    return Store(folder) if isinstance(folder, str) else Store(os.path.abspath(folder))


@dataclass(frozen=True)
class WorkFolders:
    """The folders of a run, as a worker uses them.

    local: the output folders; anything stands in the place of those that are addresses.
    urls: "source", "out", "depth", "mask" or "pose" -> address, for folders that are not local.
    Pictures are copied from there into a temporary folder, and outputs from a temporary folder to
    there.
    """

    local: RefineFolders
    urls: Mapping[str, str]

    @contextmanager
    def fetch(self, job: Job) -> Iterator[Job]:
        """Yield the job with its picture on this machine."""
        if "source" not in self.urls:
            yield job
            return
        with TemporaryDirectory(prefix="handrefiner-") as folder:
            copy = Path(folder, job.source.name)
            copy.write_bytes(Store(self.urls["source"]).read(copy.name))
            yield replace(job, source=copy)

    def stamp(self, job: Job) -> str:
        """Return what differs when the job's picture has been changed; empty if it is gone."""
        url = self.urls.get("source")
        try:
            return (store_of(job.source.parent) if url is None else Store(url)).stamp(
                job.source.name
            )
        except PictureError:
            return ""

    @contextmanager
    def open_outputs(self) -> Iterator[RefineFolders]:
        """Yield folders to write to; their files are delivered unless the block raises."""
        names = [name for name in ("depth", "mask", "pose", "out") if name in self.urls]
        if not names:
            yield self.local
            return
        with TemporaryDirectory(prefix="handrefiner-") as folder:
            opened: dict[str, Any] = {name: Path(folder, name) for name in names}
            for path in opened.values():
                path.mkdir()
            yield replace(self.local, **opened)
            for name, path in opened.items():
                store = Store(self.urls[name])
                for file in sorted(path.iterdir()):
                    store.write(file.name, file.read_bytes())

    def describe_output(self, output: str) -> str:
        """Return the addresses of outputs that were written to a temporary folder."""
        if "out" not in self.urls or not output:
            return output
        names = (path.replace("\\", "/").rpartition("/")[2] for path in output.split(", "))
        return ", ".join(f"{self.urls['out']}/{name}" for name in names)


@dataclass(frozen=True)
class StoreShelf:
    """The folders of a run, for choosing the names of its outputs."""

    folders: WorkFolders

    @cached_property
    def _names(self) -> dict[str, frozenset[str]]:
        """Return the files in each output folder that is an address."""
        urls = self.folders.urls
        return {what: frozenset(Store(url).names()) for what, url in urls.items()}

    def locate(self, source: Path) -> str:
        url = self.folders.urls.get("source")
        if url is None:
            return digest_place(source)
        store = Store(url)
        if isinstance(store.filesystem, LocalFileSystem):  # file://: the same place by its path
            return digest_place(Path(store.path(source.name)))
        return digest_place(f"{url.rstrip('/')}/{source.name}")

    def digest(self, source: Path) -> str:
        url = self.folders.urls.get("source")
        try:
            return digest(source.read_bytes() if url is None else Store(url).read(source.name))
        except (OSError, PictureError):
            return ""

    def look(self, path: Path) -> bytes | None:
        what = path.parent.name
        if path.parent != NOWHERE / what or what not in self.folders.urls:
            return read_head(path)
        if path.name not in self._names[what]:
            return None
        return Store(self.folders.urls[what]).read(path.name)


def locate_folders(
    local: Mapping[str, Path], urls: Mapping[str, str], count: int = 1
) -> WorkFolders:
    """Return the folders of a run, by paths that are the same for every process of this machine.

    Arguments:
        local: "out", "depth", "mask" or "pose" -> path.
        urls: as in `WorkFolders`.
        count: outputs of each picture.
    """
    paths = {what: Path(os.path.abspath(path)) for what, path in local.items()}
    paths |= {what: NOWHERE / what for what in urls if what != "source"}
    return WorkFolders(RefineFolders(**paths, count=count), urls)  # type: ignore[arg-type]
