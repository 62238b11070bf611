"""A second img2img run inside a running one: one region, one ControlNet unit, nothing else."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from modules import processing, scripts, sd_samplers, shared
from modules.processing import StableDiffusionProcessing, StableDiffusionProcessingImg2Img
from PIL import Image as PillowImage

from handrefiner_ext.host import controlnet
from handrefiner_ext.host.adapters.choose import the_host
from handrefiner_ext.host.patches import attribute
from handrefiner_ext.params import RefineParams
from handrefiner_ext.repaint.regions import RegionFailed, RegionTask, Stopped, prompt_for
from handrefiner_ext.types import Image

logger = logging.getLogger(__name__)

INNER = "_handrefiner_inner"
SAMPLING = "process_before_every_sampling"
COPIED = (
    *("subseed_strength", "tiling", "eta", "s_min_uncond", "s_churn", "s_tmax", "s_tmin"),
    *("s_noise", "sampler_noise_scheduler_override", "disable_extra_networks"),
    *("token_merging_ratio", "inpainting_mask_weight", "distilled_cfg_scale", "user"),
)
"""What the second pass takes from the outer run without asking."""


class ControlMissing(BaseException):
    """Ends a nested run before it samples; the host swallows every ordinary exception here."""


class Probe(scripts.Script):
    """Runs after ControlNet in the nested runner.

    It checks that ControlNet was applied. And it seeds torch's global generator, from which the
    VAE draws when the picture becomes a latent; otherwise what was painted before, or weights that
    were just loaded, would show in what is painted now.
    """

    def __init__(self, control_script: Any) -> None:
        self.control_script = control_script
        self.filename = control_script.filename
        self.args_from = self.args_to = 0

    def title(self) -> str:
        return "HandRefiner probe"

    def process(self, p: StableDiffusionProcessing, *args: object) -> None:
        import torch

        torch.default_generator.manual_seed(int(p.seed))

    def process_batch(self, p: StableDiffusionProcessing, *args: object, **kwargs: object) -> None:
        if not the_host().is_applied(self.control_script):
            raise ControlMissing


def run_pass(
    p: StableDiffusionProcessing, tasks: Sequence[RegionTask], model: str, params: RefineParams
) -> tuple[Image, ...]:
    """Return the candidates of a region, (h, w, 3) each; RegionFailed if ControlNet failed.

    tasks: candidates of one region, with one seed after the other. model: as ControlNet lists it.
    """
    _raise_if_stopped()
    found = controlnet.find_script(p.scripts)
    if found is None:
        raise RegionFailed(controlnet.missing())
    script = the_host().nested_script(found)
    inner = _make_processing(p, tasks, params)
    faults: list[Exception] = []
    with ExitStack() as stack:
        stack.callback(inner.close)
        stack.callback(the_host().unhook, script, inner)
        stack.enter_context(attribute(script, "process", _remember_faults(script, faults)))
        if hasattr(script, SAMPLING):
            stack.enter_context(attribute(script, SAMPLING, _end_on_fault(script, faults)))
        unit = controlnet.make_unit(model, _as_rgb(tasks[0].control), params)
        _give_runner(inner, p, script, unit)
        try:
            processed = processing.process_images(inner)
        except ControlMissing as error:
            reason = f": {faults[0]}" if faults else ""
            raise RegionFailed(f"ControlNet was not applied{reason}.") from error
    _raise_if_stopped()
    return _take_pictures(processed, tasks)


def _make_processing(
    p: StableDiffusionProcessing, tasks: Sequence[RegionTask], params: RefineParams
) -> StableDiffusionProcessingImg2Img:
    index, first = p.batch_index, tasks[0]
    height, width = first.mask.shape
    negative = params.negative_prompt
    inner = StableDiffusionProcessingImg2Img(
        sd_model=p.sd_model,
        outpath_samples=p.outpath_samples,
        outpath_grids=p.outpath_grids,
        prompt=prompt_for(params.prompt, p.prompts[index], first.numbers),
        negative_prompt=prompt_for(negative, p.negative_prompts[index], first.numbers),
        styles=[],
        seed=first.seed,
        subseed=int(p.subseeds[index]) + first.seed - int(p.seeds[index]),
        sampler_name=_find_sampler(params.sampler) or p.sampler_name,
        **_scheduler(p, params),
        steps=params.steps or p.steps,
        cfg_scale=params.cfg_scale or p.cfg_scale,
        width=width,
        height=height,
        batch_size=len(tasks),
        n_iter=1,
        restore_faces=False,
        do_not_save_samples=True,
        do_not_save_grid=True,
        do_not_reload_embeddings=True,
        init_images=[PillowImage.fromarray(task.start) for task in tasks],
        mask=PillowImage.fromarray(first.mask.astype(np.uint8) * 255),
        mask_blur=0,
        inpainting_fill=1,
        inpaint_full_res=False,
        resize_mode=0,
        denoising_strength=params.denoising_strength,
    )
    for name in COPIED:
        if hasattr(p, name):
            setattr(inner, name, getattr(p, name))
    inner.cached_c, inner.cached_uc = [None] * 3, [None] * 3
    inner.color_corrections = []
    for flag in (INNER, "_ad_disabled", "_ad_inner"):
        setattr(inner, flag, True)
    return inner


def _scheduler(p: StableDiffusionProcessing, params: RefineParams) -> dict[str, Any]:
    """Return the scheduler as a keyword; none for a WebUI whose runs have no such field."""
    return {"scheduler": params.scheduler or p.scheduler} if hasattr(p, "scheduler") else {}


def _find_sampler(name: str) -> str | None:
    if not name:
        return None
    known = {sampler.name.lower(): sampler.name for sampler in sd_samplers.all_samplers}
    if name.lower() not in known:
        raise RegionFailed(
            f"The sampler {name} does not exist; choose {', '.join(known.values())}."
        )
    return known[name.lower()]


def _give_runner(
    inner: StableDiffusionProcessing,
    p: StableDiffusionProcessing,
    script: Any,
    unit: object,
) -> None:
    """Give the run ControlNet and the probe alone: other scripts would do their work twice."""
    runner: Any = copy.copy(p.scripts)
    runner.scripts = runner.alwayson_scripts = [script, Probe(script)]
    runner.selectable_scripts = []
    # Shared with the outer runner and keyed by length, it would name the wrong scripts.
    runner.callback_map = {}
    first, last = script.args_from, script.args_to
    args = list(p.script_args)
    args[first:last] = [unit] + [{"enabled": False}] * (last - first - 1)
    # The built-in scripts' setup would overwrite seed and sampler with the panel's.
    inner.scripts_setup_complete = True
    inner.scripts = runner
    inner.script_args = args


def _remember_faults(script: Any, faults: list[Exception]) -> Any:
    """Wrap ControlNet's `process`, whose exceptions the host would only print."""
    process = script.process

    def remembering(p: StableDiffusionProcessing, *args: object, **kwargs: object) -> None:
        try:
            process(p, *args, **kwargs)
        except Exception as fault:
            logger.warning("ControlNet failed: %s", fault)
            faults.append(fault)
            raise

    return remembering


