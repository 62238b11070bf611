"""The report of a picture, and the log of a run (`--log_json`): a JSON line for every output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.marks import check_own
from handrefiner_ext.files.naming import plain
from handrefiner_ext.pictures.disk import writing_to
from handrefiner_ext.report import Said

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Thumbnails:
    """Small JPEGs of one output; depth is None where it is not known."""

    before: bytes
    after: bytes
    depth: bytes | None = None


@dataclass(frozen=True)
class Report:
    """The outcome of one picture.

    error: the sentence if it failed, else None. records: the log's lines, one for each output.
    thumbnails: of each output, where a page of the run is wanted.
    """

    source: Path
    output: str = ""
    hands: int = 0
    refined: int = 0
    lines: tuple[str, ...] = ()
    error: str | None = None
    records: tuple[Record, ...] = ()
    thumbnails: tuple[Thumbnails, ...] = ()


@contextmanager
def keep_log(
    path: Path | None, appends: bool = False
) -> Iterator[Callable[[Iterable[Record]], None]]:
    """Yield a function that writes records to the file `path`, or does nothing if that is None.

    appends: keep the lines of an interrupted run and go on after them. Each line is on the disk
    before the next picture begins.
    """
    if path is None:
        yield lambda records: None
        return
    check_own(path, _is_line)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a" if appends else "w", encoding="utf-8")
    except OSError as error:
        raise PictureError(f"{path} cannot be written to: {error.strerror or error}.") from error

    def write(records: Iterable[Record]) -> None:
        with writing_to(path):
            for record in records:
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()

    try:
        yield write
    finally:
        with suppress(OSError):  # what could not be written has been told already
            file.close()


def _is_line(text: str) -> bool:
    """Whether it is a line of a log; a prompt file's has an "img", too."""
    try:
        said = json.loads(text)
    except ValueError:
        return False
    return isinstance(said, dict) and {"img", "output"} <= said.keys()


def describe_run(
    source: Path,
    output: Path,
    values: Mapping[str, Any],
    hands: Said,
    decisions: Said,
) -> Record:
    """Return one line of the log.

    values: parameters by name. hands, decisions: as the API answers them (docs/api.md).
    strength: of the ControlNet, the searched one where it was searched (the greatest of the
    hands'). mpjpe_px: mean over the hands of the distance between re-detected landmarks and the
    mesh's joints, pixels; null where no hand is seen (with the paper's name for it, MPJPE).
    Qualities are null where they were not measured (`--eval`, `--keep_best`, `--candidates`).
    """
    searched = [said["strength"] for said in decisions if said["strength"] is not None]
    return {
        "img": plain(source),
        "output": plain(output),
        "strength": max(searched, default=values["strength"]),
        "mpjpe_px": average_mpjpe_px(decisions),
        "seed": values["seed"],
        "prompt": values["prompt"],
        "hands": _describe_hands(hands, decisions),
    }


def average_mpjpe_px(decisions: Said) -> float | None:
    """Return the mean over the hands that are seen in the picture kept; None if none is."""
    seen = [px for said in decisions if (px := _kept(said, "distance_px")) is not None]
    return round(sum(seen) / len(seen), 3) if seen else None


def _kept(said: Mapping[str, Any], what: str) -> float | None:
    """Return a value of the hand that was kept: the new one, or else the old."""
    value: float | None = said[f"{what}_{'after' if said['refined'] else 'before'}"]
    return value


def _describe_hands(hands: Said, decisions: Said) -> list[Record]:
    found = {hand["number"]: hand for hand in hands}
    return [
        {
            "number": said["number"],
            "handedness": found[said["number"]]["handedness"],
            "assumed": found[said["number"]]["assumed"],
            **{name: said[name] for name in ("refined", "reason", "strength")},
            "mpjpe_px": _round(_kept(said, "distance_px")),
            "mpjpe": _round(_kept(said, "distance")),
            "pck": _round(_kept(said, "pck")),
            "candidate": said["candidate"],
            "quality_before": _score(said["quality_before"]),
            "quality_after": _score(said["quality_after"]),
            "mesh": found[said["number"]].get("mesh"),
        }
        for said in decisions
    ]


def _score(quality: Mapping[str, Any] | None) -> float | None:
    return None if quality is None else quality["score"]


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
