"""Processes that do one item after the other: one that kills its process costs no other item.

A process that dies is replaced, and the caller is told which item it had.

`concurrent.futures` cannot do this: there the death of one process ends all, and nobody knows which
item it had.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import cv2

from handrefiner_ext.errors import BackendUnavailable, HandRefinerError

Item = TypeVar("Item")
Result = TypeVar("Result")
READY, DONE, UNABLE = "ready", "done", "unable"
"""What a process says: it can begin; an item's result; why no item can be done."""
MOST_TRIES = 2
SECONDS_TO_LEAVE = 5.0
"""A process that is told to end while it works gets this long to remove its half-written file."""
MEMORY = "perhaps for lack of memory"


class Worker(Generic[Item]):
    """One process, and the item that it has."""

    def __init__(self, start: Callable[[], Callable[[Item], Any]], has_siblings: bool) -> None:
        # Forked, a process would have the locks of threads that it has not (torch, OpenCV, LiteRT).
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, start, has_siblings))
        try:
            self.process.start()
        finally:
            theirs.close()
        self.item: Item | None = None
        self.is_ready = False

    @property
    def has_news(self) -> bool:
        try:
            return self.connection.poll() or not self.process.is_alive()
        except OSError:
            return True

    @property
    def its_item(self) -> Item:
        assert self.item is not None
        return self.item

    def give(self, item: Item) -> bool:
        """Send an item; return whether the process could still take it."""
        try:
            self.connection.send(item)
        except OSError:
            return False
        self.item = item
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
        """Tell the process to end; one that works on an item gives it up."""
        self.connection.close()
        if self.item is not None or not self.is_ready:
            self.process.terminate()

    def bury(self) -> None:
        """Wait until the process has ended."""
        self.process.join(SECONDS_TO_LEAVE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@dataclass
class Processes(Generic[Item, Result]):
    """The processes of a run, a context that ends them.

    start: returns what is done to each item; a process calls it once. It can be pickled, so it is
    no lambda and no local function; so can items and results. count: how many processes.
    """

    start: Callable[[], Callable[[Item], Result]]
    count: int
    workers: list[Worker[Item]] = field(default_factory=list, kw_only=True)
    failed_alone: int = field(default=0, kw_only=True)

    def __enter__(self) -> Processes[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def share_out(
        self, waiting: deque[Item], count: int, lose: Callable[[Worker[Item]], None]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield each item that waits with its result, in the order in which they are done.

        More may be appended meanwhile. lose: is told of a process that died over an item.
        """
        while waiting or any(worker.item is not None for worker in self.workers):
            for worker in self.workers:
                if waiting and worker.is_ready and worker.item is None:
                    item = waiting.popleft()
                    if not worker.give(item):
                        waiting.appendleft(item)
            busy = sum(worker.item is not None for worker in self.workers)
            self.employ(min(count, self.count, busy + len(waiting)))
            yield from self.hear_all(lose)

    def employ(self, count: int) -> None:
        """Start processes until there are so many."""
        while len(self.workers) < count:
            try:
                self.workers.append(Worker(self.start, has_siblings=self.count > 1))
            except OSError:  # too many processes for this system
                if not self.workers:
                    raise
                self.count = len(self.workers)
                return

    def hear_all(self, lose: Callable[[Worker[Item]], None]) -> Iterator[tuple[Item, Result]]:
        """Wait until a process says something or dies; yield the results that are there."""
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
                item, worker.item = worker.its_item, None
                self.finish(item)
                yield item, what

    def _replace(self, worker: Worker[Item], lose: Callable[[Worker[Item]], None]) -> None:
        """Drop a process that has died; the next round starts another."""
        self.workers.remove(worker)
        if worker.item is not None:
            self.clear_up(worker)
            lose(worker)
            return
        # No item is to blame: so many copies of the models may be too many.
        if self.count > 1:
            self.count -= 1
            return
        self.failed_alone += 1
        if self.failed_alone == MOST_TRIES:
            raise BackendUnavailable(
                f"The process that loads the models {describe_end(worker)}, twice. Choose another "
                "backend or other weights; handrefiner doctor says what works here."
            )

    def finish(self, item: Item) -> None:
        """Called when an item is done."""

    def clear_up(self, worker: Worker[Item]) -> None:
        """Called when a process has died over its item."""

    def dismiss(self) -> None:
        """End all processes; later items get new ones."""
        leaving, self.workers = self.workers, []
        for worker in leaving:
            worker.leave()
        for worker in leaving:
            worker.bury()


def describe_end(worker: Worker[Any]) -> str:
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


def _serve(
    connection: Connection, start: Callable[[], Callable[[Any], Any]], has_siblings: bool
) -> None:
    """Do one item after the other until the parent closes the connection."""
    # Ctrl-C is left to the parent, which then ends the others. Told to end, a process raises, so
    # that half-written files are removed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if has_siblings:
        cv2.setNumThreads(1)  # they use the other cores
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            work = start()
        except (HandRefinerError, OSError) as error:
            connection.send((UNABLE, error))
            return
        connection.send((READY, None))
        while True:
            item = connection.recv()
            connection.send((DONE, work(item)))


def _end_with_parent() -> None:
    """End this process when the command itself is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
