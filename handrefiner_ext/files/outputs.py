"""The files that a run writes: where they go, how they are written, and which are finished."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.marks import (
    KEY,
    Mark,
    check_replaceable,
    mark_glb,
    mark_jpeg,
    mark_webp,
    read_head,
    read_mark,
)
from handrefiner_ext.files.naming import LOCAL, SUFFIX, Job, OutputKind, Shelf, plain_name, plan
from handrefiner_ext.files.sources import Prompted
from handrefiner_ext.hands.posed import Poses
from handrefiner_ext.pictures import (
    Picture,
    draw_mask,
    encode_as,
    encode_map,
    save_picture,
    write_atomically,
)
from handrefiner_ext.pictures.disk import usable
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.report import describe_hands, number_meshes
from handrefiner_ext.types import HandMesh, Hints, Image, Mask

DEPTH, MASK, OVERLAY, HANDS = "_depth.png", "_mask.png", "_overlay.png", "_hands.json"
POSES = ("_pose.json", "_openpose.json", "_openpose.png")
"""Endings of the files beside the picture itself."""
MOST_MESHES, MOST_CANDIDATES = 32, 8
"""Files of one picture whose names are looked at before anything is written."""
TO_GLTF = np.array([1.0, -1.0, -1.0])
"""Camera space (x right, y down, z away) -> glTF (x right, y up, z to the viewer): half a turn."""


@dataclass(frozen=True)
class Maps:
    """control: (H, W) uint8 control image. mask: (H, W), where pixels may change."""

    control: NDArray[np.uint8]
    mask: Mask


@dataclass(frozen=True)
class HintFolders:
    """Where `hints` writes; no meshes or poses where `mesh` or `pose` is None."""

    out: Path
    mesh: Path | None = None
    pose: Path | None = None

    def kinds(self) -> list[OutputKind]:
        """Return everything that a picture gives and that must not overwrite another's."""
        endings = (DEPTH, MASK, OVERLAY, HANDS)
        meshes = [
            OutputKind(self.mesh, f"_hand{number}.glb")
            for number in range(1, MOST_MESHES + 1)
            if self.mesh is not None
        ]
        kinds = [OutputKind(self.out, ending) for ending in endings]
        return [*kinds, *meshes, *_pose_kinds(self.pose)]


@dataclass(frozen=True)
class RefineFolders:
    """Where `refine` writes; no depth, mask, candidates or poses where those are None.

    count: outputs of each picture. resumes: skip pictures that an earlier run has finished. keeps:
    write in the source's format, and under its own name where there is one output. numbers: number
    the outputs. quality: of JPEG and WebP; None = the source's. backup: replace the sources
    themselves and keep what they were in this folder; None = write beside them. shows: make
    thumbnails for a page of the run.
    """

    out: Path
    depth: Path | None = None
    mask: Path | None = None
    count: int = 1
    resumes: bool = False
    candidates: Path | None = None
    keeps: bool = False
    numbers: bool = True
    quality: int | None = None
    backup: Path | None = None
    pose: Path | None = None
    shows: bool = False

    @property
    def wants_hints(self) -> bool:
        """Whether anything is written, or shown, of what is known before painting."""
        return self.shows or any((self.depth, self.mask, self.pose))

    def kinds(self, prompts: int = 1) -> list[OutputKind]:
        """Return everything that a picture with so many prompts gives."""
        numbers = range(self.count * prompts)
        suffix = SUFFIX if self.keeps else ".png"
        endings = [f"_{number}{suffix}" if self.numbers else suffix for number in numbers]
        outputs = [OutputKind(self.out, e) for e in endings if self.backup is None]
        maps = {DEPTH: self.depth, MASK: self.mask}
        tried = [
            OutputKind(self.candidates, f"_{number}_candidate{candidate + 1}.png")
            for number in numbers
            for candidate in range(MOST_CANDIDATES)
            if self.candidates is not None
        ]
        return [
            *outputs,
            *(OutputKind(folder, ending) for ending, folder in maps.items() if folder),
            *tried,
            *_pose_kinds(self.pose),
        ]

    def output(self, job: Job, number: int) -> Path:
        """Return the file of the job's output `number`, counted from 0."""
        if self.backup is not None:
            return job.source
        end = f"_{job.first + number}" if self.numbers else ""
        return self.out / f"{job.stem}{end}{job.suffix}"

    def candidate(self, job: Job, number: int, candidate: int) -> Path | None:
        """Return the file of a candidate of output `number`, both counted from 0."""
        if self.candidates is None:
            return None
        name = f"{Path(job.stem).name}_{job.first + number}_candidate{candidate + 1}.png"
        return self.candidates / job.under / name

    def hints(self, job: Job) -> list[Path]:
        """Return the files of depth, mask and poses, as far as they are wanted."""
        found = {DEPTH: self.depth, MASK: self.mask, **dict.fromkeys(POSES, self.pose)}
        return [folder / f"{job.stem}{ending}" for ending, folder in found.items() if folder]


