"""A folder of pictures as a stream of Ray Data: exactly one result for each of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from handrefiner_ext.cluster.journal import Journal
from handrefiner_ext.cluster.session import open_session
from handrefiner_ext.cluster.store import NOWHERE, Store, WorkFolders, store_of
from handrefiner_ext.cluster.workers import Assignment, Finder, Refiner, make_row, pack, unpack
from handrefiner_ext.errors import ClusterError, PictureError
from handrefiner_ext.files.beside import list_given_files
from handrefiner_ext.files.log import Report
from handrefiner_ext.files.marks import digest
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.run import Recipe
from handrefiner_ext.files.sources import (
    Listing,
    Prompted,
    check_readable,
    sort_out,
)
from handrefiner_ext.files.tries import key_of
from handrefiner_ext.pictures.disk import remove_partial_files

AT_A_TIME = 4
"""Pictures to a block where a GPU paints: so many are searched, and travel, together."""
LARGEST_BLOCK, BLOCKS_EACH = 16, 64
"""At most so many pictures to a block where each worker paints what it finds, and at least so many
blocks for each worker."""
WITHOUT_GPU = ("draft",)
"""Backends that paint on the processor, so that whoever finds a hand may as well paint it."""


@dataclass(frozen=True)
class Cluster:
    """The workers. address: of a running cluster, None = this machine. jobs: None = every core.

    painters: workers with a GPU each that paint the hands others have found; None = as many as
    there are GPUs, if the backend uses them; 0 = each worker paints what it finds.
    """

    address: str | None = None
    jobs: int | None = None
    painters: int | None = None
    gpus_each: float = 1.0


def list_sources(url: str, prompts: Sequence[Prompted] | None = None) -> Listing:
    """Return the pictures in a folder that is not a local path, or those of a prompt file."""
    if prompts is not None:
        return Listing([replace(each, source=NOWHERE / each.source.name) for each in prompts])
    names = Store(url).names()
    if not names:
        raise PictureError(f"{url} holds no files, or does not exist.")
    found = sort_out(names)
    check_readable(found, url)
    return Listing([Prompted(NOWHERE / name) for name in found.pictures], tuple(found.say()))


def make_assignment(recipe: Recipe, folders: WorkFolders) -> Assignment:
    """Return what the workers of a new run are told."""
    journal = Journal(store_of(folders.urls.get("out") or folders.local.out), uuid.uuid4().hex)
    for name in ("drawn_mask", "pose_file", "depth_in"):
        place = getattr(recipe, name)
        if place is not None:  # workers have a working directory of their own
            changed: dict[str, Any] = {name: Path(os.path.abspath(place))}
            recipe = replace(recipe, **changed)
    return Assignment(recipe, folders, journal)


@dataclass(frozen=True)
class FolderRun:
    """One command over one folder.

    jobs: every picture of the folder. place: that folder, as it was given.
    """

    jobs: Sequence[Job]
    assignment: Assignment
    place: str
    cluster: Cluster

    def begin(self) -> dict[str, Job]:
        """Return what is left to do, by key; UsageError if a run with other settings is open."""
        for what, url in self.assignment.folders.urls.items():
            if what != "source":
                Store(url).make()
        self.assignment.journal.begin(describe_settings(self.assignment, self.place))
        jobs = {key_of(job): job for job in self.jobs}
        finished, folders = self.assignment.journal.finished(), self.assignment.folders
        # A picture that has been changed since is done again.
        return {
            key: job
            for key, job in jobs.items()
            if key not in finished or finished[key] != folders.stamp(job)
        }

    def work_through(self, left: Mapping[str, Job]) -> Iterator[Report]:
        """Yield the report of every picture of `left` as it is done, then write the manifest."""
        reported: set[str] = set()
        if left:
            with open_session(self.cluster.address, self.cluster.jobs) as ray:
                for alone in (False, True):  # a second time for what Ray Data has dropped
                    jobs = [job for key, job in left.items() if key not in reported]
                    for key, report in self._stream(ray, jobs, alone):
                        reported.add(key)
                        yield replace(report, source=_shown(left[key]))
        for key, job in left.items():
            if key not in reported:
                yield self._give_up(key, job)
        self._tidy_up()
        self.assignment.journal.close([key_of(job) for job in self.jobs])

    def _tidy_up(self) -> None:
        """Remove what workers that died were writing; the others have ended, too, by now."""
        local, urls = self.assignment.folders.local, self.assignment.folders.urls
        for name, folder in (("out", local.out), ("depth", local.depth), ("mask", local.mask)):
            if folder is not None and name not in urls:
                remove_partial_files(folder)

    def _stream(self, ray: Any, jobs: list[Job], alone: bool) -> Iterator[tuple[str, Report]]:
        """Yield keys and reports of the jobs as Ray Data brings them, in any order.

        It drops blocks whose worker raised an exception. alone: each job is a block of its own.
        """
        if not jobs:
            return
        stream = self._arrange(ray, jobs, alone)
        try:
            for block in stream.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from zip(unpack(block, "key"), unpack(block, "report"), strict=True)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"Ray broke off ({type(error).__name__}); run the same command again, and it "
                "continues where it stopped."
            ) from error

    def _arrange(self, ray: Any, jobs: list[Job], alone: bool) -> Any:
        """Return the stream of blocks through the workers."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1
        workers = self.cluster.jobs or int(ray.cluster_resources().get("CPU", 1))
        painters = self._count_painters(ray)
        size = AT_A_TIME if painters else choose_block(len(jobs), workers)
        size = 1 if alone else size
        absolute = [replace(job, source=Path(os.path.abspath(job.source))) for job in jobs]
        blocks = [pack(job=absolute[at : at + size]) for at in range(0, len(jobs), size)]
        stream, workers = ray.data.from_arrow(blocks), min(workers, len(blocks))
        if not painters:
            return _map(ray, stream, Refiner, self.assignment, workers, {"num_cpus": 1})
        stream = _map(ray, stream, Finder, self.assignment, workers, {"num_cpus": 1})
        share = {"num_cpus": 0, "num_gpus": self.cluster.gpus_each, "batch_size": size}
        return _map(ray, stream, Refiner, self.assignment, painters, share)

    def _count_painters(self, ray: Any) -> int:
        if self.cluster.painters is not None:
            return self.cluster.painters
        if self.assignment.recipe.params.backend in WITHOUT_GPU:
            return 0
        return int(ray.cluster_resources().get("GPU", 0) / self.cluster.gpus_each)

    def _give_up(self, key: str, job: Job) -> Report:
        """Record a picture that Ray Data dropped twice: the worker's own code broke over it."""
        report = Report(
            _shown(job),
            error=f"{job.source.name} broke the worker that had it; Ray's logs say what happened. "
            "Please report it.",
        )
        self.assignment.journal.write(key, make_row(report, 0.0))
        return report


