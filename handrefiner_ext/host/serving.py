"""The routes of `handrefiner_ext.api`, served by the WebUI: its users, models, lock and checks."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from typing import Any

from modules import (
    call_queue,
    scripts,
    sd_models,
    sd_samplers,
    shared,
)
from modules.processing import StableDiffusionProcessingImg2Img

from handrefiner_ext.api.access import guard_routes
from handrefiner_ext.api.routes import add_routes as add_own_routes
from handrefiner_ext.api.worker import ControlModel, ModelList, Services
from handrefiner_ext.errors import BackendUnavailable, HandRefinerError, InvalidParameter, show
from handrefiner_ext.host import checkpoint, controlnet
from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.host.inpainter import WebuiInpainter, explain
from handrefiner_ext.host.last_run import LAST, rewrite
from handrefiner_ext.host.layout import LISTS
from handrefiner_ext.host.settings import read_model_home, read_settings
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.protocols import CandidatePainter, PaintRequest
from handrefiner_ext.stages import build_renderer, build_stages
from handrefiner_ext.types import (
    Given,
    Image,
    Painting,
    RefineResult,
    RegionReport,
)

logger = logging.getLogger(__name__)
STEPS, CFG_SCALE, SAMPLER, SCHEDULER = 20, 7.0, "DPM++ 2M", "Karras"
"""What stands for "the picture's own" here."""


def add_routes(app: Any) -> None:
    """Guard the generation requests and add our own routes; never break the WebUI's start."""
    try:
        guard_routes(app, check_names)
        add_own_routes(app, build_services())
    except Exception:
        logger.exception("HandRefiner could not add its API routes; the rest works without them.")


def build_services() -> Services:
    """Return what the WebUI offers the routes."""
    flags = shared.cmd_opts
    return Services(
        host=describe_host(),
        users=read_users(flags.api_auth),
        heavy=bool(flags.api or flags.nowebui),
        home=read_model_home,
        list_models=list_models,
        check=check_names,
        refine=refine_picture,
        lock=call_queue.queue_lock,
        most_pixels=lambda: read_settings().route_megapixels * 1_000_000,
        last=LAST,
        rewrite=rewrite,
    )


def describe_host() -> str:
    """Return the WebUI's name and version."""
    try:
        from modules.launch_utils import git_tag

        return f"{the_host().name} {git_tag()}"
    except Exception:
        logger.exception("HandRefiner could not read the WebUI's version.")
        return the_host().name


def read_users(api_auth: str | None) -> dict[str, str]:
    """Return user -> password from --api-auth, `user:password,user:password`."""
    pairs = (entry.partition(":") for entry in (api_auth or "").split(",") if entry)
    return {user: password for user, _, password in pairs}


def list_models() -> ModelList:
    """Return ControlNet's models, and the one that `auto` takes for the loaded checkpoint."""
    family = controlnet.checkpoint_family()
    if not controlnet.is_installed():
        return ModelList((), family, None, controlnet.missing())
    names = controlnet.list_models()
    auto = controlnet.choose_model(names, family)
    models = tuple(
        ControlModel(name, controlnet.choose_model(names, family, name).recommended_strength)
        for name in names
    )
    return ModelList(models, family, auto.name, auto.reason)


def check_names(params: RefineParams) -> None:
    """Raise InvalidParameter for a sampler, scheduler, VAE or checkpoint that is not installed.

    A control model is not checked here: whether one fits depends on the checkpoint that will be
    loaded, so the run says what is wrong with it.
    """
    samplers = {sampler.name.lower() for sampler in sd_samplers.all_samplers}
    found = {
        "sampler": params.sampler.lower() in samplers,
        "scheduler": the_host().knows_scheduler(params.scheduler),
        "vae": params.vae in LISTS["vae"].read(),
        "checkpoint": sd_models.get_closet_checkpoint_match(params.checkpoint) is not None,
    }
    for name, is_installed in found.items():
        value = getattr(params, name)
        if value and not is_installed:
            listed = ", ".join(choice for choice in LISTS[name].read() if choice)
            raise InvalidParameter(
                f"{name} = {show(value)} is not installed; it must be empty or one of {listed}."
            )


class CarefulPainter(CandidatePainter):
    """Wraps the WebUI's inpainter: if it fails as a whole, all hands are kept and reported."""

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


def refine_picture(image: Image, params: RefineParams, given: Given) -> RefineResult:
    """Repaint the hands of a picture, (H, W, 3); hold the WebUI's lock while this runs.

    A hand that could not be painted stays as it was, and its decision says why.
    """
    if not the_host().load_checkpoint():
        raise BackendUnavailable("No checkpoint is loaded; choose one in the WebUI first.")
    shared.state.begin(job="handrefiner")
    try:
        with closing(make_run(params)) as p:
            try:
                home = read_model_home()
                painter = CarefulPainter(WebuiInpainter(p, build_renderer(params, home)))
                stages = build_stages(params, home, painter)
                result = refine(image, params, stages, given.drawn_mask, given.depth_in)
            finally:
                checkpoint.restore(p)
    finally:
        shared.state.end()
        shared.total_tqdm.clear()
    if result.control_model is None:
        return result
    return replace(result, notes=(*result.notes, f"control model: {result.control_model}"))


def _sampling() -> dict[str, Any]:
    """Return sampler and scheduler, which are one name where the WebUI has no schedulers."""
    if the_host().knows_scheduler(SCHEDULER):
        return {"sampler_name": SAMPLER, "scheduler": SCHEDULER}
    return {"sampler_name": f"{SAMPLER} {SCHEDULER}"}


def make_run(params: RefineParams) -> StableDiffusionProcessingImg2Img:
    """Return a run that was never started, with all that the second pass reads from one."""
    p = StableDiffusionProcessingImg2Img(
        sd_model=shared.sd_model,
        outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_img2img_samples,
        outpath_grids=shared.opts.outdir_grids or shared.opts.outdir_img2img_grids,
        **_sampling(),
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
