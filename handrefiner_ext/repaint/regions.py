"""Repainting region by region: what every diffusion backend needs around its model.

Hands whose masks overlap are one region. Each is cropped with context, enlarged to the resolution
at which the model paints best, given depth and mask rendered at that resolution, painted, scaled
back and laid over the picture with a feather. Pixels outside the mask stay bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from handrefiner_ext.geometry.regions import choose_crop, group_overlapping, lay_over
from handrefiner_ext.inpaint.draft import DraftInpainter
from handrefiner_ext.params import DRAFT, PAPER, SEEDS, RefineParams
from handrefiner_ext.protocols import Renderer
from handrefiner_ext.registry import RENDERERS
from handrefiner_ext.render.maps import render_region
from handrefiner_ext.render.masks import unite
from handrefiner_ext.report import number_meshes
from handrefiner_ext.types import ControlMaps, HandMesh, Image, Mask, ModelHome

PICTURE, SEPARATOR = "[PROMPT]", "[SEP]"


def prompt_for(template: str, picture_prompt: str, numbers: Sequence[int]) -> str:
    """The prompt for the hands `numbers` (as users count them, from 1), which share a region.

    Each hand has its part of the template; where there are fewer parts, the last goes on. An empty
    part is the picture's own prompt.
    """
    parts = [part.strip() for part in template.split(SEPARATOR)]
    chosen = [parts[min(number, len(parts)) - 1] or PICTURE for number in numbers]
    return ", ".join(dict.fromkeys(chosen)).replace(PICTURE, picture_prompt)


if TYPE_CHECKING:
    from handrefiner_ext.inpaint.diffusion.painter import DiffusersPainter


@dataclass(frozen=True)
class RegionTask:
    """One region at the model's resolution.

    image: (h, w, 3). control: (h, w) uint8, near is bright. mask: (h, w) bool, what may change.
    draft: (h, w, 3), the image with a draft of the new hand, None where there is none.
    """

    image: Image
    control: Image
    mask: Mask
    seed: int
    draft: Image | None = None

    @property
    def start(self) -> Image:
        """(h, w, 3): what denoising starts from."""
        return self.image if self.draft is None else self.draft


@dataclass(frozen=True)
class _Whole:
    """The picture as it stands, its draft, and all of its hands."""

    image: Image
    draft: Image | None
    meshes: tuple[HandMesh, ...]
    maps: ControlMaps


class RegionPainter(Protocol):
    """A model that paints one region; `native_side` is the long side it paints best, pixels."""

    name: str

    def native_side(self, params: RefineParams) -> int: ...

    def paint_region(self, task: RegionTask, params: RefineParams) -> Image:
        """(h, w, 3); outside the mask it may differ, that is not used."""
        ...


class RegionwiseInpainter:
    """An inpainting backend made of a painter of regions."""

    def __init__(
        self,
        painter: RegionPainter,
        build_renderer: Callable[..., Renderer] = RENDERERS.build,
    ) -> None:
        self.painter = painter
        self.name = painter.name
        self.build_renderer = build_renderer

    def paint(
        self, image: Image, meshes: tuple[HandMesh, ...], maps: ControlMaps, params: RefineParams
    ) -> Image:
        draft = self._draw_draft(image, meshes, maps, params)
        for count, numbers in enumerate(group_overlapping(maps.hand_masks)):
            seed = (params.seed + count * params.seed_step) % SEEDS
            whole = _Whole(image, draft, meshes, maps)
            image = self._paint_one(whole, replace(params, seed=seed), numbers)
        return image

    def _draw_draft(
        self, image: Image, meshes: tuple[HandMesh, ...], maps: ControlMaps, params: RefineParams
    ) -> Image | None:
        if params.start != DRAFT:
            return None
        return DraftInpainter().paint(image, meshes, maps, params)

    def _paint_one(self, whole: _Whole, params: RefineParams, numbers: tuple[int, ...]) -> Image:
        image, meshes, maps = whole.image, whole.meshes, whole.maps
        box, inside = unite([maps.hand_masks[number] for number in numbers])
        height, width = image.shape[:2]
        mask = np.zeros((height, width), dtype=bool)
        mask[box.slices] = inside
        side = params.region_size or self.painter.native_side(params)
        crop = choose_crop(box, (height, width), side)
        renderer = self.build_renderer(params.renderer)
        seen = render_region(crop, image, [meshes[n] for n in numbers], mask, renderer, params)
        allowed = seen.mask | crop.take_mask(mask)
        draft = None if whole.draft is None else crop.take(whole.draft)
        task = RegionTask(crop.take(image), seen.control, allowed, params.seed, draft)
        local = _with_prompts(params, [number_meshes(meshes)[n] for n in numbers])
        painted = crop.give_back(self.painter.paint_region(task, local))
        return lay_over(image, painted, crop.box, mask, params.mask_blur)


def _with_prompts(params: RefineParams, numbers: Sequence[int]) -> RefineParams:
    """With the prompts of these hands; no picture's prompt is known here."""
    return replace(
        params,
        prompt=prompt_for(params.prompt, "", numbers),
        negative_prompt=prompt_for(params.negative_prompt, "", numbers),
    )


class DiffusersInpainter(RegionwiseInpainter):
    """The backend `diffusers`: region by region, or the whole picture as the paper did."""

    painter: DiffusersPainter

    def prepare(self, params: RefineParams) -> None:
        """Load the models; raises what is wrong with them or with `params`."""
        self.painter.prepare(params)

    def advise(self, params: RefineParams) -> tuple[str, ...]:
        """What is worth knowing about `params` and the models."""
        return self.painter.advise(params)

    def paint(
        self, image: Image, meshes: tuple[HandMesh, ...], maps: ControlMaps, params: RefineParams
    ) -> Image:
        if params.sampling != PAPER:
            return super().paint(image, meshes, maps, params)
        task = RegionTask(image, maps.control, maps.mask, params.seed)
        return self.painter.paint_as_paper(task, _with_prompts(params, number_meshes(meshes)))


def build_diffusers(home: ModelHome | None = None) -> DiffusersInpainter:
    """The backend `diffusers`."""
    from handrefiner_ext.inpaint.diffusion.painter import DiffusersPainter

    return DiffusersInpainter(DiffusersPainter(home))
