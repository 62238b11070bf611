"""Several pictures at a time, each in a process of its own (`--jobs`)."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.outputs import RefineFolders
from handrefiner_ext.files.run import Report, Request, refine_picture, work_on
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Preparing
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import ModelHome

Work = Callable[[Job], Report]


@dataclass(frozen=True)
class Order:
    """What every process is told; each builds its stages itself, once."""

    params: RefineParams
    home: ModelHome
    drawn_mask: Path | None = None
    evaluates: bool = False


class NotReady(Exception):
    """No picture can be worked on; `args[0]` is why."""


def prepare(order: Order) -> Request:
    """The stages, with all that they need loaded; what is wrong with that is raised at once."""
    stages = build_stages(order.params, order.home)
    if isinstance(stages.inpainter, Preparing):
        stages.inpainter.prepare(order.params)
    return Request(order.params, stages, order.drawn_mask, order.evaluates)


def refine_by_order(job: Job, order: Order, folders: RefineFolders) -> Report:
    """`refine_picture` in a process of its own."""
    try:
        request = prepare(order)
    except HandRefinerError as error:
        raise NotReady(error) from error
    return refine_picture(job, request, folders)


def work_in_parallel(jobs: Sequence[Job], work: Work, workers: int) -> Iterator[Report]:
    """Every picture's report, as they are done. work: something that can be pickled.

    A process that dies (of too little memory, say) costs the pictures that were not done by then.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_settle_in)
    try:
        waiting = {pool.submit(work_on, job, work): job for job in jobs}
        for done in as_completed(waiting):
            yield _read(done, waiting[done])
    finally:
        pool.shutdown(cancel_futures=True)


def _settle_in() -> None:
    """In a new process: one thread, since others work beside it; the parent hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _read(done: Future[Report], job: Job) -> Report:
    try:
        return done.result()
    except NotReady as error:
        raise error.args[0] from error
    except BrokenProcessPool:
        return Report(
            job.source,
            error=f"{job.source.name} was not done: a process ended, for want of memory perhaps. "
            "Run the same command again with --resume and fewer --jobs.",
        )
