"""What clients can make the routes do: few requests at a time, few that wait, limited time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from typing import TypeVar

from handrefiner_ext.api.body import Problem
from handrefiner_ext.detect.flow import DetectorWrapper
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Detection, Hand, Image, View

Result = TypeVar("Result")
AT_ONCE = 4
"""Requests that are unpacked at a time; each holds its picture several times over."""
MOST_WAITING = 16
"""Of the 40 threads that FastAPI has for them and the WebUI's own requests."""
ROUTE_PIXELS = 40_000_000
"""A picture of this size costs 6 s of one core and 1 GB of memory where one hand is repainted."""
LONGEST_WAIT_S = 300.0
LONGEST_WORK_S = 600.0
FULL = "{} requests are being answered and {} more wait already; send this one again in a minute."
WAITED = "The requests before this one took longer than {:g} s; send it again later."
TOO_LONG = (
    "The work on the picture took longer than {:g} s and was ended; scale the picture down, or "
    "name places with boxes or hands."
)


class Gate:
    """Lets few requests in at a time; others wait, and too many or too long a wait are refused.

    They are worked on by a few threads of its own. The server takes any of some 40 for a request,
    and the C library keeps a heap for each thread: pictures laid out in all of them leave gaps in
    all of them, and the process grew for days.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "handrefiner")
        self._turns = BoundedSemaphore(AT_ONCE)
        self._inside = 0
        self._lock = Lock()

    def check_room(self) -> None:
        """Raise Problem if a request would have to wait behind too many."""
        if self._inside >= AT_ONCE + MOST_WAITING:
            raise Problem(503, FULL.format(AT_ONCE, MOST_WAITING))

    def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, once it had its turn on one of the threads."""
        with self.enter():
            return self._threads.submit(work).result()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a turn while the block runs."""
        with self._lock:
            self.check_room()
            self._inside += 1
        try:
            if not self._turns.acquire(timeout=LONGEST_WAIT_S):
                raise Problem(503, WAITED.format(LONGEST_WAIT_S))
            try:
                yield
            finally:
                self._turns.release()
        finally:
            with self._lock:
                self._inside -= 1


@dataclass
class TimedDetector(DetectorWrapper):
    """Ends work that takes too long: everything done to a picture asks the detector in between."""

    begun: float = field(default_factory=time.monotonic)

    def _check(self) -> None:
        if time.monotonic() - self.begun > LONGEST_WORK_S:
            raise Problem(503, TOO_LONG.format(LONGEST_WORK_S))

    def detect(self, image: Image, params: RefineParams) -> Detection:
        self._check()
        return super().detect(image, params)

    def redetect(
        self, image: Image, hands: tuple[Hand, ...], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        self._check()
        return super().redetect(image, hands, params)

    def reread(self, image: Image, hand: Hand, params: RefineParams) -> tuple[Hand, ...]:
        self._check()
        return super().reread(image, hand, params)

    def examine(
        self, image: Image, hand: Hand, views: Sequence[View], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        self._check()
        return super().examine(image, hand, views, params)
