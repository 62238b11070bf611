"""What `refine` writes for a picture, and which of it an earlier run has written already."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handrefiner_ext.naming import Job, Target, plan, read_settings
from handrefiner_ext.params import RefineParams
from handrefiner_ext.prompt_file import Prompted


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
