"""Whether the method itself works: does the hand that is painted follow the depth?

    python benchmarks/method.py --model D [--count N] [--seed S] [--steps N] [--cfg V]
                                [--sampler NAME] [--size N] [--json F] [--images DIR]

D is the folder of `handrefiner train small`. Scenes come from `handrefiner dataset`, of a seed
that no training used: each is drawn twice, malformed and well formed. The malformed one is given to
the painter of the backend diffusers, with the depth of the well-formed hand, a box around the hand
as the mask (which does not betray its outline) and denoising 1.0, so that nothing of the old hand
remains. The painter sees the crop that `refine` would take around the mask. Where the new hand is,
its colours say: inside the box they are told from those of the background by two normal
distributions in CIELAB.

- iou: intersection over union of that silhouette with the mesh (median), for every strength. The
  distributions are fitted to the painted picture itself, to what the mesh covers and to the rest of
  the box, so a hand of any colour counts. Where nothing follows the mesh there are still two parts
  of a picture that differ a little: strength 0 shows how much that gives.
- iou_true_colour: the same with the distributions of the well-formed picture: the hand must have
  the colours of its prompt as well.
- share_better_than_without_depth, mean_gain: of iou, from strength 0 to 1.
- iou_truth, iou_vae: for the well-formed picture, and for it encoded and decoded: no painter can do
  better.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from report import make_parser, positive, print_table, use_utf8, write_json

from handrefiner_ext.dataset import Options, iterate
from handrefiner_ext.dataset.records import Sample
from handrefiner_ext.geometry.boxes import (
    bounding_box,
    choose_region_crop,
    clip,
    grow,
    resize_grey,
)
from handrefiner_ext.inpaint.diffusion.loading import Loader
from handrefiner_ext.inpaint.diffusion.painter import SAMPLERS, DiffusersPainter
from handrefiner_ext.params import RefineParams
from handrefiner_ext.repaint.regions import RegionTask
from handrefiner_ext.types import Image, Mask

STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
STYLES = ("photo", "render", "painting", "toon", "flat")
"""Line drawings have no colours of their own inside the hand."""
DRAWN = 256
"""Pixels of the pictures that are rendered; from these the crops are taken."""
PADDING = 0.2
LEAST_VISIBLE, LEAST_SHARE = 0.8, 0.03
"""Of a hand that counts: what nothing hides of it, and its share of the picture."""
SURE = 0.75
"""A scene counts if the colours of the well-formed picture itself give at least this IoU."""


@dataclass(frozen=True)
class Scene:
    """bad, good: (s, s, 3). control: (s, s). hand: where the mesh is. mask: the box around it."""

    bad: Image
    good: Image
    control: Image
    hand: Mask
    mask: Mask
    prompt: str


def make_scenes(seed: int, count: int, side: int) -> Iterator[Scene]:
    """Yield scenes with one hand whose colours tell it from its background."""
    options = Options(size=DRAWN, twins=True, styles=STYLES)
    found, first = 0, 0
    while found < count:
        good, bad = iterate(seed, 1, options, first)
        first += 1
        scene = _make_scene(good, bad, side)
        if scene is not None:
            found += 1
            yield scene


def _make_scene(good: Sample, bad: Sample, side: int) -> Scene | None:
    if len(good.hands) != 1 or good.hands[0].visible < LEAST_VISIBLE:
        return None
    there = good.maps.control > 0
    if there.mean() < LEAST_SHARE:
        return None
    rows, columns = np.nonzero(there)
    box = bounding_box(np.column_stack([columns, rows]))
    pad = round(PADDING * max(box.width, box.height))
    mask = np.zeros(there.shape, dtype=bool)
    mask[clip(grow(box, pad, pad), *mask.shape).slices] = True
    crop = choose_region_crop(clip(grow(box, pad, pad), *mask.shape), mask.shape, side)
    whole, malformed = crop.take(good.image), crop.take(bad.image)
    control = resize_grey(good.maps.control[crop.box.slices], crop.width, crop.height)
    hand, mask = control > 0, crop.take_mask(mask)
    scene = Scene(malformed, whole, control, hand, mask, good.prompt)
    sure = find_iou(scene, scene.good)
    return scene if sure >= SURE else None


def find_silhouette(scene: Scene, picture: Image, colours: Image) -> Mask:
    """Return where, inside the mask, a picture has rather the hand's colours.

    They are learnt from `colours`, from what the mesh covers and from the rest of the mask.
    """
    lab, known = (
        cv2.cvtColor(each.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
        for each in (picture, colours)
    )
    inside = _likelihood(lab, known[scene.hand & scene.mask])
    outside = _likelihood(lab, known[~scene.hand & scene.mask])
    return np.asarray((inside > outside) & scene.mask)


def _likelihood(lab: NDArray[np.float32], sample: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logarithm of the density of the normal distribution of a sample, at every pixel."""
    mean, spread = sample.mean(axis=0), np.cov(sample.T) + 4.0 * np.eye(3)
    away = lab - mean
    squared = np.einsum("...i,ij,...j->...", away, np.linalg.inv(spread), away)
    return np.asarray(-0.5 * squared - 0.5 * np.log(np.linalg.det(spread)))


