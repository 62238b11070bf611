"""Running over picture files: what happens to one, and that one failure costs no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext import pipeline
from handrefiner_ext.errors import HandRefinerError, PictureError
from handrefiner_ext.files.log import Record, average_mpjpe_px, describe_run
from handrefiner_ext.files.naming import MARK, Job, Target, fold, list_pictures, make_mark
from handrefiner_ext.files.outputs import (
    RefineFolders,
    is_done,
    settings_code,
    write_depth,
    write_hands,
    write_mask,
    write_mesh,
    write_overlay,
)
from handrefiner_ext.files.remote import Server
from handrefiner_ext.params import SEEDS, RefineParams
from handrefiner_ext.pictures import Picture, load_mask, load_picture, save_picture
from handrefiner_ext.report import (
    Said,
    describe_decision,
    describe_hands,
    list_decision_lines,
    list_hint_lines,
    list_note_lines,
    list_quality_lines,
    list_refusal_lines,
    number_meshes,
)
from handrefiner_ext.stages import Stages
from handrefiner_ext.types import Image, Mask

FINISHED = "finished by an earlier run"


@dataclass(frozen=True)
class HintFolders:
    """Where `hints` writes; no meshes where `mesh` is None."""

    out: Path
    mesh: Path | None = None

    def targets(self) -> list[Target]:
        endings = ("_depth.png", "_mask.png", "_overlay.png", "_hands.json")
        return [Target(self.out, ending) for ending in endings]


@dataclass(frozen=True)
class Request:
    """What is to be done to every picture.

    drawn_mask: a mask file, or a folder of them. evaluates: whether the report says the MPJPE.
    """

    params: RefineParams
    stages: Stages
    drawn_mask: Path | None = None
    evaluates: bool = False


@dataclass(frozen=True)
class RemoteRequest:
    """What a running WebUI is to do to every picture.

    values: the parameters given, by name. evaluates: as in `Request`.
    """

    server: Server
    values: Mapping[str, object]
    drawn_mask: Path | None = None
    evaluates: bool = False


@dataclass(frozen=True)
class Report:
    """What became of one picture.

    error: the sentence where it failed, else None. records: what the log says of its outputs.
    """

    source: Path
    output: str = ""
    hands: int = 0
    refined: int = 0
    lines: tuple[str, ...] = ()
    error: str | None = None
    records: tuple[Record, ...] = ()


def work_through(jobs: Sequence[Job], work: Callable[[Job], Report]) -> Iterator[Report]:
    """Every picture's report, also where one fails."""
    for job in jobs:
        yield work_on(job, work)


def work_on(job: Job, work: Callable[[Job], Report]) -> Report:
    """One picture's report, also where it fails."""
    try:
        return work(job)
    except HandRefinerError as error:
        reason = str(error)
    except MemoryError:
        reason = f"{job.source.name} needs more memory than there is; scale it down first."
    except cv2.error as error:
        reason = f"{job.source.name} could not be worked on: OpenCV says {str(error).strip()!r}."
    return Report(job.source, error=f"{job.origin}: {reason}" if job.origin else reason)


def write_hints(job: Job, request: Request, folders: HintFolders) -> Report:
    """Find the hands of one picture and write what was found."""
    picture = load_picture(job.source)
    hints = pipeline.hints(
        picture.image, request.params, request.stages, _load_drawn_mask(picture, request)
    )
    mark, start = make_mark(job.source), folders.out / job.stem
    write_depth(_end(start, "_depth.png"), hints.maps.control, mark)
    write_mask(_end(start, "_mask.png"), hints.maps.mask, mark)
    write_overlay(_end(start, "_overlay.png"), picture.image, hints, mark)
    write_hands(_end(start, "_hands.json"), job.source, picture.image, hints)
    if folders.mesh:
        for number, mesh in zip(number_meshes(hints.meshes), hints.meshes, strict=True):
            write_mesh(folders.mesh / f"{job.stem}_hand{number}.glb", mesh)
    lines = (*picture.notes, *list_hint_lines(hints))
    return Report(job.source, f"{start}_*", hands=len(hints.meshes), lines=lines)


def refine_picture(job: Job, request: Request, folders: RefineFolders) -> Report:
    """Repaint the hands of one picture and write it, as often as `folders` wants."""
    params = request.params
    if job.prompt is not None:
        params = replace(params, prompt=job.prompt)
    variants = [vary(params, number) for number in range(folders.count)]
    if is_done(job, folders, [settings_code(variant) for variant in variants]):
        return Report(job.source, lines=(FINISHED,))
    picture = load_picture(job.source)
    drawn_mask = _load_drawn_mask(picture, request)
    seen = pipeline.hints(picture.image, params, request.stages, drawn_mask)
    _write_maps(job, folders, (seen.maps.control, seen.maps.mask))
    report = Report(job.source, hands=len(seen.meshes), lines=picture.notes)
    for number, variant in enumerate(variants):
        result = pipeline.repaint(picture.image, seen, variant, request.stages, request.evaluates)
        target = folders.output(job, number)
        _write_refined(job, picture, result.image, (target, settings_code(variant)))
        for tried, image in enumerate(result.candidates):
            beside = folders.candidate(job, number, tried)
            if beside is not None:
                save_picture(picture, image, beside, make_mark(job.source))
        decisions = [describe_decision(decision, result.hints) for decision in result.decisions]
        hands = describe_hands(picture.image, result.hints)["hands"]
        lines = [
            *list_decision_lines(hands, decisions),
            *list_hint_lines(result.hints),
            *list_note_lines(result.notes),
        ]
        one = _report_output(job, target, variant, (hands, decisions, lines), request)
        report = _add(report, one)
    return report