def choose_block(count: int, workers: int) -> int:
    """Return how many of `count` pictures a worker gets at once.

    Few, so that no worker is still busy when the others are done. A block that is started again
    costs nothing: what is recorded of it is skipped.
    """
    return max(1, min(count // (workers * BLOCKS_EACH), LARGEST_BLOCK))


def describe_settings(assignment: Assignment, place: str) -> dict[str, str]:
    """Return what must be the same in a run that continues another."""
    urls, local, recipe = assignment.folders.urls, assignment.folders.local, assignment.recipe
    params = {name: str(value) for name, value in asdict(recipe.params).items()}
    folders = {f"{name}_dir": url for name, url in urls.items() if name != "source"}
    for name in ("depth", "mask", "pose"):
        folders.setdefault(f"{name}_dir", str(getattr(local, name)))
    return {
        **params,
        **folders,
        "input_dir": store_of(urls.get("source") or Path(place)).url,
        "drawn_mask": _describe_pictures(recipe.drawn_mask),
        "outputs": str(local.count),
        "pose_file": _describe_poses(recipe.pose_file),
        "depth_in": _describe_pictures(recipe.depth_in),
    }


def _describe_pictures(place: Path | None) -> str:
    """Return a picture or a folder of them, with a digest that differs where one was changed."""
    if place is None:
        return "None"
    files = [(path.name, digest(path.read_bytes())) for path in list_given_files([place])]
    return f"{place} ({digest(repr(files).encode('utf-8', 'surrogatepass'))[:8]})"


def _describe_poses(place: Path | None) -> str:
    """Return the pose file or folder, with a digest that differs where one was changed."""
    if place is None:
        return "None"
    paths = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    files = [(path.name, digest(path.read_bytes())) for path in paths]
    return f"{place} ({digest(repr(files).encode('utf-8', 'surrogatepass'))[:8]})"


def _map(
    ray: Any,
    stream: Any,
    worker: type,
    assignment: Assignment,
    count: int,
    share: Mapping[str, float],
) -> Any:
    """Send `stream` through `count` workers of a class; each has one block waiting, no more."""
    pool = ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=2)
    options = {"batch_size": None, **share}
    return stream.map_batches(
        worker,
        fn_constructor_args=(assignment,),
        batch_format="pyarrow",
        compute=pool,
        **options,
    )


def _shown(job: Job) -> Path:
    """Return the picture's path as the user knows it."""
    return Path(job.source.name) if job.source.parent == NOWHERE else job.source
