"""How often a picture was tried: one that kills the process working on it is left alone in the end.

A try is known afterwards because it is written down before the work (Ray, whose workers restart by
themselves) or by the process that waits for it (`files.workers`).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.marks import digest
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.outputs import settings_code
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import read_file, write_atomically

FOLDER, TRIES = ".handrefiner_run", "tries"
"""The folder in the output folder that holds what a run records, and in it that of the tries."""


def key_of(job: Job) -> str:
    """Return a job's key: the same in every run over its folder, and of no other job."""
    inside = (job.source.name, job.stem, job.prompt, job.first)
    return hashlib.sha256(repr(inside).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Place(Protocol):
    """A folder that small files are kept in."""

    def holds(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, data: bytes) -> None: ...


@dataclass(frozen=True)
class Tries:
    """Counts tries by name. word: those that were counted with another word do not count."""

    place: Place

    def count(self, name: str, word: str) -> int:
        """Return how many tries are recorded."""
        if not self.place.holds(name):
            return 0
        then, _, number = self.place.read(name).decode("utf-8", "replace").partition(" ")
        return int(number) if then == word and number.isdigit() else 0

    def add(self, name: str, word: str) -> int:
        """Record one more try; return how many there are now."""
        number = self.count(name, word) + 1
        self.place.write(name, f"{word} {number}".encode())
        return number


def describe_left_alone(job: Job, tries: int, advice: str) -> str:
    """Return the sentence about a picture that is not tried again."""
    return (
        f"{job.source.name} was left alone: {tries} workers have died over it, perhaps for lack "
        f"of memory; {advice}."
    )


@dataclass(frozen=True)
class LocalPlace:
    """A folder on this machine, which is made where something is written to it."""

    folder: Path

    def holds(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def read(self, name: str) -> bytes:
        return read_file(self.folder / name)

    def write(self, name: str, data: bytes) -> None:
        write_atomically(self.folder / name, data)


@dataclass(frozen=True)
class DeathRecord:
    """Which pictures killed their process, kept in the output folder `out` for `--resume`.

    A death counts for the same picture with the same parameters. Where it cannot be read or written
    the run goes on without it.
    """

    out: Path
    params: RefineParams

    @property
    def _folder(self) -> Path:
        return self.out / FOLDER / TRIES

    def _word(self, job: Job) -> str:
        return settings_code(asdict(self.params), digest(read_file(job.source)))

    def count(self, job: Job) -> int:
        """Return how many processes have died over the picture."""
        if not (self._folder / key_of(job)).is_file():
            return 0
        with suppress(PictureError):
            return Tries(LocalPlace(self._folder)).count(key_of(job), self._word(job))
        return 0

    def add(self, job: Job) -> None:
        """Record a death."""
        with suppress(PictureError):
            Tries(LocalPlace(self._folder)).add(key_of(job), self._word(job))

    def forget(self, job: Job) -> None:
        """Remove what is recorded of the picture, and the folders when nothing is left."""
        with suppress(OSError):
            (self._folder / key_of(job)).unlink()
            for folder in (self._folder, self._folder.parent):
                folder.rmdir()
