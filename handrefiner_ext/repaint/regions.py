"""Repaint region by region, as every diffusion backend does around its model.

Hands whose masks overlap are one region. Each is cropped with context, enlarged to the resolution
at which the model paints best, given depth and mask rendered at that resolution, painted, scaled
back and blended into the picture. Pixels outside the mask stay bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.geometry.boxes import choose_region_crop, group_overlapping, lay_over
from handrefiner_ext.inpaint.draft import DraftInpainter
from handrefiner_ext.params import DRAFT, PAPER, SEEDS, RefineParams
from handrefiner_ext.protocols import CandidatePainter, PaintRequest, Renderer
from handrefiner_ext.registry import RENDERERS
from handrefiner_ext.render.maps import render_region
from handrefiner_ext.render.masks import unite
from handrefiner_ext.report import number_meshes
from handrefiner_ext.types import (
    Image,
    Mask,
    ModelHome,
    Painting,
    RegionReport,
)

if TYPE_CHECKING:
    from handrefiner_ext.inpaint.diffusion.painter import DiffusersPainter

PICTURE, SEPARATOR = "[PROMPT]", "[SEP]"
OUTSIDE = "It lies outside the mask of the inpainting."


class RegionFailed(HandRefinerError):
    """A region could not be repainted, and the message says why; the other regions still can."""


class Stopped(RegionFailed):
    """The user interrupted or skipped: no further region is tried."""


@dataclass(frozen=True)
class RegionTask:
    """One candidate of one region, at the model's resolution.

    image: (h, w, 3). control: (h, w) uint8, near is bright. mask: (h, w) bool, what may change.
    draft: (h, w, 3), the image with a draft of the new hand, None where there is none. numbers: the
    region's hands as users count them, from 1.
    """

    image: Image
    control: Image
    mask: Mask
    seed: int
    draft: Image | None = None
    numbers: tuple[int, ...] = ()

    @property
    def start(self) -> Image:
        """(h, w, 3): what denoising starts from."""
        return self.image if self.draft is None else self.draft


class RegionBatchPainter(Protocol):
    """A model that paints the candidates of one region together."""

    def native_side(self, params: RefineParams) -> int:
        """Return the long side that the model paints best, pixels."""
        ...

    def paint_region(self, tasks: Sequence[RegionTask], params: RefineParams) -> Sequence[Image]:
        """Return one (h, w, 3) for each task; changes outside its mask are dropped.

        tasks: candidates of the same region, which differ only in image, draft and seed.
        """
        ...

    def work_on(self, place: int, total: int) -> AbstractContextManager[None]:
        """Return the context in which region `place` (from 0) of `total` is painted.

        RegionFailed raised inside fails this region alone, any other error the whole picture.
        """
        ...


@dataclass(frozen=True)
class RegionPlan:
    """The regions of a picture, and everything that painting them needs besides the model.

    seed: of the first candidate's first region. draft: (H, W, 3), the picture with drafts of the
    new hands, None where painting starts from the picture itself. allowed: (H, W), where the user
    lets hands change; None = everywhere.
    """

    request: PaintRequest
    renderer: Renderer
    seed: int
    draft: Image | None = None
    allowed: Mask | None = None

    @cached_property
    def regions(self) -> list[tuple[int, ...]]:
        """The hands that share each region, by the numbers of their meshes."""
        masks = self.request.maps.hand_masks
        numbers = [n for n, (_, mask) in enumerate(masks) if mask.any() and self._is_allowed(n)]
        groups = group_overlapping([masks[n] for n in numbers])
        return [tuple(numbers[i] for i in group) for group in groups]

    @property
    def outside(self) -> list[RegionReport]:
        """A report on each hand that lies outside the user's own mask."""
        masks = self.request.maps.hand_masks
        numbers = [n for n, (_, mask) in enumerate(masks) if mask.any()]
        return [RegionReport((n,), OUTSIDE) for n in numbers if not self._is_allowed(n)]

    def _is_allowed(self, number: int) -> bool:
        """Whether a pixel of the mesh itself may change; one of its padding is not enough."""
        if self.allowed is None:
            return True
        layer = self.request.maps.layers[number]
        return bool((np.isfinite(layer.depth) & self.allowed[layer.box.slices]).any())


def paint_regions(plan: RegionPlan, painter: RegionBatchPainter, count: int = 1) -> Painting:
    """Return `count` candidates of the picture with every region that could be repainted.

    The reports say of each other region why it could not be.
    """
    images = (plan.request.image,) * count
    reports = list(plan.outside)
    stopped: str | None = None
    for place, numbers in enumerate(plan.regions):
        problem = stopped
        if stopped is None:
            try:
                with painter.work_on(place, len(plan.regions)):
                    images = _paint_one(images, plan, painter, place, numbers)
            except RegionFailed as failure:
                problem = str(failure)
                stopped = problem if isinstance(failure, Stopped) else None
        reports.append(RegionReport(numbers, problem))
    return Painting(images, tuple(reports))


