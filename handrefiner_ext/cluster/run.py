"""A folder of pictures as a stream of Ray Data: exactly one result for each of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from handrefiner_ext.cluster.desk import Desk
from handrefiner_ext.cluster.journal import Journal, key_of
from handrefiner_ext.cluster.options import is_url
from handrefiner_ext.cluster.session import open_session
from handrefiner_ext.cluster.store import Store, store_of
from handrefiner_ext.cluster.workers import Order, Refiner, Seer, make_row, pack, unpack
from handrefiner_ext.errors import ClusterError, PictureError
from handrefiner_ext.files.naming import EXTENSIONS, Job
from handrefiner_ext.files.outputs import RefineFolders
from handrefiner_ext.files.prompts import Prompted
from handrefiner_ext.files.run import Report
from handrefiner_ext.params import RefineParams

NOWHERE = Path(os.devnull, "elsewhere")
"""Stands for a folder that is no local path, where outputs are named."""
AT_A_TIME = 4
"""Pictures to a block where a GPU paints: so many are seen, and travel, together."""
LARGEST_BLOCK, BLOCKS_EACH = 16, 64
"""Pictures to a block where nobody paints for others, and how many blocks each worker gets."""
WITHOUT_GPU = ("draft",)
"""Backends that paint on the processor, and so where the hands were found."""


@dataclass(frozen=True)
class Cluster:
    """Who works. address: of a running cluster, None = this machine. jobs: None = every core.

    painters: workers with a GPU each that paint what others have seen; None = as many as there
    are GPUs, if the backend uses them; 0 = whoever finds a hand paints it.
    """

    address: str | None = None
    jobs: int | None = None
    painters: int | None = None
    gpus_each: float = 1.0


def list_pictures(url: str) -> list[Path]:
    """The pictures in a folder that is no local path, by name."""
    names = (Path(name) for name in Store(url).names())
    found = [NOWHERE / name for name in names if name.suffix.lower() in EXTENSIONS]
    if not found and not Store(url).names():
        raise PictureError(f"{url} holds no files, or does not exist.")
    return found


def list_sources(url: str, prompts: Sequence[Prompted] | None) -> list[Prompted]:
    """The pictures of that folder, or those that a prompt file names."""
    if prompts is None:
        return [Prompted(path) for path in list_pictures(url)]
    return [replace(each, source=NOWHERE / each.source.name) for each in prompts]


def make_order(
    params: RefineParams,
    folders: RefineFolders,
    urls: Mapping[str, str],
    drawn_mask: Path | None = None,
) -> Order:
    """What the workers are told. urls: see `Desk`; `folders` has anything in their places."""
    local: dict[str, Any] = {
        name: Path(os.path.abspath(path))
        for name, path in (("out", folders.out), ("depth", folders.depth), ("mask", folders.mask))
        if path is not None
    }
    journal = Journal(store_of(urls.get("out") or folders.out), uuid.uuid4().hex)
    mask = None if drawn_mask is None else Path(os.path.abspath(drawn_mask))
    return Order(params, Desk(replace(folders, **local), urls), journal, mask)


@dataclass(frozen=True)
class Run:
    """One command over one folder.

    jobs: every picture of the folder. place: that folder, as it was given.
    """

    jobs: Sequence[Job]
    order: Order
    place: str
    cluster: Cluster

    def begin(self) -> dict[str, Job]:
        """What is left to do, by key; UsageError where other settings were left unfinished."""
        for what, url in self.order.desk.urls.items():
            if what != "source":
                Store(url).make()
        self.order.journal.begin(describe_settings(self.order, self.place))
        finished = self.order.journal.finished()
        jobs = {key_of(job): job for job in self.jobs}
        return {key: job for key, job in jobs.items() if key not in finished}

    def work_through(self, left: Mapping[str, Job]) -> Iterator[Report]:
        """The report of every picture of `left`, as they are done; then the manifest is written."""
        reported: set[str] = set()
        if left:
            with open_session(self.cluster.address, self.cluster.jobs) as ray:
                for alone in (False, True):  # what Ray Data has dropped comes once more
                    jobs = [job for key, job in left.items() if key not in reported]
                    for key, report in self._stream(ray, jobs, alone):
                        reported.add(key)
                        yield replace(report, source=_shown(left[key]))
        for key, job in left.items():
            if key not in reported:
                yield self._give_up(key, job)
        self.order.journal.close([key_of(job) for job in self.jobs])

    def _stream(self, ray: Any, jobs: list[Job], alone: bool) -> Iterator[tuple[str, Report]]:
        """Keys and reports of the jobs as Ray Data brings them, in any order.

        It drops blocks over which a worker's code has broken. alone: each job is a block.
        """
        if not jobs:
            return
        stream = self._arrange(ray, jobs, alone)
        try:
            for block in stream.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from zip(unpack(block, "key"), unpack(block, "report"), strict=True)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"Ray broke off ({type(error).__name__}); run the same command again, and it goes "
                "on where it was stopped."
            ) from error

    def _arrange(self, ray: Any, jobs: list[Job], alone: bool) -> Any:
        """The stream of blocks, through those who see and those who paint."""
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
            return _map(ray, stream, (Refiner, self.order), workers, {"num_cpus": 1})
        stream = _map(ray, stream, (Seer, self.order), workers, {"num_cpus": 1})
        share = {"num_cpus": 0, "num_gpus": self.cluster.gpus_each, "batch_size": size}
        return _map(ray, stream, (Refiner, self.order), painters, share)

    def _count_painters(self, ray: Any) -> int:
        if self.cluster.painters is not None:
            return self.cluster.painters
        if self.order.params.backend in WITHOUT_GPU:
            return 0
        return int(ray.cluster_resources().get("GPU", 0) / self.cluster.gpus_each)

    def _give_up(self, key: str, job: Job) -> Report:
        """What Ray Data dropped: the worker's own code broke over it."""
        report = Report(
            _shown(job),
            error=f"{job.source.name} broke the worker that was at it; what happened stands in "
            "Ray's logs. Please report it.",
        )
        self.order.journal.write(key, make_row(report, 0.0))
        return report


def choose_block(count: int, workers: int) -> int:
    """How many of `count` pictures a worker gets at once: few, lest one be busy when others rest.

    A block that is begun again costs nothing: what is recorded of it is passed over.
    """
    return max(1, min(count // (workers * BLOCKS_EACH), LARGEST_BLOCK))


def describe_settings(order: Order, place: str) -> dict[str, str]:
    """What must be the same for a run that goes on with another."""
    params = {f.name: str(getattr(order.params, f.name)) for f in fields(order.params)}
    folders = {f"{name}_dir": url for name, url in order.desk.urls.items() if name != "source"}
    for name in ("depth", "mask"):
        folders.setdefault(f"{name}_dir", str(getattr(order.desk.folders, name)))
    return {
        **params,
        **folders,
        "input_dir": store_of(place if is_url(place) else Path(place)).url,
        "drawn_mask": str(order.drawn_mask),
        "outputs": str(order.desk.folders.count),
    }


def _map(
    ray: Any, stream: Any, worker: tuple[type, Order], count: int, share: Mapping[str, float]
) -> Any:
    """`stream` through `count` workers of a class; each has the next block waiting, no more."""
    pool = ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=2)
    options = {"batch_size": None, **share}
    return stream.map_batches(
        worker[0],
        fn_constructor_args=(worker[1],),
        batch_format="pyarrow",
        compute=pool,
        **options,
    )


def _shown(job: Job) -> Path:
    """The picture as the user knows it."""
    return Path(job.source.name) if job.source.parent == NOWHERE else job.source
