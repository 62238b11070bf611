"""The work on picture files, one after the other; one that fails costs no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2

from handrefiner_ext import pipeline
from handrefiner_ext.errors import (
    BackendUnavailable,
    HandRefinerError,
    PictureError,
    describe_fault,
)
from handrefiner_ext.files.beside import read_given, read_pose
from handrefiner_ext.files.log import Report, average_mpjpe_px, describe_run
from handrefiner_ext.files.marks import check_replaceable, digest
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.outputs import (
    HintFolders,
    Maps,
    RefineFolders,
    back_up,
    is_done,
    settings_code,
    write_hint_files,
    write_maps,
    write_poses,
    write_refined,
)
from handrefiner_ext.files.page import make_thumbnails
from handrefiner_ext.hands.posed import Poses
from handrefiner_ext.params import SEEDS, RefineParams
from handrefiner_ext.pictures import Picture, read_file, read_picture, save_picture
from handrefiner_ext.protocols import Preparing
from handrefiner_ext.report import (
    Said,
    describe_decision,
    describe_hands,
    list_decision_lines,
    list_hint_lines,
    list_note_lines,
    list_quality_lines,
)
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import Given, Hints, Image, ModelHome

FINISHED = "finished by an earlier run"


@dataclass(frozen=True)
class Recipe:
    """What is to be done to every picture of a run.

    given: names of the parameters that the user gave. A WebUI is told only these, since it has
    defaults of its own. drawn_mask, depth_in: a file, or a folder with one per picture.
    evaluates: measure and report MPJPE and quality even where no decision depends on them.
    pose_file: a file with the hands of a picture, or a folder with one per picture.
    """

    params: RefineParams
    given: frozenset[str] = frozenset()
    home: ModelHome | None = None
    drawn_mask: Path | None = None
    evaluates: bool = False
    pose_file: Path | None = None
    depth_in: Path | None = None

    @property
    def beside(self) -> tuple[Path | None, Path | None]:
        """The files or folders of pictures that are read for every picture."""
        return self.drawn_mask, self.depth_in

    @property
    def given_values(self) -> dict[str, object]:
        """The parameters that the user gave, by name."""
        return {name: getattr(self.params, name) for name in sorted(self.given)}

    def for_picture(self, job: Job) -> Recipe:
        """Return the recipe with the picture's own hands, where they are in a file."""
        if self.pose_file is None:
            return self
        pose = read_pose(job, self.pose_file)
        return replace(self, params=replace(self.params, pose=pose), given=self.given | {"pose"})

    def for_output(self, job: Job, number: int) -> Recipe:
        """Return the recipe of a picture's output `number`, counted from 0.

        It has the picture's own prompt, and a seed that no candidate of another output has.
        """
        changes: dict[str, Any] = {} if job.prompt is None else {"prompt": job.prompt}
        if number:
            seed = self.params.seed + number * self.params.candidates
            changes["seed"] = seed % SEEDS
        params = replace(self.params, **changes)
        return replace(self, params=params, given=self.given | changes.keys())


@dataclass(frozen=True)
class Output:
    """One repainted picture.

    hands, decisions: as the API answers them (docs/api.md). lines: what to tell the user about
    them. candidates: the other paintings that were made of the picture.
    """

    image: Image
    hands: Said
    decisions: Said
    lines: Sequence[str]
    candidates: tuple[Image, ...] = ()


class FoundHands(Protocol):
    """The hands of one picture, ready to be repainted any number of times.

    maps: None where they were not asked for and cost something. poses: asked for only with them.
    """

    @property
    def maps(self) -> Maps | None: ...

    @property
    def poses(self) -> Poses: ...

    def repaint(self, recipe: Recipe) -> Output:
        """Return the picture with its hands repainted."""
        ...


class Repainter(Protocol):
    """Finds and repaints hands: with the stages of this process, or in a running WebUI."""

    def settings(self, recipe: Recipe) -> Mapping[str, object]:
        """Return everything by which outputs of one picture may differ."""
        ...

    def find(self, image: Image, recipe: Recipe, given: Given, wants_hints: bool) -> FoundHands:
        """Find the hands of a picture. wants_hints: maps and poses will be asked for."""
        ...