def _pose_kinds(folder: Path | None) -> list[OutputKind]:
    return [OutputKind(folder, ending) for ending in POSES if folder is not None]


def open_folder(name: str) -> Path:
    """Return an output folder that exists and can be written to."""
    folder = Path(name)
    try:
        usable(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=usable(folder)):
            return folder
    except OSError as error:
        raise PictureError(f"{folder} cannot be written to: {error.strerror or error}.") from error


def open_optional_folder(name: str | None) -> Path | None:
    return open_folder(name) if name else None


def plan_refine(
    wanted: Sequence[Prompted],
    folders: RefineFolders,
    shelf: Shelf = LOCAL,
    inputs: Iterable[Path] = (),
) -> list[Job]:
    """Return a job for each; the outputs of a picture with several prompts are numbered on.

    inputs: other files that the run reads.
    """
    prompts: dict[Path, list[Prompted]] = {}
    for each in wanted:
        prompts.setdefault(each.source, []).append(each)
    most = max(map(len, prompts.values()), default=1)
    under = {each.source: each.under for each in wanted if each.under}
    planned = plan(list(prompts), folders.kinds(most), shelf, inputs, under)
    named = {job.source: job for job in planned}
    jobs, seen = [], dict.fromkeys(prompts, 0)
    for each in wanted:
        first = seen[each.source] * folders.count
        seen[each.source] += 1
        job = named[each.source]
        note = "" if first else job.note
        jobs.append(replace(job, prompt=each.prompt, first=first, origin=each.origin, note=note))
    return jobs


def settings_code(values: Mapping[str, object], *read: str) -> str:
    """Return hexadecimal digits that differ where the parameters, or the files read, do.

    read: digests of the files.
    """
    said = repr((sorted(values.items()), read))
    return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def is_done(job: Job, folders: RefineFolders, codes: Sequence[str]) -> bool:
    """Return whether a resumed run may skip the picture; a half-done one is done again.

    codes: the settings of each of its outputs, as `settings_code` gives them.
    """
    return (
        folders.resumes
        and all(path.exists() for path in folders.hints(job))
        and all(_is_finished(folders.output(job, n), code) for n, code in enumerate(codes))
    )


def _is_finished(output: Path, code: str) -> bool:
    """Return whether the file was made with these settings; it is whole, or it does not exist."""
    data = read_head(output)
    mark = None if data is None else read_mark(data)
    return mark is not None and mark.settings == code


def write_hint_files(
    job: Job, image: Image, hints: Hints, folders: HintFolders, mark: Mark
) -> None:
    """Write depth, mask, overlay and JSON of a picture, and meshes where they are wanted."""
    start = folders.out / job.stem
    _write_depth(_end(start, DEPTH), hints.maps.control, mark)
    _write_mask(_end(start, MASK), hints.maps.mask, mark)
    _write(_end(start, OVERLAY), encode_map(draw_overlay(image, hints), (mark.chunk,)), mark)
    said = describe(job.source, image, hints) | {KEY: mark.describe()}
    text = json.dumps(said, ensure_ascii=False, allow_nan=False) + "\n"
    _write(_end(start, HANDS), text.encode("utf-8"), mark)
    if folders.mesh:
        for number, mesh in zip(number_meshes(hints.meshes), hints.meshes, strict=True):
            _write_mesh(folders.mesh / f"{job.stem}_hand{number}.glb", mesh, mark)


