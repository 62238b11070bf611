"""The second pass alone, on a picture that somebody hands over: no run of the WebUI is around."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from typing import Any

from modules import processing, scripts, shared

from handrefiner_ext.errors import BackendUnavailable, HandRefinerError
from handrefiner_ext.host import checkpoint
from handrefiner_ext.host.inpainter import WebuiInpainter, explain
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.protocols import CandidatePainter, PaintRequest
from handrefiner_ext.stages import build_renderer, build_stages
from handrefiner_ext.types import (
    Image,
    Mask,
    Painting,
    RefineResult,
    RegionReport,
)

logger = logging.getLogger(__name__)
STEPS, CFG_SCALE, SAMPLER, SCHEDULER = 20, 7.0, "DPM++ 2M", "Karras"
"""What stands for "the picture's own" here."""


class CarefulPainter(CandidatePainter):
    """The WebUI's inpainter; where it fails as a whole, every hand stays and is reported."""

    name = WebuiInpainter.name

    def __init__(self, painter: WebuiInpainter) -> None:
        self.painter = painter

    def paint_candidates(self, request: PaintRequest, count: int) -> Painting:
        try:
            return self.painter.paint_candidates(request, count)
        except HandRefinerError as reason:
            problem = str(reason)
        except Exception as fault:  # whatever fails, the picture comes back
            logger.exception("HandRefiner could not repaint this picture.")
            problem = explain(fault)
        return Painting(
            (request.image,), (RegionReport(tuple(range(len(request.meshes))), problem),)
        )


def refine_picture(image: Image, params: RefineParams, drawn_mask: Mask | None) -> RefineResult:
    """`image` with its hands repainted; hold the WebUI's lock while this runs.

    A hand that could not be painted stays as it was, and its decision says why.
    """
    if shared.sd_model is None:
        raise BackendUnavailable("No checkpoint is loaded; choose one in the WebUI first.")
    shared.state.begin(job="handrefiner")
    try:
        with closing(_make_run(params)) as p:
            try:
                home = read_model_home()
                painter = CarefulPainter(WebuiInpainter(p, build_renderer(params, home)))
                result = refine(image, params, build_stages(params, home, painter), drawn_mask)
            finally:
                checkpoint.restore(p)
    finally:
        shared.state.end()
        shared.total_tqdm.clear()
    if result.control_model is None:
        return result
    return replace(result, notes=(*result.notes, f"control model: {result.control_model}"))


def _make_run(params: RefineParams) -> Any:
    """What the second pass asks of the run around it."""
    p = processing.StableDiffusionProcessingImg2Img(
        sd_model=shared.sd_model,
        outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_img2img_samples,
        outpath_grids=shared.opts.outdir_grids or shared.opts.outdir_img2img_grids,
        sampler_name=SAMPLER,
        scheduler=SCHEDULER,
        steps=STEPS,
        cfg_scale=CFG_SCALE,
        tiling=False,
    )
    runner = scripts.scripts_img2img
    # No script of the panel is to set itself up for a run that does not happen.
    p.scripts_setup_complete = True
    p.scripts = runner
    p.script_args = [None] * max(script.args_to or 0 for script in runner.alwayson_scripts)
    p.batch_index = p.iteration = 0
    p.prompts, p.negative_prompts = [""], [""]
    p.seeds = p.subseeds = [params.seed]
    return p