def _paint_one(
    images: tuple[Image, ...],
    plan: RegionPlan,
    painter: RegionBatchPainter,
    place: int,
    numbers: tuple[int, ...],
) -> tuple[Image, ...]:
    """Paint region `place`, which holds the hands `numbers`, in every candidate."""
    params, every_mesh = plan.request.params, plan.request.meshes
    box, inside = unite([plan.request.maps.hand_masks[number] for number in numbers])
    height, width = images[0].shape[:2]
    mask = np.zeros((height, width), dtype=bool)
    mask[box.slices] = inside
    if plan.allowed is not None:
        mask &= plan.allowed
    side = params.region_size or painter.native_side(params)
    crop = choose_region_crop(box, (height, width), side)
    meshes = [every_mesh[number] for number in numbers]
    seen = render_region(crop, images[0], meshes, mask, plan.renderer, params)
    counted = number_meshes(every_mesh)
    first = RegionTask(
        crop.take(images[0]),
        seen.control,
        seen.mask | crop.take_mask(mask),
        plan.seed + place * params.seed_step,
        None if plan.draft is None else crop.take(plan.draft),
        tuple(counted[number] for number in numbers),
    )
    tasks = [
        replace(first, image=crop.take(image), seed=first.seed + candidate)
        for candidate, image in enumerate(images)
    ]
    painted = map(crop.give_back, painter.paint_region(tasks, params))
    return tuple(
        lay_over(image, part, crop.box, mask, params.mask_blur)
        for image, part in zip(images, painted, strict=True)
    )


def prompt_for(template: str, picture_prompt: str, numbers: Sequence[int]) -> str:
    """Return the prompt for the hands of one region.

    Each hand has its own part of the template; if there are fewer parts than hands, the last part
    serves the rest. An empty part means the picture's own prompt.

    Arguments:
        numbers: the hands as users count them, from 1.
    """
    parts = [part.strip() for part in template.split(SEPARATOR)]
    chosen = [parts[min(number, len(parts)) - 1] or PICTURE for number in numbers]
    return ", ".join(dict.fromkeys(chosen)).replace(PICTURE, picture_prompt)


def _with_prompts(params: RefineParams, numbers: Sequence[int]) -> RefineParams:
    """Return `params` with the prompts of these hands; a picture's own prompt is unknown here."""
    return replace(
        params,
        prompt=prompt_for(params.prompt, "", numbers),
        negative_prompt=prompt_for(params.negative_prompt, "", numbers),
    )


class RegionPainter(Protocol):
    """A model that paints one region once; `native_side` is the long side that suits it, pixels."""

    name: str

    def native_side(self, params: RefineParams) -> int: ...

    def paint_region(self, task: RegionTask, params: RefineParams) -> Image:
        """Return (h, w, 3); changes outside the mask are dropped."""
        ...


@dataclass(frozen=True)
class _OneByOne:
    """Paints one candidate after the other, each hand with its part of the prompts."""

    painter: RegionPainter

    def native_side(self, params: RefineParams) -> int:
        return self.painter.native_side(params)

    def paint_region(self, tasks: Sequence[RegionTask], params: RefineParams) -> list[Image]:
        return [
            self.painter.paint_region(
                replace(task, seed=task.seed % SEEDS), _with_prompts(params, task.numbers)
            )
            for task in tasks
        ]

    def work_on(self, place: int, total: int) -> AbstractContextManager[None]:
        return nullcontext()


class RegionwiseInpainter(CandidatePainter):
    """An inpainting backend made of a painter of regions."""

    def __init__(
        self,
        painter: RegionPainter,
        build_renderer: Callable[..., Renderer] = RENDERERS.build,
    ) -> None:
        self.painter = painter
        self.name = painter.name
        self.build_renderer = build_renderer

    def paint_candidates(self, request: PaintRequest, count: int) -> Painting:
        paintings = [self._paint_once(request.with_seed_after(steps)) for steps in range(count)]
        return replace(paintings[0], pictures=tuple(p.pictures[0] for p in paintings))

    def _paint_once(self, request: PaintRequest) -> Painting:
        params = request.params
        draft = DraftInpainter().paint(request) if params.start == DRAFT else None
        renderer = self.build_renderer(params.renderer)
        plan = RegionPlan(request, renderer, params.seed, draft)
        return paint_regions(plan, _OneByOne(self.painter))


class DiffusersInpainter(RegionwiseInpainter):
    """The backend `diffusers`: region by region, or the whole picture as the paper did."""

    painter: DiffusersPainter

    def prepare(self, params: RefineParams) -> None:
        """Load the models, or raise what is wrong with them or with `params`."""
        self.painter.prepare(params)

    def advise(self, params: RefineParams) -> tuple[str, ...]:
        """Return sentences for the user about `params` and the models."""
        return self.painter.advise(params)

    def _paint_once(self, request: PaintRequest) -> Painting:
        params, maps = request.params, request.maps
        if params.sampling != PAPER:
            return super()._paint_once(request)
        task = RegionTask(request.image, maps.control, maps.mask, params.seed)
        prompted = _with_prompts(params, number_meshes(request.meshes))
        return Painting((self.painter.paint_as_paper(task, prompted),))


def build_diffusers(home: ModelHome | None = None) -> DiffusersInpainter:
    """Build the backend `diffusers`."""
    from handrefiner_ext.inpaint.diffusion.painter import DiffusersPainter

    return DiffusersInpainter(DiffusersPainter(home))
