"""Schedulers by name and by label (sd_schedulers.py:18-30)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scheduler:
    """A scheduler that can be chosen."""

    name: str
    label: str


schedulers = [Scheduler("automatic", "Automatic"), Scheduler("karras", "Karras")]
schedulers_map = {text: entry for entry in schedulers for text in (entry.name, entry.label)}