def find_iou(scene: Scene, picture: Image, colours: Image | None = None) -> float:
    """Return the intersection over union of the hand by its colours and by its mesh.

    colours: the picture whose colours are taken for the hand's; None = those it is painted with.
    """
    found = find_silhouette(scene, picture, picture if colours is None else colours)
    mesh = scene.hand & scene.mask
    return float((found & mesh).sum() / max((found | mesh).sum(), 1))


class Painter:
    """The backend diffusers with a small model. folder: of `handrefiner train small`."""

    def __init__(self, folder: Path, steps: int = 20, cfg: float = 2.0, sampler: str = "") -> None:
        self.painter = DiffusersPainter(loader=Loader("cpu"))
        self.params = RefineParams(
            backend="diffusers",
            checkpoint=str(folder / "checkpoint"),
            control_model=str(folder / "controlnet"),
            denoising_strength=1.0,
            steps=steps,
            cfg_scale=cfg,
            sampler=sampler,
        )
        self.pipeline = self.painter.load(self.params).pipeline
        self.side = int(self.pipeline.vae.config.sample_size)

    def paint(self, scene: Scene, strength: float, seed: int, **values: Any) -> Image:
        params = replace(self.params, strength=strength, prompt=scene.prompt, **values)
        return self.painter.paint_region(
            RegionTask(scene.bad, scene.control, scene.mask, seed), params
        )

    def pass_through(self, picture: Image) -> Image:
        """Encode and decode."""
        import torch

        pixels = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        with torch.no_grad():
            latents = self.pipeline.vae.encode(pixels).latent_dist.mode()
            said = self.pipeline.vae.decode(latents).sample[0].permute(1, 2, 0).numpy()
        return np.asarray(np.clip(np.rint(said * 127.5 + 127.5), 0, 255), dtype=np.uint8)


def main() -> None:
    use_utf8()
    parser = make_parser(__doc__, 100, "scenes")
    parser.add_argument("--model", type=Path, required=True, metavar="D")
    parser.add_argument("--seed", type=int, default=1007)
    parser.add_argument("--steps", type=positive, default=20)
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--sampler", choices=SAMPLERS, help="DDIM where it is not given")
    parser.add_argument("--size", type=positive, help="pixels of each side (the VAE's)")
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    painter = Painter(options.model, options.steps, options.cfg, options.sampler or "")
    side = options.size or painter.side
    rows: dict[str, list[float]] = {"iou_truth": [], "iou_vae": []}
    times = []
    for number, scene in enumerate(make_scenes(options.seed, options.count, side)):
        decoded = painter.pass_through(scene.good)
        rows["iou_truth"].append(find_iou(scene, scene.good))
        rows["iou_vae"].append(find_iou(scene, decoded))
        shown = [scene.bad, np.repeat(scene.control[..., None], 3, axis=2)]
        for strength in STRENGTHS:
            began = time.perf_counter()
            painted = painter.paint(scene, strength, seed=number)
            times.append(time.perf_counter() - began)
            rows.setdefault(f"iou_{strength:g}", []).append(find_iou(scene, painted))
            true = find_iou(scene, painted, scene.good)
            rows.setdefault(f"iou_true_colour_{strength:g}", []).append(true)
            shown.append(painted)
        if options.images:
            options.images.mkdir(parents=True, exist_ok=True)
            page = np.concatenate([*shown, decoded, scene.good], axis=1)
            cv2.imwrite(str(options.images / f"{number:03d}.png"), page[..., ::-1])
    figures = {name: round(float(np.median(values)), 3) for name, values in rows.items()}
    gains = np.subtract(rows["iou_1"], rows["iou_0"])
    figures["share_better_than_without_depth"] = round(float((gains > 0.0).mean()), 3)
    figures["mean_gain"] = round(float(gains.mean()), 3)
    figures["seconds_a_picture"] = round(float(np.median(times)), 2)
    rows_shown = [(name, f"{value:g}") for name, value in figures.items()]
    print_table(f"{options.count} scenes", ("figure", "median"), rows_shown)
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