@dataclass(frozen=True)
class FoundHere:
    """Hands found by the stages of this process."""

    image: Image
    hints: Hints
    stages: Stages

    @property
    def maps(self) -> Maps:
        return Maps(self.hints.maps.control, self.hints.maps.mask)

    @property
    def poses(self) -> Poses:
        return Poses.of(self.hints.meshes, *self.image.shape[:2])

    def repaint(self, recipe: Recipe) -> Output:
        result = pipeline.repaint(
            self.image, self.hints, recipe.params, self.stages, recipe.evaluates
        )
        decisions = [describe_decision(decision, result.hints) for decision in result.decisions]
        hands = describe_hands(self.image, result.hints)["hands"]
        lines = [
            *list_decision_lines(hands, decisions),
            *list_hint_lines(result.hints),
            *list_note_lines(result.notes),
        ]
        return Output(result.image, hands, decisions, lines, result.candidates)


@dataclass(frozen=True)
class LocalRepainter:
    """Works with the stages of this process."""

    stages: Stages

    def settings(self, recipe: Recipe) -> Mapping[str, object]:
        return asdict(recipe.params)

    def find(self, image: Image, recipe: Recipe, given: Given, wants_hints: bool) -> FoundHere:
        hints = pipeline.hints(image, recipe.params, self.stages, given.drawn_mask, given.depth_in)
        return FoundHere(image, hints, self.stages)


Work = Callable[[Job], Report]
Start = Callable[[], Work]
"""Loads what a run needs and returns what is done to each picture."""


def work_through(jobs: Sequence[Job], work: Work) -> Iterator[Report]:
    """Yield the report of every picture, including those that fail."""
    for job in jobs:
        yield work_on(job, work)


def work_on(job: Job, work: Work) -> Report:
    """Return the report of one picture, whether or not it fails."""
    name = job.source.name
    try:
        return work(job)
    except HandRefinerError as error:
        reason = str(error)
    except MemoryError:
        reason = f"{name} needs more memory than there is; scale it down first."
    except cv2.error as error:
        reason = f"{name} could not be worked on: OpenCV says {str(error).strip()!r}."
    except OSError as error:
        reason = f"{name} could not be worked on: {error.strerror or error}."
    except Exception as error:  # of a package, a plugin or ours: the other pictures are to be done
        reason = f"{name} could not be worked on, {describe_fault(error)}"
    if name not in reason and job.stem not in reason:
        reason = f"{name}: {reason}"
    return Report(job.source, error=f"{job.origin}: {reason}" if job.origin else reason)


def prepare_work(start: Start) -> Work:
    """Return `start()`; whatever is wrong with models or packages is raised as a sentence."""
    try:
        return start()
    except (HandRefinerError, OSError):
        raise
    except MemoryError as error:
        raise BackendUnavailable("The models need more memory than there is.") from error
    except Exception as error:
        raise BackendUnavailable(f"No picture can be done, {describe_fault(error)}") from error


def prepare_repainter(recipe: Recipe) -> LocalRepainter:
    """Build the stages and load all they need, so that what is wrong is raised at once."""
    stages = build_stages(recipe.params, recipe.home or ModelHome())
    if isinstance(stages.inpainter, Preparing):
        stages.inpainter.prepare(recipe.params)
    return LocalRepainter(stages)


def start_refining(recipe: Recipe, folders: RefineFolders) -> Work:
    """Return what repaints each picture in this process, with everything loaded."""
    return partial(
        refine_picture, recipe=recipe, repainter=prepare_repainter(recipe), folders=folders
    )


def start_hints(recipe: Recipe, folders: HintFolders) -> Work:
    """Return what finds the hands of each picture in this process."""
    stages = build_stages(recipe.params, recipe.home or ModelHome())
    return partial(write_hints, recipe=recipe, stages=stages, folders=folders)


def write_hints(job: Job, recipe: Recipe, stages: Stages, folders: HintFolders) -> Report:
    """Find the hands of one picture and write what was found."""
    data, given = read_file(job.source), read_given(job, *recipe.beside)
    recipe = recipe.for_picture(job)
    picture = read_picture(data, job.source)
    own = given.fit(picture)
    hints = pipeline.hints(picture.image, recipe.params, stages, own.drawn_mask, own.depth_in)
    mark = job.mark(digest(data))
    write_hint_files(job, picture.image, hints, folders, mark)
    if folders.pose is not None:
        poses = Poses.of(hints.meshes, *picture.image.shape[:2])
        write_poses(job, poses, folders.pose, mark)
    lines = (*_note(job), *picture.notes, *list_hint_lines(hints))
    return Report(job.source, f"{folders.out / job.stem}_*", hands=len(hints.meshes), lines=lines)


