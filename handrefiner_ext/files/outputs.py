"""What a run over pictures writes: the files of hints, where outputs go, and which are done."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.files.naming import Job, Target, plain_name, plan, read_settings
from handrefiner_ext.files.prompts import Prompted
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import encode_png, write_atomically
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.pictures.png_chunks import Chunk
from handrefiner_ext.report import describe_hands
from handrefiner_ext.types import (
    HandMesh,
    Hints,
    Image,
    Mask,
)

TO_GLTF = np.array([1.0, -1.0, -1.0])
"""Camera space (x right, y down, z away) -> glTF (x right, y up, z to the viewer): half a turn."""


def write_depth(path: Path, control: NDArray[np.uint8], mark: Chunk) -> None:
    """(H, W) control image."""
    write_atomically(path, encode_png(control, (mark,)))


def write_mask(path: Path, mask: Mask, mark: Chunk) -> None:
    """255 wherever a pixel may change."""
    write_atomically(path, encode_png(np.where(mask, 255, 0).astype(np.uint8), (mark,)))


def write_overlay(path: Path, image: Image, hints: Hints, mark: Chunk) -> None:
    write_atomically(path, encode_png(draw_overlay(image, hints), (mark,)))


def write_hands(path: Path, source: Path, image: Image, hints: Hints) -> None:
    """The hands as JSON; lengths in pixels, boxes half-open, pixel centres at halves."""
    said = describe(source, image, hints)
    text = json.dumps(said, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, text.encode("utf-8"))


def describe(source: Path, image: Image, hints: Hints) -> dict[str, Any]:
    """What `name_hands.json` says."""
    return {"image": plain_name(source), **describe_hands(image, hints)}


def write_mesh(path: Path, mesh: HandMesh) -> None:
    """One hand as binary glTF, metres, its wrist at the origin."""
    import trimesh

    hand: Any = trimesh.Trimesh(mesh.vertices * TO_GLTF, mesh.faces, process=False)
    data: bytes = hand.export(file_type="glb")
    write_atomically(path, data)


@dataclass(frozen=True)
class RefineFolders:
    """Where `refine` writes; no depth, mask or candidates where those are None.

    count: outputs of each picture. resumes: leave alone what is there already.
    """

    out: Path
    depth: Path | None = None
    mask: Path | None = None
    count: int = 1
    resumes: bool = False
    candidates: Path | None = None

    def targets(self, prompts: int = 1) -> list[Target]:
        """Everything that a picture with so many prompts gives."""
        outputs = [Target(self.out, f"_{number}.png") for number in range(self.count * prompts)]
        maps = {"_depth.png": self.depth, "_mask.png": self.mask}
        return outputs + [Target(folder, ending) for ending, folder in maps.items() if folder]

    def output(self, job: Job, number: int) -> Path:
        """The file of the job's output `number`, counted from 0."""
        return self.out / f"{job.stem}_{job.first + number}.png"

    def candidate(self, job: Job, number: int, candidate: int) -> Path | None:
        """The file of a candidate (counted from 0) of output `number`."""
        if self.candidates is None:
            return None
        output = self.output(job, number)
        return self.candidates / f"{output.stem}_candidate{candidate + 1}.png"

    def maps(self, job: Job) -> list[Path]:
        """The files of depth and mask that are wanted."""
        found = {"_depth.png": self.depth, "_mask.png": self.mask}
        return [folder / f"{job.stem}{ending}" for ending, folder in found.items() if folder]


def plan_refine(wanted: Sequence[Prompted], folders: RefineFolders) -> list[Job]:
    """A job for each; a picture with several prompts has outputs that are numbered on."""
    prompts: dict[Path, list[Prompted]] = {}
    for each in wanted:
        prompts.setdefault(each.source, []).append(each)
    most = max(map(len, prompts.values()), default=1)
    stems = {job.source: job.stem for job in plan(list(prompts), folders.targets(most))}
    jobs, seen = [], dict.fromkeys(prompts, 0)
    for each in wanted:
        first = seen[each.source] * folders.count
        seen[each.source] += 1
        jobs.append(Job(each.source, stems[each.source], each.prompt, first, each.origin))
    return jobs


def settings_code(settings: RefineParams | Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that differ where settings do."""
    named = asdict(settings) if isinstance(settings, RefineParams) else settings
    return f"{zlib.crc32(repr(sorted(named.items())).encode('utf-8', 'replace')):08x}"


def is_done(job: Job, folders: RefineFolders, codes: Sequence[str]) -> bool:
    """Whether a run that resumes may pass the picture over; one half done is done again.

    codes: of the settings of each of its outputs.
    """
    return (
        folders.resumes
        and all(path.exists() for path in folders.maps(job))
        and all(_is_finished(folders.output(job, n), job.source, c) for n, c in enumerate(codes))
    )


def _is_finished(output: Path, source: Path, code: str) -> bool:
    """Whether the file was made with these settings, or is an unchanged copy.

    Files are written whole or not at all, so that one which is there is intact.
    """
    if not output.exists():
        return False
    said = read_settings(output)
    if said is not None:
        return said == code
    return output.stat().st_size == source.stat().st_size and (
        output.read_bytes() == source.read_bytes()
    )
