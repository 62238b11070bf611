"""Scenes made by several processes, handed over in order, with few of them in memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from handrefiner_ext.errors import HandRefinerError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 3
"""Results that may wait for each process."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    """`work` of every item, in their order; work and items can be pickled."""
    if jobs == 1:
        yield from map(work, items)
        return
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")  # read by the new processes when they import numpy
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_settle_in)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise HandRefinerError(
            "A process ended, perhaps for want of memory. Run the same command again in a new "
            "folder with fewer --jobs."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _settle_in() -> None:
    """In a new process: one thread, since others work beside it; the parent hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
