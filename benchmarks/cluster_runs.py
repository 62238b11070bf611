"""Running `handrefiner refine --engine ray` in a process of its own, and watching its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handrefiner_ext.cluster.journal import Journal, Row
from handrefiner_ext.cluster.store import store_of
from handrefiner_ext.files.tries import FOLDER

BIRTHMARK = "HANDREFINER_TEST_RUN"
LONGEST_S = 600.0
PROC = Path("/proc")


@dataclass
class Driver:
    """One command; all its processes carry `mark` in their environment."""

    pictures: Path
    out: Path
    options: tuple[str, ...] = ("--jobs", "2")
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __enter__(self) -> Driver:
        command = [sys.executable, "-m", "handrefiner_ext", "refine", "--engine", "ray"]
        command += ["--input_dir", str(self.pictures), "--out_dir", str(self.out), *self.options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, BIRTHMARK: self.mark},
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing goes on when the block is left, by an error too."""
        if self.process.poll() is None:
            self.kill()

    @property
    def log(self) -> Path:
        return self.out.with_name(f"{self.out.name}-{self.mark[:6]}.log")

    def finish(self) -> None:
        """Wait for the end; a failure ends the program with what the command has said."""
        if code := self.process.wait(LONGEST_S):
            said = self.log.read_text("utf-8", "replace")
            raise SystemExit(f"The command ended with {code}:\n{said}")

    def kill(self) -> None:
        """As a machine that loses power: nothing is tidied up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def processes(self) -> list[int]:
        """The process numbers of all that this command has started, itself included."""
        wanted = f"{BIRTHMARK}={self.mark}".encode()
        return [pid for pid in _list_processes() if wanted in _read(pid, "environ")]

    def workers(self) -> list[int]:
        return [pid for pid in self.processes() if b"Refiner" in _read(pid, "cmdline")]

    def memory_mb(self) -> float:
        """Of the command and its workers, without what they share."""
        return sum(_private_mb(pid) for pid in {self.process.pid, *self.workers()})


def rows_of(out: Path) -> dict[str, Row]:
    """What the run has recorded so far."""
    return journal_of(out).read()


def count_rows(out: Path) -> int:
    return _count(out / FOLDER / "rows")


def begun_without_row(out: Path) -> set[str]:
    """Keys of the pictures that were begun and are not recorded."""
    begun = {path.name for path in (out / FOLDER / "tries").iterdir()}
    return begun - {path.stem for path in (out / FOLDER / "rows").iterdir()}


def tried_twice(out: Path) -> set[str]:
    """Keys of the pictures that the run has begun more than once."""
    tries = (out / FOLDER / "tries").iterdir()
    return {path.name for path in tries if path.read_text().split()[-1:] not in (["1"], [])}


def journal_of(out: Path) -> Journal:
    return Journal(store_of(out), "")


def wait_until(true: Callable[[], bool], what: str, longest_s: float = LONGEST_S) -> None:
    end = time.monotonic() + longest_s
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen in {longest_s:g} s.")
        time.sleep(0.05)


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def _list_processes() -> Iterator[int]:
    return (int(path.name) for path in PROC.iterdir() if path.name.isdigit())


def _read(pid: int, what: str) -> bytes:
    """A file of the process; nothing where it has ended."""
    try:
        return (PROC / str(pid) / what).read_bytes()
    except OSError:
        return b""


def _private_mb(pid: int) -> float:
    lines = _read(pid, "smaps_rollup").decode().splitlines()
    private = [line.split()[1] for line in lines if line.startswith("Private_")]
    return sum(map(int, private)) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far; 0 where it has ended."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else 0.0
