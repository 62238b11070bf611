"""What the always-on script does at each hook; the WebUI's own exceptions never cost a picture."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TypeGuard

import numpy as np
from modules import shared
from modules.processing import (
    Processed,
    StableDiffusionProcessing,
    StableDiffusionProcessingImg2Img,
)
from modules.scripts import PostprocessImageArgs
from numpy.typing import NDArray
from PIL import Image as PillowImage

from handrefiner_ext.api.body import Arguments, read_arguments
from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.host import checkpoint, controlnet
from handrefiner_ext.host.inpainter import WebuiInpainter, explain
from handrefiner_ext.host.inputs import (
    pass_through,
    read_depth_in,
    read_drawn_mask,
    restore_sampling,
    user_mask,
)
from handrefiner_ext.host.last_run import LAST, finish_pictures, keep_picture
from handrefiner_ext.host.nested import INNER
from handrefiner_ext.host.reports import (
    PictureReport,
    add_comments,
    append_extras,
    collect_extras,
    describe,
    fail,
)
from handrefiner_ext.host.settings import read_model_home, read_settings
from handrefiner_ext.host.xyz import CARRIER
from handrefiner_ext.infotext import MARK, REPORT, key_of, to_infotext, written_fields
from handrefiner_ext.inpaint.checkpoints import Engine, warn_of_pace
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.repaint.regions import prompt_for
from handrefiner_ext.stages import build_renderer, build_stages
from handrefiner_ext.types import Mask

logger = logging.getLogger(__name__)

STATE = "_handrefiner"
MODEL_KEY = f"{MARK} control model"


@dataclass
class Run:
    """One `process_images` with the switch on.

    reports: by (iteration, place in the batch). masks, depths: those given, by (height, width).
    """

    arguments: Arguments | None
    problem: str | None = None
    reports: dict[tuple[int, int], PictureReport] = field(default_factory=dict)
    masks: dict[tuple[int, int], Mask | None] = field(default_factory=dict)
    depths: dict[tuple[int, int], NDArray[np.uint8] | None] = field(default_factory=dict)

    def read_mask(self, arguments: Arguments, size: tuple[int, int]) -> Mask | None:
        """Return the drawn mask for pictures of this size, decoded once for all of a batch."""
        if not arguments.params.uses_drawing:
            return None
        if size not in self.masks:
            self.masks[size] = read_drawn_mask(arguments.drawn_mask, size)
        return self.masks[size]

    def read_depth(self, arguments: Arguments, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Return the depth map that was given, decoded once for all of a batch."""
        if size not in self.depths:
            self.depths[size] = read_depth_in(arguments.depth_in, size)
        return self.depths[size]


def words_for(p: StableDiffusionProcessing, index: int = 0, **_: object) -> str | None:
    """Return the infotext's words about one picture; the WebUI calls this for each.

    Other extensions run our hooks on copies of `p`, which share its dictionary of texts: what
    counts is the run of the `p` that is asked about.
    """
    run: Run | None = vars(p).get(STATE)
    if run is None:
        return None
    report = run.reports.get((p.iteration, index))
    return report.words if report is not None else run.problem