def vary(params: RefineParams, number: int) -> RefineParams:
    """For output `number` of a picture: a seed that no candidate of another output has."""
    return replace(params, seed=(params.seed + number * params.candidates) % SEEDS)


def _report_output(
    job: Job,
    target: Path,
    params: RefineParams,
    outcome: tuple[Said, Said, Sequence[str]],
    request: Request | RemoteRequest,
) -> Report:
    """The report of one output. outcome: hands, decisions, and what is to say of them."""
    hands, decisions, lines = outcome
    return Report(
        job.source,
        str(target),
        refined=sum(decision["refined"] for decision in decisions),
        lines=(*(_evaluate(decisions) if request.evaluates else ()), *lines),
        records=(describe_run(job.source, target, asdict(params), hands, decisions),),
    )


def _add(report: Report, one: Report) -> Report:
    """The report of a picture with that of one output more."""
    several = bool(report.output)
    heading = (f"{one.output}:",) if several else ()
    lines = one.lines if one.lines != report.lines else ()
    return replace(
        report,
        output=f"{report.output}, {one.output}" if several else one.output,
        refined=max(report.refined, one.refined),
        lines=(*report.lines, *(heading if lines else ()), *lines),
        records=(*report.records, *one.records),
    )


def _evaluate(decisions: Said) -> tuple[str, ...]:
    """What `--eval` says. decisions: as the API answers them."""
    if not decisions:
        return ()
    mpjpe_px = average_mpjpe_px(decisions)
    said = "unknown (no hand is seen)" if mpjpe_px is None else f"{mpjpe_px:.2f} px"
    return (f"MPJPE {said}", *list_quality_lines(decisions))


def refine_remotely(job: Job, request: RemoteRequest, folders: RefineFolders) -> Report:
    """Have a running WebUI repaint the hands of one picture and write it, so often as is wanted."""
    values = dict(request.values)
    if job.prompt is not None:
        values["prompt"] = job.prompt
    variants = [_vary_values(values, number) for number in range(folders.count)]
    if is_done(job, folders, [settings_code(variant) for variant in variants]):
        return Report(job.source, lines=(FINISHED,))
    picture = load_picture(job.source)
    drawn_mask = _load_drawn_mask(picture, request)
    report = Report(job.source, lines=picture.notes)
    for number, variant in enumerate(variants):
        wants_maps = number == 0 and (folders.depth is not None or folders.mask is not None)
        result = request.server.refine(picture.image, variant, drawn_mask, wants_maps)
        if result.maps is not None:
            _write_maps(job, folders, (result.maps.control, result.maps.mask))
        target = folders.output(job, number)
        _write_refined(job, picture, result.image, (target, settings_code(variant)))
        params = RefineParams(**variant)  # type: ignore[arg-type]
        outcome = (
            result.found,
            result.decisions,
            [
                *list_decision_lines(result.found, result.decisions),
                *list_refusal_lines(result.skipped),
                *list_note_lines(result.notes),
            ],
        )
        one = _report_output(job, target, params, outcome, request)
        report = _add(replace(report, hands=result.hands), one)
    return report


def _vary_values(values: Mapping[str, object], number: int) -> dict[str, object]:
    """As `vary`; the first output has the values as they were given."""
    if number == 0:
        return dict(values)
    return {**values, "seed": vary(RefineParams(**values), number).seed}  # type: ignore[arg-type]


def _write_maps(job: Job, folders: RefineFolders, maps: tuple[NDArray[np.uint8], Mask]) -> None:
    """Control image and mask, where there are folders for them."""
    mark = make_mark(job.source)
    if folders.depth:
        write_depth(_end(folders.depth / job.stem, "_depth.png"), maps[0], mark)
    if folders.mask:
        write_mask(_end(folders.mask / job.stem, "_mask.png"), maps[1], mark)


def _write_refined(job: Job, picture: Picture, image: Image, place: tuple[Path, str]) -> None:
    """Write the picture. place: its file, and the code of its settings."""
    target, code = place
    mark = make_mark(job.source, code)
    changed = image is not picture.image or picture.png is None
    save_picture(picture, image, target, mark if changed or _needs_mark(picture, target) else None)


def _end(start: Path, ending: str) -> Path:
    return start.with_name(start.name + ending)


def _needs_mark(picture: Picture, target: Path) -> bool:
    """Whether an unchanged copy must say that it is one.

    Beside its source it must, lest the next run take it for a picture of the user's; and where
    the source is an output itself, lest it be taken for that picture's. Elsewhere a copy is one
    byte for byte.
    """
    beside = os.path.realpath(target.parent) == os.path.realpath(picture.path.parent)
    return beside or any(chunk.keyword == MARK for chunk in picture.metadata)


def _load_drawn_mask(picture: Picture, request: Request | RemoteRequest) -> Mask | None:
    if request.drawn_mask is None:
        return None
    path = request.drawn_mask
    if path.is_dir():
        path = _find_drawn_mask(path, picture.path)
    height, width = picture.image.shape[:2]
    return load_mask(path, height, width)


def _find_drawn_mask(folder: Path, source: Path) -> Path:
    """The mask of `source`: a picture of its name, or of its name and `_mask`."""
    wanted = [fold(source.stem), fold(source.stem + "_mask")]
    masks = {fold(path.stem): path for path in list_pictures(folder)}
    for name in wanted:
        if name in masks:
            return masks[name]
    raise PictureError(
        f"{folder} holds no mask for {source.name}; name it {source.stem}.png or "
        f"{source.stem}_mask.png."
    )
