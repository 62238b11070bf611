"""The workers of a cluster run: they do one picture after another and record each.

Ray Data passes blocks of pictures to these classes. When a worker dies, Ray Data starts it again
with the block that it was working on.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import cv2
import pyarrow as pa

from handrefiner_ext.cluster.journal import STAMP, Journal, Row
from handrefiner_ext.cluster.memory import Handover, find_hands, recall
from handrefiner_ext.cluster.store import WorkFolders
from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.log import Report
from handrefiner_ext.files.naming import Job, plain, plain_name
from handrefiner_ext.files.run import LocalRepainter, Recipe, refine_picture, work_on
from handrefiner_ext.files.tries import describe_left_alone, key_of
from handrefiner_ext.pictures import load_picture
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import Image, ModelHome

MOST_TRIES = 3
"""After killing this many workers, a picture is skipped."""


@dataclass(frozen=True)
class Assignment:
    """What every worker needs to know; each builds its stages itself, once."""

    recipe: Recipe
    folders: WorkFolders
    journal: Journal

    def build_stages(self) -> Stages:
        return build_stages(self.recipe.params, self.recipe.home or ModelHome())


class Finder:
    """Finds the hands of the pictures in a block, and their meshes, for those who paint."""

    def __init__(self, assignment: Assignment) -> None:
        cv2.setNumThreads(1)  # the other cores have workers of their own
        self.assignment = assignment

    @cached_property
    def stages(self) -> Stages:
        return self.assignment.build_stages()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the block's jobs, each with its handover, or None where that failed.

        Why it failed is left to the painter to say: it searches again and fails in the same way.
        """
        jobs = unpack(block, "job")
        images: dict[str, Image] = {}
        for job in jobs:
            work_on(job, lambda job: self._load(job, images))
        found: dict[str, Handover] = {}
        work_on(jobs[0], lambda job: self._find(job, images, found))
        return pack(job=jobs, handover=[found.get(key_of(job)) for job in jobs])

    def _load(self, job: Job, images: dict[str, Image]) -> Report:
        key = key_of(job)
        if self.assignment.journal.count_try(f"{key}-seen") <= MOST_TRIES:
            with self.assignment.folders.fetch(job) as local:
                images[key] = load_picture(local.source).image
        return Report(job.source)

    def _find(self, job: Job, images: dict[str, Image], found: dict[str, Handover]) -> Report:
        handovers = find_hands(list(images.values()), self.assignment.recipe.params, self.stages)
        found.update(zip(images, handovers, strict=True))
        return Report(job.source)


class Refiner:
    """Refines the pictures of a block, writes their outputs and records how each went."""

    def __init__(self, assignment: Assignment) -> None:
        cv2.setNumThreads(1)
        self.assignment = assignment

    @cached_property
    def stages(self) -> Stages:
        return self.assignment.build_stages()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return keys and reports of the block's jobs; handovers are used where they came along."""
        jobs = unpack(block, "job")
        has_handovers = "handover" in block.column_names
        handovers = unpack(block, "handover") if has_handovers else [None] * len(jobs)
        reports = [self.settle(*both) for both in zip(jobs, handovers, strict=True)]
        return pack(key=[key_of(job) for job in jobs], report=reports)

    def settle(self, job: Job, handover: Handover | None) -> Report:
        """Return one picture's report; a picture recorded as done is not worked on again."""
        journal, key = self.assignment.journal, key_of(job)
        stamp = self.assignment.folders.stamp(job)
        row = journal.find(key)
        if row is not None and row["error"] is None and row.get(STAMP) == stamp:
            return read_row(job, row)
        start = time.perf_counter()
        report = work_on(job, lambda job: self._refine(job, handover))
        journal.write(key, make_row(report, time.perf_counter() - start), stamp)
        return report

    def _refine(self, job: Job, handover: Handover | None) -> Report:
        if self.assignment.journal.count_try(key_of(job)) > MOST_TRIES:
            raise PictureError(
                describe_left_alone(job, MOST_TRIES, "scale it down, or use fewer workers")
            )
        folders, recipe = self.assignment.folders, self.assignment.recipe
        with folders.fetch(job) as local, folders.open_outputs() as outputs:
            stages = self.stages if handover is None else recall(handover, self.stages)
            report = refine_picture(local, recipe, LocalRepainter(stages), outputs)
        return replace(report, source=job.source, output=folders.describe_output(report.output))


def make_row(report: Report, seconds: float) -> Row:
    """Return what the journal keeps of a report."""
    return {
        "picture": plain_name(report.source),
        "output": plain(report.output),
        "hands": report.hands,
        "repainted": report.refined,
        "said": [plain(line) for line in report.lines],
        "error": None if report.error is None else plain(report.error),
        "worker": f"{platform.node()}:{os.getpid()}",
        "finished": datetime.now(timezone.utc),
        "seconds": seconds,
        "log": [json.dumps(record) for record in report.records],
    }


def read_row(job: Job, row: Row) -> Report:
    """Return the report that was recorded."""
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
    """Return objects of any kind as a block of Ray Data."""
    packed = {
        name: pa.array([pickle.dumps(value) for value in values], pa.large_binary())
        for name, values in columns.items()
    }
    return pa.table(packed)


def unpack(block: pa.Table, name: str) -> list[Any]:
    """Return what `pack` has put into a column."""
    return [pickle.loads(value) for value in block.column(name).to_pylist()]