class HandRefinerScript:
    """Does the work of the hooks; one instance serves all runs and remembers none."""

    def before_process(self, p: StableDiffusionProcessing, *args: object) -> None:
        if _is_inner(p):
            return
        _forget(p)
        checkpoint.restore()
        run = _start(p, args)
        if run is None:
            return
        LAST.clear()
        setattr(p, STATE, run)
        if run.arguments is not None and _skips_sampling(p, run.arguments.params):
            pass_through(p)

    def process(self, p: StableDiffusionProcessing, *args: object) -> None:
        run = _run_of(p)
        if run is None:
            return
        params = p.extra_generation_params
        if run.arguments is not None:
            params.update(to_infotext(run.arguments.params))
            if not run.arguments.params.checkpoint:
                _note_model(p, run.arguments.params)
        params[REPORT] = words_for
        if run.problem is not None:
            _tell(p, run.problem)
        elif run.arguments is not None and (warning := _find_warning(p, run.arguments.params)):
            _tell(p, warning)

    def before_process_batch(
        self, p: StableDiffusionProcessing, *args: object, **kwargs: object
    ) -> None:
        if not _is_inner(p):
            checkpoint.restore(p)

    def postprocess_image(
        self, p: StableDiffusionProcessing, pp: PostprocessImageArgs, *args: object
    ) -> None:
        run = _run_of(p)
        if run is None or run.arguments is None:
            return
        try:
            report = self._refine(p, pp, run, run.arguments)
        except HandRefinerError as reason:
            report = fail(str(reason))
        except Exception as fault:  # whatever fails, the picture comes back
            logger.exception("HandRefiner could not work on this picture.")
            report = fail(explain(fault))
        if p.batch_index + 1 >= p.batch_size:
            # Before the WebUI does it itself for the next iteration, and drops our checkpoint.
            checkpoint.restore(p)
        run.reports[p.iteration, p.batch_index] = report
        log = logger.warning if report.problems else logger.info
        log("HandRefiner: hands: %s", report.words)
        for sentence in (*report.problems, *report.advice):
            p.comment(f"HandRefiner: {sentence}")

    def postprocess(
        self, p: StableDiffusionProcessing, processed: Processed, *args: object
    ) -> None:
        if _is_inner(p):
            return
        run = _run_of(p)
        try:
            if run is not None:
                finish_pictures(processed, run.reports, p.batch_size)
                append_extras(processed, run.reports, p.batch_size)
                add_comments(processed)
        finally:
            checkpoint.restore(p)
            checkpoint.let_go()
            restore_sampling(p)

    def _refine(
        self,
        p: StableDiffusionProcessing,
        pp: PostprocessImageArgs,
        run: Run,
        arguments: Arguments,
    ) -> PictureReport:
        params = arguments.params
        if _is_stopped():
            return fail("The generation was interrupted or skipped.")
        if getattr(p, "txt2img_upscale", False) and not read_settings().refine_upscaled:
            return fail("The hands were refined before this picture was upscaled.")
        before = np.asarray(pp.image.convert("RGB"))
        size = before.shape[0], before.shape[1]
        home = read_model_home()
        painter = WebuiInpainter(p, build_renderer(params, home), user_mask(p, size))
        stages = build_stages(params, home, painter)
        given = run.read_mask(arguments, size), run.read_depth(arguments, size)
        result = refine(before, params, stages, *given)
        if result.control_model is not None:
            p.extra_generation_params[MODEL_KEY] = result.control_model
        report = describe(result)
        if result.image is not before:
            pp.image = PillowImage.fromarray(np.ascontiguousarray(result.image))
        report.kept = keep_picture(before, result)
        collect_extras(p, report, result, before, params)
        _rearm_skip()
        return report


def _start(p: StableDiffusionProcessing, args: tuple[object, ...]) -> Run | None:
    """Read what this run should do; None where the switch is off."""
    overrides = getattr(p, CARRIER, {})
    try:
        arguments = read_arguments(args, overrides)
    except HandRefinerError as reason:
        return Run(None, str(reason)) if _is_switched_on(args, overrides) else None
    return Run(arguments) if arguments.params.enabled else None


def _is_switched_on(args: tuple[object, ...], overrides: dict[str, object]) -> bool:
    """Return whether the switch is on in values that cannot be read as a whole."""
    first = args[0] if args else False
    switch = first.get("enabled", False) if isinstance(first, dict) else first
    return str(overrides.get("enabled", switch)).lower() not in ("false", "0", "none", "")


def _forget(p: StableDiffusionProcessing) -> None:
    """Remove what an earlier run left on `p` or on dictionaries that it shares."""
    vars(p).pop(STATE, None)
    restore_sampling(p)
    for key in (MARK, *map(key_of, written_fields()), REPORT, MODEL_KEY):
        p.extra_generation_params.pop(key, None)


def _tell(p: StableDiffusionProcessing, sentence: str) -> None:
    """Say a sentence in the log and under the gallery."""
    logger.warning("HandRefiner: %s", sentence)
    p.comment(f"HandRefiner: {sentence}")


def _find_warning(p: StableDiffusionProcessing, params: RefineParams) -> str | None:
    """Return what had better be set before hands are painted with these values."""
    name, prompt = str(p.sd_model_name), p.all_prompts[0] if p.all_prompts else ""
    own = prompt_for(params.prompt, prompt, (1,))
    return warn_of_pace(Engine(name, prompt), Engine(params.checkpoint or name, own), params)


def _note_model(p: StableDiffusionProcessing, params: RefineParams) -> None:
    """Write the control model into the infotext before params.txt is written."""
    family = controlnet.checkpoint_family()
    choice = controlnet.choose_model(controlnet.list_models(), family, params.control_model)
    if choice.name is not None:
        p.extra_generation_params[MODEL_KEY] = choice.name


def _skips_sampling(
    p: StableDiffusionProcessing, params: RefineParams
) -> TypeGuard[StableDiffusionProcessingImg2Img]:
    return params.skip_img2img and bool(getattr(p, "init_images", None))


def _is_inner(p: StableDiffusionProcessing) -> bool:
    return any(getattr(p, name, False) for name in (INNER, "_ad_inner"))


def _run_of(p: StableDiffusionProcessing) -> Run | None:
    return None if _is_inner(p) else vars(p).get(STATE)


def _is_stopped() -> bool:
    state = shared.state
    return bool(state.interrupted or state.skipped or state.stopping_generation)


def _rearm_skip() -> None:
    """Clear a skip during the second pass, which meant that pass alone."""
    shared.state.skipped = False
