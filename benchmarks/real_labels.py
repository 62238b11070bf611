"""Labels of real pictures: what a folder holds and what a person sees in it.

A folder has `labels.json` with up to four lists; every row has a `name`, and its picture is `file`,
or `name` with the ending of a picture:

- whole, none: pictures with and without hands. hands: how many a person sees. style: photo, ai,
  anime, line. boxes (optional): [x0, y0, x1, y1] of each hand; without them hands are only counted.
- single: close-ups. label: good, malformed or unsure. side: left or right, where certain.
- pairs: `before` and `after`, two files of the same place. better: after, before or equal.
  before_is, after_is: good or malformed. clear: beyond doubt. side: as above.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handrefiner_ext.types import Box

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
VIDEO = "video"
"""Style of the pairs."""


@dataclass(frozen=True)
class Label:
    """One picture; kind: whole, none, single, before or after (of a pair)."""

    kind: str
    name: str
    path: Path
    style: str
    hands: int = 1
    label: str = ""
    side: str | None = None
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class Pair:
    """The same hand in two pictures, and which one is better drawn."""

    name: str
    before: Label
    after: Label
    better: str
    clear: bool


@dataclass(frozen=True)
class Labels:
    """missing: names of the rows whose picture is not there."""

    pictures: tuple[Label, ...]
    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]

    def of_kind(self, *kinds: str) -> tuple[Label, ...]:
        return tuple(label for label in self.pictures if label.kind in kinds)


def read_labels(folders: Sequence[Path]) -> Labels:
    """The labels of all folders together; rows without a picture are named in `missing`."""
    pictures: list[Label] = []
    pairs: list[Pair] = []
    missing: list[str] = []
    for folder in folders:
        rows = json.loads((folder / "labels.json").read_text("utf-8"))
        for label in _read_pictures(folder, rows):
            pictures.append(label) if label.path.is_file() else missing.append(label.name)
        for pair in _read_pairs(folder, rows):
            both = pair.before.path.is_file() and pair.after.path.is_file()
            pairs.append(pair) if both else missing.append(pair.name)
    sides = [label for pair in pairs for label in (pair.before, pair.after)]
    return Labels((*pictures, *sides), tuple(pairs), tuple(missing))


def _read_pictures(folder: Path, rows: dict[str, Any]) -> Iterator[Label]:
    for kind in ("whole", "none", "single"):
        for row in rows.get(kind, ()):
            boxes = row.get("boxes")
            yield Label(
                kind,
                row["name"],
                _find(folder, row),
                "none" if kind == "none" else row["style"],
                int(row.get("hands", 0 if kind == "none" else 1)),
                row.get("label", ""),
                row.get("side"),
                None if boxes is None else tuple(Box(*box) for box in boxes),
            )


def _read_pairs(folder: Path, rows: dict[str, Any]) -> Iterator[Pair]:
    for row in rows.get("pairs", ()):
        before, after = (
            Label(
                kind,
                f"{row['name']} {kind}",
                folder / row[kind],
                row.get("style", VIDEO),
                label=row.get(f"{kind}_is", ""),
                side=row.get("side"),
            )
            for kind in ("before", "after")
        )
        yield Pair(row["name"], before, after, row["better"], bool(row.get("clear")))


def _find(folder: Path, row: dict[str, Any]) -> Path:
    """Where the row's picture is, or would be."""
    if "file" in row:
        return folder / row["file"]
    places = [folder / (row["name"] + ending) for ending in ENDINGS]
    return next((place for place in places if place.is_file()), places[0])
