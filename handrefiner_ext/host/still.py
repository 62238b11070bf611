"""Repaints the hands of a picture that nobody is generating, with the WebUI's loaded model."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from modules import processing, scripts, sd_samplers, shared
from PIL import Image as PillowImage

from handrefiner_ext.errors import BackendUnavailable, HandRefinerError
from handrefiner_ext.host import checkpoint
from handrefiner_ext.host.inpainter import WebuiInpainter, explain
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import Stages, refine
from handrefiner_ext.registry import DETECTORS, RECONSTRUCTORS, RENDERERS
from handrefiner_ext.types import ControlMaps, Decision, HandMesh, Image, Mask, RefineResult

logger = logging.getLogger(__name__)
STEPS, CFG_SCALE = 20, 7.0
"""Where the request leaves them open; there is no outer run to take them from."""


def refine_picture(image: Image, params: RefineParams, drawn_mask: Mask | None) -> RefineResult:
    """The picture with repainted hands; what could not be painted stays, with the reason.

    The caller holds the WebUI's queue lock.
    """
    if shared.sd_model is None:
        raise BackendUnavailable("No checkpoint is loaded; choose one in the WebUI first.")
    shared.state.begin(job="handrefiner")
    try:
        with closing(_make_processing(image, params)) as p:
            try:
                return _refine(p, image, params, drawn_mask)
            finally:
                checkpoint.restore(p)
    finally:
        shared.state.end()
        shared.total_tqdm.clear()


class _CarefulPainter:
    """The WebUI's inpainter; where it fails the picture stays as it is and `problem` says why."""

    name = WebuiInpainter.name

    def __init__(self, painter: WebuiInpainter) -> None:
        self.painter = painter
        self.problem: str | None = None

    def paint(
        self, image: Image, meshes: tuple[HandMesh, ...], maps: ControlMaps, params: RefineParams
    ) -> Image:
        try:
            return self.painter.paint(image, meshes, maps, params)
        except HandRefinerError as reason:
            self.problem = str(reason)
        except Exception as fault:  # whatever fails, the picture comes back
            logger.exception("HandRefiner could not repaint this picture.")
            self.problem = explain(fault)
        return image


def _refine(p: Any, image: Image, params: RefineParams, drawn_mask: Mask | None) -> RefineResult:
    renderer = RENDERERS.build(params.renderer)
    painter = _CarefulPainter(WebuiInpainter(p, renderer))
    stages = Stages(
        DETECTORS.build(params.detector), RECONSTRUCTORS.build(params.mesh), renderer, painter
    )
    result = refine(image, params, stages, drawn_mask)
    problems = {n: r.problem for r in painter.painter.reports if r.problem for n in r.numbers}
    model = painter.painter.model
    return replace(
        result,
        decisions=tuple(
            _explain(d, problems.get(d.number, painter.problem)) for d in result.decisions
        ),
        notes=(*result.notes, *([f"control model: {model}"] if model else [])),
    )


def _explain(decision: Decision, problem: str | None) -> Decision:
    """The decision with the reason that only the painter knows."""
    if problem is None:
        return decision
    return replace(decision, refined=False, reason=problem, after=None)


def _make_processing(image: Image, params: RefineParams) -> Any:
    """What a nested run takes as its outer one."""
    height, width = image.shape[:2]
    p = processing.StableDiffusionProcessingImg2Img(
        sd_model=shared.sd_model,
        init_images=[PillowImage.fromarray(np.ascontiguousarray(image))],
        sampler_name=sd_samplers.visible_samplers()[0].name,
        steps=STEPS,
        cfg_scale=CFG_SCALE,
        width=width,
        height=height,
        seed=params.seed,
        subseed=0,
        do_not_save_samples=True,
        do_not_save_grid=True,
    )
    runner = scripts.scripts_img2img
    p.scheduler = "Automatic"
    # No script of the panel is to set itself up for a run that does not happen.
    p.scripts_setup_complete = True
    p.scripts = runner
    p.script_args = [None] * max((script.args_to or 0 for script in runner.scripts), default=0)
    p.prompts, p.negative_prompts = [""], [""]
    p.seeds, p.subseeds = [params.seed], [0]
    p.batch_index = p.iteration = 0
    p.is_api = True
    return p