def refine_picture(
    job: Job, recipe: Recipe, repainter: Repainter, folders: RefineFolders
) -> Report:
    """Repaint the hands of one picture and write as many outputs as `folders` wants."""
    own = recipe.for_picture(job)
    variants = [own.for_output(job, number) for number in range(folders.count)]
    data, given = read_file(job.source), read_given(job, *recipe.beside)
    content = digest(data)
    codes = [
        settings_code(repainter.settings(variant), content, *given.digests) for variant in variants
    ]
    if is_done(job, folders, codes):
        return Report(job.source, lines=(FINISHED,))
    picture = read_picture(data, job.source)
    found = repainter.find(picture.image, variants[0], given.fit(picture), folders.wants_hints)
    if folders.wants_hints and found.maps is not None:
        write_maps(job, found.maps, folders, job.mark(content))
    if folders.pose is not None:
        write_poses(job, found.poses, folders.pose, job.mark(content))
    report = Report(job.source, lines=(*_note(job), *picture.notes))
    for number, variant in enumerate(variants):
        output = found.repaint(variant)
        place = _write_output(job, picture, data, output, (number, codes[number], folders))
        one = _report_output(job, place, output, variant)
        if folders.shows:
            depth = None if found.maps is None else found.maps.control
            shown = make_thumbnails(picture.image, output.image, depth)
            one = replace(one, thumbnails=(shown,))
        report = _add(report, one)
    return report


def _write_output(
    job: Job,
    picture: Picture,
    data: bytes,
    output: Output,
    where: tuple[int, str, RefineFolders],
) -> Path:
    """Write one output and its candidates; return its path.

    data: the source's file. where: number of the output, code of its settings, and the folders.
    """
    number, code, folders = where
    content = digest(data)
    place, mark = folders.output(job, number), job.mark(content, code)
    if folders.backup is None:
        check_replaceable(place, mark)
        write_refined(picture, output.image, place, mark, folders.quality)
    elif output.image is not picture.image:
        _put_aside(job, data, folders.backup)
        write_refined(picture, output.image, place, mark, folders.quality)
    for tried, image in enumerate(output.candidates):
        beside = folders.candidate(job, number, tried)
        if beside is not None:
            check_replaceable(beside, mark)
            save_picture(picture, image, beside, job.mark(content).chunk)
    return place


def _put_aside(job: Job, data: bytes, folder: Path) -> None:
    """Keep what the picture was; PictureError where it is not that any more."""
    if read_file(job.source) != data:
        raise PictureError(
            f"{job.source} was changed while it was worked on, and stays as it is now; run the "
            "same command again."
        )
    back_up(job, data, folder)


def _note(job: Job) -> tuple[str, ...]:
    return (f"note: {job.note}",) if job.note else ()


def _report_output(job: Job, place: Path, output: Output, recipe: Recipe) -> Report:
    """Return the report of one output alone."""
    hands, decisions = output.hands, output.decisions
    return Report(
        job.source,
        str(place),
        hands=len(hands),
        refined=sum(decision["refined"] for decision in decisions),
        lines=(*(_evaluate(decisions) if recipe.evaluates else ()), *output.lines),
        records=(describe_run(job.source, place, asdict(recipe.params), hands, decisions),),
    )


def _add(report: Report, one: Report) -> Report:
    """Return a picture's report with that of one more output added."""
    several = bool(report.output)
    heading = (f"{one.output}:",) if several else ()
    lines = one.lines if one.lines != report.lines else ()
    return replace(
        report,
        output=f"{report.output}, {one.output}" if several else one.output,
        hands=one.hands,
        refined=max(report.refined, one.refined),
        lines=(*report.lines, *(heading if lines else ()), *lines),
        records=(*report.records, *one.records),
        thumbnails=(*report.thumbnails, *one.thumbnails),
    )


def _evaluate(decisions: Said) -> tuple[str, ...]:
    """Return what `--eval` prints. decisions: as the API answers them."""
    if not decisions:
        return ()
    mpjpe_px = average_mpjpe_px(decisions)
    said = "unknown (no hand is seen)" if mpjpe_px is None else f"{mpjpe_px:.2f} px"
    return (f"MPJPE {said}", *list_quality_lines(decisions))
