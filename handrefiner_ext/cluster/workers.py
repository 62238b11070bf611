"""What runs on the workers: one picture after the other, each recorded when it is done.

Ray Data hands blocks of pictures to these classes, starts a dead worker again and hands it the
block that it was at.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa

from handrefiner_ext.cluster.desk import Desk
from handrefiner_ext.cluster.journal import Journal, Row, key_of
from handrefiner_ext.cluster.memory import Seen, recall, see
from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.naming import Job, plain_name
from handrefiner_ext.files.run import Report, Request, refine_picture, work_through
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import load_picture
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import Image, ModelHome

MOST_TRIES = 3
"""A picture at which so many workers have died is left alone."""


@dataclass(frozen=True)
class Order:
    """What every worker is told; each builds its stages itself, once."""

    params: RefineParams
    desk: Desk
    journal: Journal
    drawn_mask: Path | None = None
    home: ModelHome | None = None
    evaluates: bool = False

    def build_stages(self) -> Stages:
        return build_stages(self.params, self.home or ModelHome())


class Seer:
    """Finds the hands of the pictures in a block, and their meshes."""

    def __init__(self, order: Order) -> None:
        cv2.setNumThreads(1)  # others work beside this one
        self.order = order

    @cached_property
    def stages(self) -> Stages:
        return self.order.build_stages()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Jobs -> the same, each with what was seen; nothing where that failed.

        Why it failed is said by the painter, which then looks for itself and fails in the same way.
        """
        jobs = unpack(block, "job")
        images: dict[str, Image] = {}
        for job in jobs:
            _try(job, lambda job: self._load(job, images))
        seen: dict[str, Seen] = {}
        _try(jobs[0], lambda job: self._see(job, images, seen))
        return pack(job=jobs, seen=[seen.get(key_of(job)) for job in jobs])

    def _load(self, job: Job, images: dict[str, Image]) -> Report:
        key = key_of(job)
        if self.order.journal.count_try(f"{key}-seen") <= MOST_TRIES:
            with self.order.desk.fetch(job) as local:
                images[key] = load_picture(local.source).image
        return Report(job.source)

    def _see(self, job: Job, images: dict[str, Image], seen: dict[str, Seen]) -> Report:
        found = see(list(images.values()), self.order.params, self.stages)
        seen.update(zip(images, found, strict=True))
        return Report(job.source)


class Refiner:
    """Refines the pictures of a block, writes their outputs and records what became of them."""

    def __init__(self, order: Order) -> None:
        cv2.setNumThreads(1)
        self.order = order

    @cached_property
    def stages(self) -> Stages:
        return self.order.build_stages()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Jobs, and what was seen where others looked -> keys and reports."""
        jobs = unpack(block, "job")
        several = "seen" in block.column_names
        seen = unpack(block, "seen") if several else [None] * len(jobs)
        reports = [self.settle(*both) for both in zip(jobs, seen, strict=True)]
        return pack(key=[key_of(job) for job in jobs], report=reports)

    def settle(self, job: Job, seen: Seen | None) -> Report:
        """One picture's report; one that is recorded as done is not worked on again."""
        journal, key = self.order.journal, key_of(job)
        if (row := journal.find(key)) and row["error"] is None:
            return read_row(job, row)
        start = time.perf_counter()
        report = _try(job, lambda job: self._refine(job, seen))
        journal.write(key, make_row(report, time.perf_counter() - start))
        return report

    def _refine(self, job: Job, seen: Seen | None) -> Report:
        if self.order.journal.count_try(key_of(job)) > MOST_TRIES:
            raise PictureError(
                f"{job.source.name} was left alone: {MOST_TRIES} workers have died over it, for "
                "want of memory perhaps; scale it down, or have fewer workers."
            )
        desk = self.order.desk
        with desk.fetch(job) as local, desk.lay_out() as folders:
            stages = self.stages if seen is None else recall(seen, self.stages)
            order = self.order
            request = Request(order.params, stages, order.drawn_mask, order.evaluates)
            report = refine_picture(local, request, folders)
        return replace(report, source=job.source, output=desk.describe_output(report.output))


def make_row(report: Report, seconds: float) -> Row:
    """What the journal keeps of a report."""
    return {
        "picture": plain_name(report.source),
        "output": report.output,
        "hands": report.hands,
        "repainted": report.refined,
        "said": list(report.lines),
        "error": report.error,
        "worker": f"{platform.node()}:{os.getpid()}",
        "finished": datetime.now(timezone.utc),
        "seconds": seconds,
        "log": [json.dumps(record) for record in report.records],
    }


def read_row(job: Job, row: Row) -> Report:
    """The report that was recorded."""
    return Report(
        job.source,
        row["output"],
        row["hands"],
        row["repainted"],
        lines=tuple(row["said"]),
        error=row["error"],
        records=tuple(json.loads(line) for line in row["log"]),
    )


def pack(**columns: Sequence[Any]) -> pa.Table:
    """Objects of any kind as a block of Ray Data."""
    packed = {
        name: pa.array([pickle.dumps(value) for value in values], pa.large_binary())
        for name, values in columns.items()
    }
    return pa.table(packed)


def unpack(block: pa.Table, name: str) -> list[Any]:
    """What `pack` put into a column."""
    return [pickle.loads(value) for value in block.column(name).to_pylist()]


def _try(job: Job, work: Callable[[Job], Report]) -> Report:
    """What `work` reports, also where it fails."""
    (report,) = work_through([job], work)
    return report
