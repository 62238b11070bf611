"""The second pass alone, on a picture that somebody hands over: no run of the WebUI is around."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modules import processing, scripts, shared

from handrefiner_ext.host import checkpoint
from handrefiner_ext.host.backends import renderer_of, stages_with
from handrefiner_ext.host.inpainter import WebuiInpainter
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.types import Image, Mask, RefineResult

STEPS, CFG_SCALE, SAMPLER, SCHEDULER = 20, 7.0, "DPM++ 2M", "Karras"
"""What stands for "the picture's own" here."""


def refine_picture(image: Image, params: RefineParams, drawn_mask: Mask | None) -> RefineResult:
    """`image` with its hands repainted; hold the WebUI's lock while this runs."""
    p = _make_run(params)
    painter = WebuiInpainter(p, renderer_of(params))
    shared.state.begin(job="handrefiner")
    try:
        result = refine(image, params, stages_with(painter, params), drawn_mask)
    finally:
        checkpoint.restore()
        shared.state.end()
        p.close()
    problems = {n: r.problem for r in painter.reports if r.problem for n in r.numbers}
    decisions = tuple(
        replace(d, refined=False, reason=problems[d.number]) if d.number in problems else d
        for d in result.decisions
    )
    return replace(result, decisions=decisions)


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
    p.scripts_setup_complete = True
    p.scripts = runner
    p.script_args = [None] * max(script.args_to for script in runner.alwayson_scripts)
    p.batch_index = p.iteration = 0
    p.prompts, p.negative_prompts = [""], [""]
    p.seeds = p.subseeds = [params.seed]
    return p
