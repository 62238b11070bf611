"""The button *Fix hands* under the gallery: repaints the hands of the selected picture in place.

The picture is not generated again. Its own text says with which prompt, seed and sampler, so the
result is what the run would have given with the switch on, and its text is that run's.
"""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np
from modules import images, shared
from modules.infotext_utils import image_from_url_text
from PIL import Image as PillowImage

from handrefiner_ext.api.body import read_arguments
from handrefiner_ext.api.choosing import take
from handrefiner_ext.errors import BackendUnavailable, HandRefinerError, PictureError
from handrefiner_ext.host import checkpoint
from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.host.infotexts import Generation, add_to_text, read_generation
from handrefiner_ext.host.inpainter import WebuiInpainter, explain
from handrefiner_ext.host.inputs import read_depth_in, read_drawn_mask
from handrefiner_ext.host.last_run import LAST, keep_picture, rewrite
from handrefiner_ext.host.reports import describe
from handrefiner_ext.host.script import MODEL_KEY
from handrefiner_ext.host.serving import make_run
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.infotext import REPORT, to_infotext
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.stages import build_renderer, build_stages
from handrefiner_ext.types import RefineResult

logger = logging.getLogger(__name__)

NO_PICTURE = "There is no picture to fix yet; generate one first."
NONE_KEPT = "none"
"""What the page sends where it finds no candidates of a picture."""
NOTHING_TO_CHOOSE = (
    "No candidates of this picture are kept; they are for the last run, with HandRefiner on."
)
NO_CHECKPOINT = "No checkpoint is loaded; choose one at the top of the page first."
Answer = tuple[Any, Any, Any, Any]
"""What the page shows: gallery, generation info, the text below the picture, the log."""
UNCHANGED: Answer = (gr.update(), gr.update(), gr.update(), gr.update())


@dataclass(frozen=True)
class Fixed:
    """A picture whose hands were looked at. image: None where nothing was repainted."""

    text: str
    words: str
    image: PillowImage.Image | None = None


def fix_selected(
    id_task: str, gallery: Sequence[Any], selected: int, info: str, *values: object
) -> Answer:
    """Repaint the hands of the selected picture; add the result behind it.

    Arguments:
        id_task: the page's name for this run, by which it asks for progress.
        gallery: the pictures in view, as gradio hands them over.
        selected: which one; the first where none is.
        info: the gallery's generation info, JSON with a text for each picture.
        values: the panel's, in the order of the script's arguments.
    """
    tab, *panel = values
    try:
        if not gallery:
            return _say(NO_PICTURE)
        place = int(selected) if 0 <= int(selected) < len(gallery) else 0
        texts = _texts_of(_read_info(info), len(gallery))
        fixed = _fix(image_from_url_text(gallery[place]), texts[place], str(tab), panel)
    except HandRefinerError as reason:
        return _say(str(reason))
    except Exception as fault:  # whatever fails, the gallery stays as it is
        logger.exception("HandRefiner could not fix this picture.")
        return _say(explain(fault))
    if fixed.image is None:
        return _say(f"hands: {fixed.words}")
    return _insert(gallery, place, info, fixed)


def take_candidate(
    gallery: Sequence[Any], selected: int, info: str, chosen: str, tab: str
) -> Answer:
    """Add the selected picture with another candidate of a hand behind it; nothing is painted.

    chosen: JSON with the kept picture's number, the hand's and the candidate's; empty where the
    user closed the list. The others as for `fix_selected`.
    """
    try:
        if chosen == NONE_KEPT:
            return _say(NOTHING_TO_CHOOSE)
        said = json.loads(chosen or "null")
        if not (isinstance(said, list) and len(said) == 3 and gallery):
            return UNCHANGED
        place = int(selected) if 0 <= int(selected) < len(gallery) else 0
        number, hand, candidate = str(said[0]), int(said[1]), int(said[2])
        taken = take(LAST, rewrite, number, (hand, candidate))
        LAST.add(taken)
        made = read_generation(taken.text)
        image = PillowImage.fromarray(taken.image)
        _save(None, image, taken.text, tab, made)
    except HandRefinerError as reason:
        return _say(str(reason))
    except Exception as fault:  # whatever fails, the gallery stays as it is
        logger.exception("HandRefiner could not take this candidate.")
        return _say(explain(fault))
    return _insert(gallery, place, info, Fixed(taken.text, taken.words, image))


def _insert(gallery: Sequence[Any], place: int, info: str, fixed: Fixed) -> Answer:
    """Return what the page shows with a new picture behind the one at `place`."""
    shown = _read_info(info)
    texts = _texts_of(shown, len(gallery))
    texts.insert(place + 1, fixed.text)
    pictures = [_keep(entry) for entry in gallery]
    pictures.insert(place + 1, fixed.image)
    info = json.dumps({**shown, "infotexts": texts})
    return pictures, info, _paragraph(fixed.text), _log(f"hands: {fixed.words}")


