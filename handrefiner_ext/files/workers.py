"""Pictures worked on in processes of their own, so that one that kills its process costs no other.

A process that dies is replaced. The picture that it had is tried once more when all others are
done, alone, because most processes die for lack of memory; then it is reported as failed.

`concurrent.futures` cannot do this: there the death of one process ends all, and nobody knows which
picture it had.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import cv2

from handrefiner_ext.errors import BackendUnavailable, HandRefinerError
from handrefiner_ext.files.log import Report
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.run import Start, prepare_work, work_on
from handrefiner_ext.files.tries import DeathRecord, describe_left_alone
from handrefiner_ext.pictures.disk import remove_partial_files

READY, DONE, UNABLE = "ready", "done", "unable"
"""What a process says: its models are loaded; a picture's report; why no picture can be done."""
MOST_TRIES = 2
SECONDS_TO_LEAVE = 5.0
"""A process that is told to end while it works gets this long to remove its half-written file."""
MEMORY = "perhaps for lack of memory"


class Worker:
    """One process, and the picture that it has."""

    def __init__(self, start: Start, has_siblings: bool) -> None:
        # Forked, a process would have the locks of threads that it has not (torch, OpenCV, LiteRT).
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, start, has_siblings))
        try:
            self.process.start()
        finally:
            theirs.close()
        self.job: Job | None = None
        self.is_ready = False

    @property
    def has_news(self) -> bool:
        try:
            return self.connection.poll() or not self.process.is_alive()
        except OSError:
            return True

    def give(self, job: Job) -> bool:
        """Send a picture; return whether the process could still take it."""
        try:
            self.connection.send(job)
        except OSError:
            return False
        self.job = job
        return True

    def hear(self) -> tuple[str, Any] | None:
        """Return what the process says; None if it has died."""
        try:
            said: tuple[str, Any] = self.connection.recv()
            return said
        except (EOFError, OSError):
            self.process.join(SECONDS_TO_LEAVE)
            return None

    def leave(self) -> None:
        """Tell the process to end; one that works on a picture gives it up."""
        self.connection.close()
        if self.job is not None or not self.is_ready:
            self.process.terminate()

    def bury(self) -> None:
        """Wait until the process has ended."""
        self.process.join(SECONDS_TO_LEAVE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@dataclass
class Crew:
    """The processes of a run, a context that ends them.

    start: returns what is done to each picture; a process calls it once. It can be pickled, so it
    is no lambda and no local function. count: how many processes. record: of deaths, None keeps
    none. resumes: leave alone what `record` says has died often enough. folders: of the outputs.
    """

    start: Start
    count: int
    record: DeathRecord | None = None
    resumes: bool = False
    folders: Sequence[Path] = ()
    workers: list[Worker] = field(default_factory=list)
    failed_alone: int = 0

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self._dismiss()

    def prepare(self, pictures: int) -> None:
        """Wait for the first process to have loaded the models; raise what is wrong with them."""
        while not any(worker.is_ready for worker in self.workers):
            self._employ(min(self.count, pictures))
            list(self._hear_all(lambda worker: None))

    def work_through(self, jobs: Sequence[Job]) -> Iterator[Report]:
        """Yield the report of every picture, in the order in which they are done."""
        waiting: deque[Job] = deque()
        alone: list[Job] = []
        for job in jobs:
            deaths = self._deaths_of(job)
            if deaths >= MOST_TRIES:
                advice = "change it, or run without --resume to try it again"
                yield Report(job.source, error=describe_left_alone(job, deaths, advice))
            else:
                (alone if deaths else waiting).append(job)
        yield from self._share_out(waiting, self.count, lambda worker: alone.append(_job(worker)))
        if alone and len(self.workers) > 1:
            self._dismiss()  # they would keep their memory
        for job in alone:
            dead: list[Worker] = []
            yield from self._share_out(deque([job]), 1, dead.append)
            yield from (Report(job.source, error=_explain(job, worker)) for worker in dead)

    def _deaths_of(self, job: Job) -> int:
        if self.record is None:
            return 0
        if self.resumes:
            return self.record.count(job)
        self.record.forget(job)
        return 0

    def _share_out(
        self, waiting: deque[Job], count: int, lose: Callable[[Worker], None]
    ) -> Iterator[Report]:
        """Yield the reports of all that wait; `lose` is told of a process that died over one."""
        while waiting or any(worker.job for worker in self.workers):
            for worker in self.workers:
                if waiting and worker.is_ready and worker.job is None:
                    job = waiting.popleft()
                    if not worker.give(job):
                        waiting.appendleft(job)
            busy = sum(worker.job is not None for worker in self.workers)
            self._employ(min(count, self.count, busy + len(waiting)))
            yield from self._hear_all(lose)

    def _employ(self, count: int) -> None:
        """Start processes until there are so many."""
        while len(self.workers) < count:
            try:
                self.workers.append(Worker(self.start, has_siblings=self.count > 1))
            except OSError:  # too many processes for this system
                if not self.workers:
                    raise
                self.count = len(self.workers)
                return

    def _hear_all(self, lose: Callable[[Worker], None]) -> Iterator[Report]:
        """Wait until a process says something or dies; yield the reports that are there."""
        connections = [worker.connection for worker in self.workers]
        wait([*connections, *(worker.process.sentinel for worker in self.workers)])
        for worker in [worker for worker in self.workers if worker.has_news]:
            said = worker.hear()
            if said is None:
                self._replace(worker, lose)
                continue
            kind, what = said
            if kind == UNABLE:
                raise what
            worker.is_ready = True
            if kind == DONE:
                self.failed_alone = 0
                if self.record is not None:
                    self.record.forget(_job(worker))
                worker.job = None
                yield what

    def _replace(self, worker: Worker, lose: Callable[[Worker], None]) -> None:
        """Drop a process that has died; the next round starts another."""
        self.workers.remove(worker)
        if worker.job is not None:
            for folder in self.folders:
                remove_partial_files(folder, worker.process.pid)
            if self.record is not None:
                self.record.add(worker.job)
            lose(worker)
            return
        # No picture is to blame: so many copies of the models may be too many.
        if self.count > 1:
            self.count -= 1
            return
        self.failed_alone += 1
        if self.failed_alone == MOST_TRIES:
            raise BackendUnavailable(
                f"The process that loads the models {describe_end(worker)}, twice. Choose another "
                "backend or other weights; handrefiner doctor says what works here."
            )

    def _dismiss(self) -> None:
        leaving, self.workers = self.workers, []
        for worker in leaving:
            worker.leave()
        for worker in leaving:
            worker.bury()


def _job(worker: Worker) -> Job:
    assert worker.job is not None
    return worker.job


def _explain(job: Job, worker: Worker) -> str:
    return (
        f"{job.source.name} was not done: its process {describe_end(worker)}, also when it was "
        "tried alone. Scale the picture down or leave it out."
    )


def describe_end(worker: Worker) -> str:
    """Return how a process ended, as the end of a sentence."""
    code = worker.process.exitcode
    if code is None:
        return f"broke off, {MEMORY}"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        killed = name in ("SIGKILL", "SIGTERM")
        return f"was killed ({name}), {MEMORY}" if killed else f"crashed ({name})"
    return f"ended with code {code if code < 1 << 16 else hex(code)}"


# --- inside the process


def _serve(connection: Connection, start: Start, has_siblings: bool) -> None:
    """Do one picture after the other until the parent closes the connection."""
    # Ctrl-C is left to the parent, which then ends the others. Told to end, a process raises, so
    # that half-written files are removed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if has_siblings:
        cv2.setNumThreads(1)  # they use the other cores
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            work = prepare_work(start)
        except (HandRefinerError, OSError) as error:
            connection.send((UNABLE, error))
            return
        connection.send((READY, None))
        while True:
            job = connection.recv()
            connection.send((DONE, work_on(job, work)))


def _end_with_parent() -> None:
    """End this process when the command itself is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
