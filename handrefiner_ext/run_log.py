"""What became of each picture that was written, as JSON lines (`--log_json`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import PictureError
from handrefiner_ext.naming import plain_name
from handrefiner_ext.numbering import number_of
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Decision, Quality, RefineResult

Record = Mapping[str, Any]


@contextmanager
def keep_log(
    path: Path | None, appends: bool = False
) -> Iterator[Callable[[Iterable[Record]], None]]:
    """What writes records to the file `path`, or nowhere where that is None.

    appends: go on behind the lines of an interrupted run instead of beginning anew. Each line is
    on the disk before the next picture begins.
    """
    if path is None:
        yield lambda records: None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a" if appends else "w", encoding="utf-8")
    except OSError as error:
        raise PictureError(f"{path} cannot be written to: {error.strerror or error}.") from error

    def write(records: Iterable[Record]) -> None:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()

    with file:
        yield write


def describe_run(source: Path, output: Path, params: RefineParams, result: RefineResult) -> Record:
    """One line of the log.

    strength: of the ControlNet, the searched one where it was searched (the greatest of the
    hands'). mpjpe_px: mean over the hands of the distance between re-detected landmarks and the
    mesh's joints, pixels; null where no hand is seen (with the paper's name for it, MPJPE).
    Qualities are null where they were not measured (`--eval`, `--keep_best`, `--candidates`).
    """
    searched = [d.strength for d in result.decisions if d.strength is not None]
    return {
        "img": str(source.with_name(plain_name(source))),
        "output": str(output),
        "strength": max(searched, default=params.strength),
        "mpjpe_px": average_mpjpe_px(result),
        "seed": params.seed,
        "prompt": params.prompt,
        "hands": [_describe_hand(decision, result) for decision in result.decisions],
    }


def average_mpjpe_px(result: RefineResult) -> float | None:
    """Over the hands that are seen in the picture kept; None where none is."""
    seen = [px for d in result.decisions if (px := _agreement(d).mpjpe_px) is not None]
    return round(sum(seen) / len(seen), 3) if seen else None


def _agreement(decision: Decision) -> Any:
    """Of the hand in the picture kept: the new one, else the old."""
    return decision.after if decision.refined and decision.after else decision.before


def _describe_hand(decision: Decision, result: RefineResult) -> Record:
    agreement = _agreement(decision)
    return {
        "number": number_of(decision.number, result.hints),
        "handedness": result.hints.meshes[decision.number].handedness,
        "assumed": result.hints.meshes[decision.number].hand.assumed,
        "refined": decision.refined,
        "reason": decision.reason,
        "strength": decision.strength,
        "mpjpe_px": _round(agreement.mpjpe_px),
        "mpjpe": _round(agreement.mpjpe),
        "pck": _round(agreement.pck),
        "candidate": None if decision.candidate is None else decision.candidate + 1,
        "quality_before": _score(decision.quality_before),
        "quality_after": _score(decision.quality_after),
    }


def _score(quality: Quality | None) -> float | None:
    return None if quality is None else round(quality.score, 4)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
