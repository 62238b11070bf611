"""Several pictures at a time, each in a process of its own (`--jobs`)."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import cv2

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.outputs import RefineFolders
from handrefiner_ext.files.run import (
    Recipe,
    Report,
    prepare_repainter,
    refine_picture,
    work_on,
)

Work = Callable[[Job], Report]


class NotReady(Exception):
    """No picture can be worked on; `args[0]` is why."""


def refine_in_process(job: Job, recipe: Recipe, folders: RefineFolders) -> Report:
    """Call `refine_picture` in a worker process, whose models are loaded for its first picture."""
    try:
        repainter = prepare_repainter(recipe)
    except HandRefinerError as error:
        raise NotReady(error) from error
    return refine_picture(job, recipe, repainter, folders)


def work_in_parallel(jobs: Sequence[Job], work: Work, workers: int) -> Iterator[Report]:
    """Yield the report of every picture, in the order in which they are done.

    A process that dies (for lack of memory, say) costs the pictures that were not done by then.

    Arguments:
        work: something that can be pickled, so no lambda and no local function.
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
    """Set up a new process: OpenCV gets one thread, because its siblings use the other cores.

    Ctrl-C is left to the parent, which then writes what was finished and ends the others.
    """
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
            error=f"{job.source.name} was not done: its process died, perhaps for lack of memory. "
            "Run the same command again with --resume and fewer --jobs.",
        )
