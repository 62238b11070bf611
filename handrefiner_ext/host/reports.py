"""Reports of a run's pictures: words for the infotext, problems, and pictures beside the result."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from modules import images, shared
from modules.processing import Processed, StableDiffusionProcessing
from PIL import Image as PillowImage

from handrefiner_ext.host.layout import knob_of
from handrefiner_ext.host.settings import read_settings
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures.masks import draw_mask
from handrefiner_ext.pictures.overlay import draw_overlay
from handrefiner_ext.report import (
    ADVICE,
    EMPTY_POSE,
    NONE_FOUND,
    report_hands,
    say_result,
    shorten,
)
from handrefiner_ext.types import Image, RefineResult

logger = logging.getLogger(__name__)
TRY = (
    "To have it repainted all the same, change the seed, raise "
    f"{knob_of('candidates').label} or untick {knob_of('keep_best').label}."
)


@dataclass
class PictureReport:
    """One picture of a run.

    words: the whole story in one line. advice: why hands stayed as they were, and what to try.
    extras: pictures asked for. kept: number of what is kept of it, None where nothing is.
    """

    words: str
    refined: int = 0
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    extras: tuple[tuple[str, Image], ...] = field(default=())
    kept: str | None = None


def describe(result: RefineResult) -> PictureReport:
    """Return the report of a picture; hands that could not be painted are its problems."""
    problems = [decision.reason for decision in result.decisions if decision.failed]
    refined = sum(decision.refined for decision in result.decisions)
    return PictureReport(
        say_result(result), refined, tuple(dict.fromkeys(problems)), advise_on_kept(result)
    )


def advise_on_kept(result: RefineResult) -> tuple[str, ...]:
    """Return why hands stayed as they were although nothing failed, and what to try."""
    if EMPTY_POSE in result.hints.notes:
        return (EMPTY_POSE,)
    if not result.hints.meshes:
        return (f"No hand was repainted: {NONE_FOUND}. {ADVICE}",)
    hands = report_hands(result.hints)
    kept = [d for d in result.decisions if not d.refined and not d.failed]
    said = [f"Hand {hands[d.number].words}: {d.reason}" for d in kept]
    return (*said, TRY) if said else ()


class WithComments(Processed):
    """What came of a run, whose `info` in the API holds the comments that the page shows, too."""

    def js(self) -> str:
        info = json.loads(super().js())
        return json.dumps({"comments": self.comments.splitlines(), **info})


def add_comments(processed: Processed) -> None:
    """Have the API's `info` hold the comments that stand below the gallery."""
    # The class is changed, not the method: the X/Y/Z plot makes its own answer from a copy.
    if type(processed) is Processed:
        processed.__class__ = WithComments


def fail(reason: str) -> PictureReport:
    """Return the report of a picture that comes back as it was because of `reason`."""
    return PictureReport(f"not repainted ({shorten(reason)})", problems=(reason,))


def collect_extras(
    p: StableDiffusionProcessing,
    report: PictureReport,
    result: RefineResult,
    before: Image,
    params: RefineParams,
) -> None:
    """Keep what was asked for with the results, and save the copies that the settings name."""
    if not result.hints.meshes:
        return
    if params.extra_images:
        shown = [(n, _draw(n, result, before)) for n in ("depth", "mask", "before")]
        tried = enumerate(result.candidates, start=1)
        report.extras = (*shown, *((f"candidate {number}", image) for number, image in tried))
    for name in read_settings().save_copies:
        _save(p, name, _draw(name, result, before))


def append_extras(
    processed: Processed, reports: Mapping[tuple[int, int], PictureReport], batch_size: int
) -> None:
    """Add the extras behind the results, each with the text of its picture."""
    first = processed.index_of_first_image
    for (iteration, index), report in sorted(reports.items()):
        place = first + iteration * batch_size + index
        texts = processed.infotexts
        text = texts[place] if place < len(texts) else processed.info
        for name, image in report.extras:
            picture = PillowImage.fromarray(image)
            marked = f"{text}, HandRefiner extra: {name}"
            if shared.opts.enable_pnginfo:
                picture.info["parameters"] = marked
            # Some extensions add pictures without texts, and the gallery finds them by number.
            while len(processed.infotexts) < len(processed.images):
                processed.infotexts.append(processed.info)
            processed.images.append(picture)
            processed.infotexts.append(marked)


def _draw(name: str, result: RefineResult, before: Image) -> Image:
    maps = result.hints.maps
    if name == "before":
        return before
    if name == "overlay":
        return draw_overlay(before, result.hints)
    grey = maps.control if name == "depth" else draw_mask(maps.mask)
    return np.repeat(grey[..., None], 3, axis=2)


def _save(p: StableDiffusionProcessing, name: str, image: Image) -> None:
    if p.do_not_save_samples:
        return
    try:
        images.save_image(
            PillowImage.fromarray(image),
            p.outpath_samples,
            "",
            p.seeds[p.batch_index],
            p.prompts[p.batch_index],
            shared.opts.samples_format,
            p=p,
            suffix=f"-hands-{name}",
        )
    except Exception:
        logger.exception("The copy %s could not be saved.", name)
