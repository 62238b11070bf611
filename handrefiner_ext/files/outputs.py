"""The files that a run writes: where they go, how they are written, and which are finished."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.naming import (
    MARK,
    Job,
    OutputKind,
    make_mark,
    plain_name,
    plan,
    read_settings,
)
from handrefiner_ext.files.sources import Prompted
from handrefiner_ext.pictures import Picture, encode_png, save_picture, write_atomically
from handrefiner_ext.pictures.metadata import Chunk
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.report import describe_hands, number_meshes
from handrefiner_ext.types import HandMesh, Hints, Image, Mask

DEPTH, MASK, OVERLAY, HANDS = "_depth.png", "_mask.png", "_overlay.png", "_hands.json"
"""Endings of the files beside the picture itself."""
TO_GLTF = np.array([1.0, -1.0, -1.0])
"""Camera space (x right, y down, z away) -> glTF (x right, y up, z to the viewer): half a turn."""


@dataclass(frozen=True)
class Maps:
    """control: (H, W) uint8 control image. mask: (H, W), where pixels may change."""

    control: NDArray[np.uint8]
    mask: Mask


@dataclass(frozen=True)
class HintFolders:
    """Where `hints` writes; no meshes where `mesh` is None."""

    out: Path
    mesh: Path | None = None

    def kinds(self) -> list[OutputKind]:
        """Return everything that a picture gives and that must not overwrite another's."""
        endings = (DEPTH, MASK, OVERLAY, HANDS)
        return [OutputKind(self.out, ending) for ending in endings]


@dataclass(frozen=True)
class RefineFolders:
    """Where `refine` writes; no depth, mask or candidates where those are None.

    count: outputs of each picture. resumes: skip pictures that an earlier run has finished.
    """

    out: Path
    depth: Path | None = None
    mask: Path | None = None
    count: int = 1
    resumes: bool = False
    candidates: Path | None = None

    def kinds(self, prompts: int = 1) -> list[OutputKind]:
        """Return everything that a picture with so many prompts gives."""
        outputs = [OutputKind(self.out, f"_{number}.png") for number in range(self.count * prompts)]
        maps = {DEPTH: self.depth, MASK: self.mask}
        return outputs + [OutputKind(folder, ending) for ending, folder in maps.items() if folder]

    def output(self, job: Job, number: int) -> Path:
        """Return the file of the job's output `number`, counted from 0."""
        return self.out / f"{job.stem}_{job.first + number}.png"

    def candidate(self, job: Job, number: int, candidate: int) -> Path | None:
        """Return the file of a candidate of output `number`, both counted from 0."""
        if self.candidates is None:
            return None
        output = self.output(job, number)
        return self.candidates / f"{output.stem}_candidate{candidate + 1}.png"

    def maps(self, job: Job) -> list[Path]:
        """Return the files of depth and mask, as far as they are wanted."""
        found = {DEPTH: self.depth, MASK: self.mask}
        return [folder / f"{job.stem}{ending}" for ending, folder in found.items() if folder]


def open_folder(name: str) -> Path:
    """Return an output folder that exists and can be written to."""
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise PictureError(f"{folder} cannot be written to: {error.strerror or error}.") from error


def open_optional_folder(name: str | None) -> Path | None:
    return open_folder(name) if name else None


def plan_refine(wanted: Sequence[Prompted], folders: RefineFolders) -> list[Job]:
    """Return a job for each; the outputs of a picture with several prompts are numbered on."""
    prompts: dict[Path, list[Prompted]] = {}
    for each in wanted:
        prompts.setdefault(each.source, []).append(each)
    most = max(map(len, prompts.values()), default=1)
    stems = {job.source: job.stem for job in plan(list(prompts), folders.kinds(most))}
    jobs, seen = [], dict.fromkeys(prompts, 0)
    for each in wanted:
        first = seen[each.source] * folders.count
        seen[each.source] += 1
        jobs.append(Job(each.source, stems[each.source], each.prompt, first, each.origin))
    return jobs


