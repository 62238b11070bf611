"""Pictures worked on in processes of their own, so that one that kills its process costs no other.

The picture that a dead process had is tried once more when all others are done, alone, because most
processes die for lack of memory; then it is reported as failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from handrefiner_ext.files.log import Report
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.processes import MOST_TRIES, Processes, Worker, describe_end
from handrefiner_ext.files.run import Start, prepare_work, work_on
from handrefiner_ext.files.tries import DeathRecord, describe_left_alone
from handrefiner_ext.pictures.disk import remove_partial_files


@dataclass
class Crew(Processes[Job, Report]):
    """The processes of a run over pictures.

    record: of deaths, None keeps none. resumes: leave alone what `record` says has died often
    enough. folders: of the outputs.
    """

    start: Start
    record: DeathRecord | None = None
    resumes: bool = False
    folders: Sequence[Path] = ()

    def __post_init__(self) -> None:
        self.start = partial(_start_pictures, self.start)

    def __enter__(self) -> Crew:
        return self

    def prepare(self, pictures: int) -> None:
        """Wait for the first process to have loaded the models; raise what is wrong with them."""
        while not any(worker.is_ready for worker in self.workers):
            self.employ(min(self.count, pictures))
            list(self.hear_all(lambda worker: None))

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
        yield from self._reports(waiting, self.count, lambda worker: alone.append(worker.its_item))
        if alone and len(self.workers) > 1:
            self.dismiss()  # they would keep their memory
        for job in alone:
            dead: list[Worker[Job]] = []
            yield from self._reports(deque([job]), 1, dead.append)
            yield from (Report(job.source, error=_explain(job, worker)) for worker in dead)

    def _reports(
        self, waiting: deque[Job], count: int, lose: Callable[[Worker[Job]], None]
    ) -> Iterator[Report]:
        return (report for _, report in self.share_out(waiting, count, lose))

    def _deaths_of(self, job: Job) -> int:
        if self.record is None:
            return 0
        if self.resumes:
            return self.record.count(job)
        self.record.forget(job)
        return 0

    def finish(self, item: Job) -> None:
        if self.record is not None:
            self.record.forget(item)

    def clear_up(self, worker: Worker[Job]) -> None:
        for folder in self.folders:
            remove_partial_files(folder, worker.process.pid)
        if self.record is not None:
            self.record.add(worker.its_item)


def _start_pictures(start: Start) -> Callable[[Job], Report]:
    """In the process: load the models, and let no fault leave its picture."""
    return partial(work_on, work=prepare_work(start))


def _explain(job: Job, worker: Worker[Job]) -> str:
    return (
        f"{job.source.name} was not done: its process {describe_end(worker)}, also when it was "
        "tried alone. Scale the picture down or leave it out."
    )
