"""The inpainting backend inside the WebUI: each region is a nested img2img run under ControlNet."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from modules import devices
from modules.processing import StableDiffusionProcessing

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.host import checkpoint, controlnet
from handrefiner_ext.host.nested import run_pass
from handrefiner_ext.host.state import counted_job, undisturbed
from handrefiner_ext.inpaint.control_models import NATIVE_SIDE
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import CandidatePainter, PaintRequest, Renderer
from handrefiner_ext.repaint.regions import RegionFailed, RegionPlan, RegionTask, paint_regions
from handrefiner_ext.types import (
    Image,
    Mask,
    Painting,
)

logger = logging.getLogger(__name__)


class WebuiInpainter(CandidatePainter):
    """Paints the picture in work of the run `p`.

    allowed: (H, W), where the user's own inpaint mask lets hands change; None = everywhere.
    """

    name = "webui"

    def __init__(
        self, p: StableDiffusionProcessing, renderer: Renderer, allowed: Mask | None = None
    ) -> None:
        self.p = p
        self.renderer = renderer
        self.allowed = allowed

    def paint_candidates(self, request: PaintRequest, count: int) -> Painting:
        """Return `count` pictures with every region that could be repainted.

        The candidates of a region are one batch of the WebUI, where memory allows. RegionFailed
        where none can be painted at all.
        """
        seed = int(self.p.seeds[self.p.batch_index])
        plan = RegionPlan(request, self.renderer, seed, allowed=self.allowed)
        if not plan.regions:
            return Painting((request.image,), tuple(plan.outside))
        if controlnet.find_script(self.p.scripts) is None:
            raise RegionFailed(controlnet.missing())
        with undisturbed(self.p, checkpoint.restore), checkpoint.chosen(request.params):
            model = _choose_model(request.params)
            painting = paint_regions(plan, _Batches(self.p, model), count)
        return replace(painting, control_model=model)


@dataclass(frozen=True)
class _Batches:
    """Paints the candidates of a region as one batch, as the run `p` would paint them."""

    p: StableDiffusionProcessing
    model: str

    def native_side(self, params: RefineParams) -> int:
        return NATIVE_SIDE[controlnet.checkpoint_family()]

    def paint_region(self, tasks: Sequence[RegionTask], params: RefineParams) -> tuple[Image, ...]:
        """Paint all at once or, where memory does not allow that, one after the other."""
        try:
            return run_pass(self.p, tasks, self.model, params)
        except Exception as fault:
            if len(tasks) == 1 or not is_out_of_memory(fault):
                raise
            logger.warning("Too little memory for %d candidates at once.", len(tasks))
        # Outside the handler: its traceback would keep the batch's tensors alive.
        devices.torch_gc()
        return tuple(run_pass(self.p, [task], self.model, params)[0] for task in tasks)

    @contextmanager
    def work_on(self, place: int, total: int) -> Iterator[None]:
        """Count the region as a job of the WebUI; whatever fails costs this region alone."""
        try:
            with counted_job(place + 1, total):
                yield
        except RegionFailed:
            raise
        except HandRefinerError as reason:
            raise RegionFailed(str(reason)) from reason
        except Exception as fault:
            logger.exception("A region could not be repainted.")
            devices.torch_gc()
            raise RegionFailed(explain(fault)) from fault


def _choose_model(params: RefineParams) -> str:
    """Return the control model for the loaded checkpoint; RegionFailed where there is none."""
    family = controlnet.checkpoint_family()
    choice = controlnet.choose_model(controlnet.list_models(), family, params.control_model)
    if choice.name is None:
        # A file may have been added since ControlNet last looked.
        names = controlnet.refresh_models()
        choice = controlnet.choose_model(names, family, params.control_model)
    if choice.name is None:
        raise RegionFailed(choice.reason)
    return choice.name


def is_out_of_memory(fault: BaseException) -> bool:
    """Return whether memory ran out; torch has several classes for this error."""
    return "out of memory" in str(fault).lower() or isinstance(fault, MemoryError)


def explain(fault: BaseException) -> str:
    """Describe an exception of the host in a sentence."""
    text = " ".join(str(fault).split()) or "no further words"
    if is_out_of_memory(fault):
        return "There was not enough memory; choose a smaller region size or close other programs."
    kind = type(fault).__name__
    return f"It failed with {kind}: {text[:300]}"