def settings_code(values: Mapping[str, object]) -> str:
    """Return eight hexadecimal digits that differ where the parameters do."""
    return f"{zlib.crc32(repr(sorted(values.items())).encode('utf-8', 'replace')):08x}"


def is_done(job: Job, folders: RefineFolders, codes: Sequence[str]) -> bool:
    """Return whether a resumed run may skip the picture; a half-done one is done again.

    codes: the settings of each of its outputs, as `settings_code` gives them.
    """
    return (
        folders.resumes
        and all(path.exists() for path in folders.maps(job))
        and all(_is_finished(folders.output(job, n), job.source, c) for n, c in enumerate(codes))
    )


def _is_finished(output: Path, source: Path, code: str) -> bool:
    """Return whether the file was made with these settings, or is an unchanged copy.

    Files are written whole or not at all, so one that exists is intact.
    """
    if not output.exists():
        return False
    said = read_settings(output)
    if said is not None:
        return said == code
    return output.stat().st_size == source.stat().st_size and (
        output.read_bytes() == source.read_bytes()
    )


def write_hint_files(job: Job, image: Image, hints: Hints, folders: HintFolders) -> None:
    """Write depth, mask, overlay and JSON of a picture, and meshes where they are wanted."""
    mark, start = make_mark(job.source), folders.out / job.stem
    _write_depth(_end(start, DEPTH), hints.maps.control, mark)
    _write_mask(_end(start, MASK), hints.maps.mask, mark)
    write_atomically(_end(start, OVERLAY), encode_png(draw_overlay(image, hints), (mark,)))
    said = describe(job.source, image, hints)
    text = json.dumps(said, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(_end(start, HANDS), text.encode("utf-8"))
    if folders.mesh:
        for number, mesh in zip(number_meshes(hints.meshes), hints.meshes, strict=True):
            _write_mesh(folders.mesh / f"{job.stem}_hand{number}.glb", mesh)


def describe(source: Path, image: Image, hints: Hints) -> dict[str, Any]:
    """Return what `name_hands.json` says.

    Lengths are in pixels, boxes half-open, pixel centres at halves.
    """
    return {"image": plain_name(source), **describe_hands(image, hints)}


def write_maps(job: Job, maps: Maps, folders: RefineFolders) -> None:
    """Write control image and mask where there are folders for them."""
    mark = make_mark(job.source)
    if folders.depth:
        _write_depth(_end(folders.depth / job.stem, DEPTH), maps.control, mark)
    if folders.mask:
        _write_mask(_end(folders.mask / job.stem, MASK), maps.mask, mark)


def write_refined(picture: Picture, image: Image, path: Path, mark: Chunk) -> None:
    """Write a repainted picture with its mark, or an unchanged one byte for byte if possible."""
    changed = image is not picture.image or picture.png is None
    save_picture(picture, image, path, mark if changed or _needs_mark(picture, path) else None)


def _needs_mark(picture: Picture, path: Path) -> bool:
    """Return whether an unchanged copy must say that it is one.

    Beside its source it must, or the next run would take it for a picture of the user's. The same
    holds where the source is an output itself: its old mark names another picture.
    """
    beside = os.path.realpath(path.parent) == os.path.realpath(picture.path.parent)
    return beside or any(chunk.keyword == MARK for chunk in picture.metadata)


def _write_depth(path: Path, control: NDArray[np.uint8], mark: Chunk) -> None:
    write_atomically(path, encode_png(control, (mark,)))


def _write_mask(path: Path, mask: Mask, mark: Chunk) -> None:
    """Write 255 wherever a pixel may change."""
    write_atomically(path, encode_png(np.where(mask, 255, 0).astype(np.uint8), (mark,)))


def _write_mesh(path: Path, mesh: HandMesh) -> None:
    """Write one hand as binary glTF, in metres, with its wrist at the origin."""
    import trimesh

    hand: Any = trimesh.Trimesh(mesh.vertices * TO_GLTF, mesh.faces, process=False)
    data: bytes = hand.export(file_type="glb")
    write_atomically(path, data)


def _end(start: Path, ending: str) -> Path:
    return start.with_name(start.name + ending)