def describe(source: Path, image: Image, hints: Hints) -> dict[str, Any]:
    """Return what `name_hands.json` says.

    Lengths are in pixels, boxes half-open, pixel centres at halves.
    """
    return {"image": plain_name(source), **describe_hands(image, hints)}


def write_poses(job: Job, poses: Poses, folder: Path, mark: Mark) -> None:
    """Write the hands as our pose, in OpenPose's JSON, and drawn."""
    for ending, said in zip(POSES, (poses.pose, poses.openpose), strict=False):
        text = json.dumps({**said, KEY: mark.describe()}, allow_nan=False) + "\n"
        _write(_end(folder / job.stem, ending), text.encode(), mark)
    _write(_end(folder / job.stem, POSES[2]), encode_map(poses.drawn, (mark.chunk,)), mark)


def write_maps(job: Job, maps: Maps, folders: RefineFolders, mark: Mark) -> None:
    """Write control image and mask where there are folders for them."""
    if folders.depth:
        _write_depth(_end(folders.depth / job.stem, DEPTH), maps.control, mark)
    if folders.mask:
        _write_mask(_end(folders.mask / job.stem, MASK), maps.mask, mark)


def write_refined(
    picture: Picture, image: Image, path: Path, mark: Mark, quality: int | None = None
) -> None:
    """Write a picture with its mark, in the format that its name says.

    Of an unchanged picture in that format, all else is copied byte for byte.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        save_picture(picture, image, path, mark.chunk)
        return
    data = encode_as(picture, image, suffix, quality)
    write_atomically(path, mark_webp(data, mark) if suffix == ".webp" else mark_jpeg(data, mark))


def back_up(job: Job, data: bytes, folder: Path) -> Path:
    """Keep what a picture was before it is replaced; return where. data: the picture's file."""
    name, source = job.source.name, usable(job.source)
    for number in count(1):
        numbered = name if number == 1 else f"{job.source.stem}_{number}{job.source.suffix}"
        place = folder / job.under / numbered
        if usable(place).exists() and usable(place).samefile(source):
            continue  # the picture itself, by this path or a link, is no copy of it
        before = _read_whole(place)
        if before == data:
            return place
        if before is None:
            write_atomically(place, data)
            shutil.copymode(source, usable(place))
            return place
    raise AssertionError("the numbers never end")


def _read_whole(path: Path) -> bytes | None:
    return usable(path).read_bytes() if usable(path).exists() else None


def _write_depth(path: Path, control: NDArray[np.uint8], mark: Mark) -> None:
    _write(path, encode_map(control, (mark.chunk,)), mark)


def _write_mask(path: Path, mask: Mask, mark: Mark) -> None:
    """Write 255 wherever a pixel may change."""
    _write(path, encode_map(draw_mask(mask), (mark.chunk,)), mark)


def _write_mesh(path: Path, mesh: HandMesh, mark: Mark) -> None:
    """Write one hand as binary glTF, in metres, with its wrist at the origin."""
    import trimesh

    hand: Any = trimesh.Trimesh(mesh.vertices * TO_GLTF, mesh.faces, process=False)
    data: bytes = hand.export(file_type="glb")
    _write(path, mark_glb(data, mark), mark)


def _write(path: Path, data: bytes, mark: Mark) -> None:
    """Write a file with its mark; PictureError where another's has appeared meanwhile."""
    check_replaceable(path, mark)
    write_atomically(path, data)


def _end(start: Path, ending: str) -> Path:
    return start.with_name(start.name + ending)