def _fix(picture: PillowImage.Image | None, text: str, tab: str, panel: Sequence[object]) -> Fixed:
    if picture is None:
        raise PictureError(NO_PICTURE)
    if not the_host().load_checkpoint():
        raise BackendUnavailable(NO_CHECKPOINT)
    arguments = read_arguments(panel)
    params = replace(arguments.params, enabled=True)
    before = np.ascontiguousarray(np.asarray(picture.convert("RGB")))
    size = before.shape[0], before.shape[1]
    drawn = read_drawn_mask(arguments.drawn_mask, size) if params.uses_drawing else None
    depth = read_depth_in(arguments.depth_in, size)
    made = read_generation(text)
    with closing(make_run(params)) as p:
        _take_over(p, made, size)
        # One job is ours; every region is one more, so that the bar moves.
        shared.state.job_count = 1
        try:
            home = read_model_home()
            painter = WebuiInpainter(p, build_renderer(params, home))
            stages = build_stages(params, home, painter)
            result = refine(before, params, stages, drawn, depth)
        finally:
            checkpoint.restore(p)
            checkpoint.let_go()
        report = describe(result)
        if result.image is before or not report.refined:
            return Fixed(text, report.words)
        written = _write_text(text, params, result)
        kept = keep_picture(before, result)
        if kept is not None:
            LAST.finish(kept, result.image, written)
        image = PillowImage.fromarray(np.ascontiguousarray(result.image))
        _save(p, image, written, tab, made)
    return Fixed(written, report.words, image)


def _take_over(p: Any, made: Generation, size: tuple[int, int]) -> None:
    """Have the second pass read from the run `p` what the picture's own run would have had."""
    p.height, p.width = size
    p.prompt, p.negative_prompt = made.prompt, made.negative_prompt
    p.prompts, p.negative_prompts = [made.prompt], [made.negative_prompt]
    p.seed, p.subseed, p.subseed_strength = made.seed, made.subseed, made.subseed_strength
    p.seeds, p.subseeds = [made.seed], [made.subseed]
    p.all_prompts, p.all_negative_prompts = p.prompts, p.negative_prompts
    p.all_seeds, p.all_subseeds = p.seeds, p.subseeds
    for name in ("steps", "cfg_scale", "sampler_name", "scheduler"):
        value = getattr(made, name)
        if value is not None:
            setattr(p, name, value)


def _write_text(text: str, params: RefineParams, result: RefineResult) -> str:
    """Return the picture's text with what the panel and this run say in place of an older run."""
    entries: dict[str, str] = to_infotext(params)
    if result.control_model is not None:
        entries[MODEL_KEY] = result.control_model
    entries[REPORT] = describe(result).words
    return add_to_text(text, entries)


def _save(p: Any, image: PillowImage.Image, text: str, tab: str, made: Generation) -> None:
    """Save the picture where the tab's pictures go, if the WebUI saves any, with its text."""
    opts = shared.opts
    if opts.enable_pnginfo:
        image.info["parameters"] = text
    if not opts.samples_save:
        return
    folder = opts.outdir_samples or getattr(opts, f"outdir_{tab}_samples")
    images.save_image(
        image, folder, "", made.seed, made.prompt, opts.samples_format, info=text, p=p
    )


def _read_info(info: str) -> dict[str, Any]:
    """Return the gallery's generation info; empty where none was written yet."""
    try:
        shown = json.loads(info) if info else {}
    except ValueError:
        shown = {}
    return shown if isinstance(shown, dict) else {}


def _texts_of(shown: Mapping[str, Any], count: int) -> list[str]:
    """Return a text for each picture; extensions add pictures without any."""
    texts = [str(text) for text in shown.get("infotexts", [])]
    return texts + [""] * (count - len(texts))


def _keep(entry: Any) -> Any:
    """Return what stands for a picture that is in the gallery already, so that its file stays.

    The WebUI writes no new file for a picture that names the one it was saved as.
    """
    if not isinstance(entry, Mapping):
        return image_from_url_text(entry)
    picture: Any = PillowImage.new("RGB", (1, 1))
    picture.already_saved_as = str(entry["name"]).rsplit("?", 1)[0]
    return picture


def _say(words: str) -> Answer:
    """Return an answer that leaves the gallery alone and says why."""
    return gr.update(), gr.update(), gr.update(), _log(words)


def _log(words: str) -> str:
    """Return words as a text of their own, so that a sentence of ours can be translated."""
    return f"<p>HandRefiner: <span>{html.escape(words)}</span></p>"


def _paragraph(text: str) -> str:
    return "<p>" + html.escape(text).replace("\n", "<br>\n") + "</p>"