def _end_on_fault(script: Any, faults: list[Exception]) -> Any:
    """Wrap what ControlNet does just before sampling: the host would go on without it."""
    method = getattr(script, SAMPLING)

    def ending(*args: object, **kwargs: object) -> None:
        try:
            method(*args, **kwargs)
        except Exception as fault:
            logger.warning("ControlNet failed: %s", fault)
            faults.append(fault)
            raise ControlMissing from fault

    return ending


def _raise_if_stopped() -> None:
    state = shared.state
    if state.interrupted or state.skipped or state.stopping_generation:
        raise Stopped("The generation was interrupted or skipped before this hand was repainted.")


def _take_pictures(
    processed: processing.Processed, tasks: Sequence[RegionTask]
) -> tuple[Image, ...]:
    # ControlNet's own pictures follow after the results.
    images = (getattr(processed, "images", None) or [])[: len(tasks)]
    if len(images) < len(tasks):
        raise RegionFailed("The second pass gave no picture.")
    return tuple(_check(np.asarray(image.convert("RGB")), tasks[0]) for image in images)


def _check(picture: Image, task: RegionTask) -> Image:
    if picture.shape != task.image.shape:
        raise RegionFailed(f"The second pass gave a picture of {picture.shape} pixels.")
    inside = picture[task.mask]
    if inside.max() == inside.min():
        raise RegionFailed("The second pass gave one flat colour; the model's numbers broke down.")
    return picture


def _as_rgb(control: Image) -> Image:
    return np.repeat(control[..., None], 3, axis=2)
