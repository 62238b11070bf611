"""The inpainting backend inside the WebUI: each region is a nested img2img run under ControlNet."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from modules import devices

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.geometry.regions import choose_crop, group_overlapping, lay_over
from handrefiner_ext.host import checkpoint, controlnet
from handrefiner_ext.host.nested import Pass, PassFailed, Stopped, run_pass
from handrefiner_ext.host.reports import RegionReport
from handrefiner_ext.host.state import counted_job, undisturbed
from handrefiner_ext.inpaint.control_models import NATIVE_SIDE
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import CandidatePainter, Renderer
from handrefiner_ext.render.maps import render_region
from handrefiner_ext.render.masks import unite
from handrefiner_ext.report import number_meshes
from handrefiner_ext.types import Box, ControlMaps, HandMesh, Image, Mask

logger = logging.getLogger(__name__)

OUTSIDE = "It lies outside the mask of the inpainting."


class WebuiInpainter(CandidatePainter):
    """Paints one picture of the run `p`; `reports` and `model` say what happened.

    allowed: (H, W), where the user's own inpaint mask lets hands change; None = everywhere.
    """

    name = "webui"

    def __init__(self, p: Any, renderer: Renderer, allowed: Mask | None = None) -> None:
        self.p = p
        self.renderer = renderer
        self.allowed = allowed
        self.reports: list[RegionReport] = []
        self.model: str | None = None
        self.reason: str | None = None

    def paint_candidates(
        self,
        image: Image,
        meshes: tuple[HandMesh, ...],
        maps: ControlMaps,
        params: RefineParams,
        count: int,
    ) -> tuple[Image, ...]:
        """`count` pictures with every region that could be repainted; PassFailed where none can.

        Each region's are one batch of the WebUI, where memory allows.
        """
        self.reports = []  # of the last time, where a search paints several times
        numbers = [n for n in range(len(meshes)) if self._may_change(n, maps)]
        groups = group_overlapping([maps.hand_masks[n] for n in numbers])
        regions = [tuple(numbers[i] for i in group) for group in groups]
        if not regions:
            return (image,)
        if controlnet.find_script(self.p.scripts) is None:
            raise PassFailed(controlnet.MISSING)
        with undisturbed(self.p, checkpoint.restore), checkpoint.chosen(params):
            self.model = self._choose_model(params)
            return self._paint_regions((image,) * count, meshes, maps, params, regions)

    def _may_change(self, number: int, maps: ControlMaps) -> bool:
        if not maps.hand_masks[number][1].any():
            return False  # it is to be left alone
        if self.allowed is None:
            return True
        layer = maps.layers[number]
        if (np.isfinite(layer.depth) & self.allowed[layer.box.slices]).any():
            return True
        self.reports.append(RegionReport((number,), OUTSIDE))
        return False

    def _choose_model(self, params: RefineParams) -> str:
        family = controlnet.checkpoint_family()
        choice = controlnet.choose_model(controlnet.list_models(), family, params.control_model)
        if choice.name is None:
            names = controlnet.refresh_models()
            choice = controlnet.choose_model(names, family, params.control_model)
        if choice.name is None:
            raise PassFailed(choice.reason)
        return choice.name

    def _paint_regions(
        self,
        images: tuple[Image, ...],
        meshes: tuple[HandMesh, ...],
        maps: ControlMaps,
        params: RefineParams,
        regions: list[tuple[int, ...]],
    ) -> tuple[Image, ...]:
        stopped: str | None = None
        for count, numbers in enumerate(regions):
            problem = stopped
            if stopped is None:
                try:
                    with counted_job(count + 1, len(regions)):
                        region = count, numbers
                        images = self._paint_region(images, meshes, maps, params, region)
                except Stopped as reason:
                    problem = stopped = str(reason)
                except HandRefinerError as reason:
                    problem = str(reason)
                except Exception as fault:  # one region's failure costs no other its hands
                    logger.exception("A region could not be repainted.")
                    problem = explain(fault)
                    devices.torch_gc()
            self.reports.append(RegionReport(numbers, problem))
        return images

    def _paint_region(
        self,
        images: tuple[Image, ...],
        meshes: tuple[HandMesh, ...],
        maps: ControlMaps,
        params: RefineParams,
        region: tuple[int, tuple[int, ...]],
    ) -> tuple[Image, ...]:
        count, numbers = region
        mask = self._mask_of(numbers, maps, images[0].shape[:2])
        crop = choose_crop(_box_of(numbers, maps), mask.shape, native_side(params))
        seen = render_region(
            crop, images[0], [meshes[n] for n in numbers], mask, self.renderer, params
        )
        assert self.model is not None
        work = Pass(
            tuple(crop.take(image) for image in images),
            seen.control,
            seen.mask | crop.take_mask(mask),
            tuple(number_meshes(meshes)[n] for n in numbers),
            count * params.seed_step,
            self.model,
        )
        painted = [crop.give_back(candidate) for candidate in self._run(work, params)]
        return tuple(
            lay_over(image, candidate, crop.box, mask, params.mask_blur)
            for image, candidate in zip(images, painted, strict=True)
        )

    def _run(self, work: Pass, params: RefineParams) -> tuple[Image, ...]:
        """The candidates as one batch; one after the other where there is too little memory."""
        try:
            return run_pass(self.p, work, params)
        except Exception as fault:
            if len(work.images) == 1 or not is_out_of_memory(fault):
                raise
            logger.warning("Too little memory for %d candidates at once.", len(work.images))
        devices.torch_gc()
        return tuple(run_pass(self.p, single, params)[0] for single in work.alone())

    def _mask_of(self, numbers: tuple[int, ...], maps: ControlMaps, size: tuple[int, int]) -> Mask:
        """(H, W): what may change because of these hands."""
        mask = np.zeros(size, dtype=bool)
        for number in numbers:
            box, inside = maps.hand_masks[number]
            mask[box.slices] |= inside
        return mask if self.allowed is None else mask & self.allowed


def native_side(params: RefineParams) -> int:
    """Long side of a region, pixels: what was asked for, or what the checkpoint paints best."""
    return params.region_size or NATIVE_SIDE[controlnet.checkpoint_family()]


def is_out_of_memory(fault: BaseException) -> bool:
    return "out of memory" in str(fault).lower() or isinstance(fault, MemoryError)


def explain(fault: BaseException) -> str:
    """An exception of the host as a sentence."""
    text = " ".join(str(fault).split()) or "no further words"
    if is_out_of_memory(fault):
        return "There was not enough memory; choose a smaller region size or close other programs."
    kind = type(fault).__name__
    return f"It failed with {kind}: {text[:300]}"


def _box_of(numbers: tuple[int, ...], maps: ControlMaps) -> Box:
    return unite([maps.hand_masks[n] for n in numbers])[0]
