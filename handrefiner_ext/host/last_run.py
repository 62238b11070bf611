"""The pictures of the WebUI's last run, kept for *Candidates* and *Before and after*."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from modules.processing import Processed
from PIL import Image as PillowImage

from handrefiner_ext.api.last import LastRun, keep
from handrefiner_ext.host.infotexts import replace_entry
from handrefiner_ext.infotext import REPORT
from handrefiner_ext.types import Image, RefineResult

logger = logging.getLogger(__name__)
LAST = LastRun()


class Kept(Protocol):
    """What a picture's report says of its being kept."""

    kept: str | None


def keep_picture(before: Image, result: RefineResult) -> str | None:
    """Keep a picture before its text is known; return its number, None where nothing is kept."""
    try:
        picture = keep(before, result)
        return None if picture is None else LAST.add(picture)
    except Exception:  # a convenience must not cost the picture
        logger.exception("HandRefiner could not keep the candidates of this picture.")
        return None


def finish_pictures(
    processed: Processed, reports: Mapping[tuple[int, int], Kept], batch_size: int
) -> None:
    """Give the pictures of a run that ended their texts, and what others made of them."""
    for (iteration, index), report in reports.items():
        place = processed.index_of_first_image + iteration * batch_size + index
        if report.kept is None or place >= min(len(processed.images), len(processed.infotexts)):
            continue
        shown = processed.images[place]
        if isinstance(shown, PillowImage.Image):
            pixels = np.ascontiguousarray(np.asarray(shown.convert("RGB")))
            LAST.finish(report.kept, pixels, str(processed.infotexts[place]))


def rewrite(text: str, words: str) -> str:
    """Return an infotext that says something else of the hands."""
    return replace_entry(text, REPORT, words)
