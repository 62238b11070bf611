"""From a seed to labelled pictures, one after the other.

Everything about picture `number` follows from (seed, number) and the options, in whatever process
and order it is made. Each purpose draws from random numbers of its own, so that a malformed twin
differs from its well-formed one in nothing but the fault.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from handrefiner_ext.dataset.backgrounds import crop_background, sample_background
from handrefiner_ext.dataset.build import Part, build_parts, join_parts
from handrefiner_ext.dataset.faults import FAULTS, NO_FAULT
from handrefiner_ext.dataset.finish import finish, smear
from handrefiner_ext.dataset.hands import Surface
from handrefiner_ext.dataset.looks import (
    STYLES,
    WORDS,
    Floats,
    Look,
    compose,
    name_skin,
    paint_scene,
    sample_look,
)
from handrefiner_ext.dataset.records import DRAFT, RENDERER, Sample
from handrefiner_ext.dataset.repaint import repaint_with_draft
from handrefiner_ext.dataset.scene import Lens, Scene, describe_hand, sample_scene
from handrefiner_ext.dataset.seeing import Seen, see
from handrefiner_ext.dataset.truth import SKETCH_PX, count_seen, find_truth, make_maps
from handrefiner_ext.errors import PictureError
from handrefiner_ext.pictures.picture import load_picture
from handrefiner_ext.types import FloatArray, Image

logger = logging.getLogger(__name__)

SMEARED = "smeared"
"""A fault of the picture, not of the mesh: fingers run into one another."""
ALL_FAULTS = (*FAULTS, SMEARED)
SCENE, BUILD, LOOK, BACKGROUND, FAULT, FINISH, PAINTER = range(7)
CHANGED = 0.05
"""Part of the hand's seen area that a fault must change: outline, or direction of the surface."""
TURNED = np.cos(np.radians(30.0))
NAMES, TRIES = 4, 3


@dataclass(frozen=True)
class Options:
    """What is made. size: pixels of the square pictures.

    malformed: share of the scenes that are drawn malformed; with `twins` every scene is drawn
    twice, well formed and malformed. drafts: share of the pictures in which our own inpainter
    has painted the hands. backgrounds: pictures to cut backgrounds from, instead of formulas.
    """

    size: int = 512
    malformed: float = 0.0
    twins: bool = False
    drafts: float = 0.0
    styles: tuple[str, ...] = tuple(STYLES)
    faults: tuple[str, ...] = ALL_FAULTS
    backgrounds: tuple[Path, ...] = ()


def iterate(
    seed: int, count: int, options: Options | None = None, first: int = 0
) -> Iterator[Sample]:
    """The samples of the scenes `first` to `first + count - 1`."""
    for number in range(first, first + count):
        yield from make_samples(seed, number, options or Options())


def make_samples(seed: int, number: int, options: Options) -> tuple[Sample, ...]:
    """The picture of one scene; with `twins` the well-formed one and the malformed one."""
    job = _Job(seed, number, options)
    if options.twins:
        return job.make(False, f"{number:06d}_good"), job.make(True, f"{number:06d}_malformed")
    malformed = job.rng(FAULT).uniform() < options.malformed
    return (job.make(malformed, f"{number:06d}"),)


@dataclass(frozen=True)
class _Job:
    seed: int
    number: int
    options: Options

    def rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.number, purpose])

    def make(self, malformed: bool, name: str) -> Sample:
        scene = sample_scene(self.rng(SCENE), self.options.size)
        look = sample_look(self.rng(LOOK), scene, self.options.styles)
        parts = build_parts(scene, {}, self.rng(BUILD), smooth=False)
        sketch = _sketch(scene, parts)
        good = find_truth(scene, sketch, parts)
        surfaces, faults = self._choose_faults(scene, sketch, parts) if malformed else ({}, {})
        image = self._paint(scene, look, surfaces, faults)
        painters = self.rng(PAINTER)
        painted_by = RENDERER
        if painters.uniform() < self.options.drafts and SMEARED not in faults.values():
            image, painted_by = repaint_with_draft(image, good, surfaces, scene, painters), DRAFT
        hands = tuple(
            replace(hand, fault=faults.get(k, NO_FAULT), painted_by=painted_by)
            for k, hand in enumerate(good)
        )
        maps = make_maps(hands, [float(h.joints_3d[0, 2]) for h in hands], scene.size)
        prompt = _write_prompt(scene, look)
        return Sample(
            name,
            self.number,
            image,
            maps,
            hands,
            scene.lens,
            prompt,
            look.style,
            scene.arrangement,
            scene.view,
        )

    def _choose_faults(
        self, scene: Scene, good: Seen, parts: list[Part]
    ) -> tuple[dict[int, Surface], dict[int, str]]:
        """For one hand, or for both, a fault that can be seen."""
        rng = self.rng(FAULT)
        rng.uniform()
        order = rng.permutation(len(scene.hands))
        wanted = order if rng.uniform() < 0.3 else order[:1]
        surfaces: dict[int, Surface] = {}
        faults: dict[int, str] = {}
        for hand in (int(h) for h in wanted):
            least = CHANGED * count_seen(hand, good, parts)
            surface, faults[hand] = self._choose_fault(scene, hand, rng, (good, least))
            if surface is not None:
                surfaces[hand] = surface
        return surfaces, faults

    def _choose_fault(
        self, scene: Scene, hand: int, rng: np.random.Generator, good: tuple[Seen, float]
    ) -> tuple[Surface | None, str]:
        """A fault's surface and name. good: the well-formed scene, and how many samples of it a
        fault must change at least.

        The name is drawn first and tried several times, so that subtle faults are not rare.
        """
        meshes = [name for name in self.options.faults if name in FAULTS]
        for _ in range(NAMES if meshes else 0):
            name = str(rng.choice(self.options.faults))
            if name == SMEARED:
                return None, SMEARED
            for _ in range(TRIES):
                surface = FAULTS[name](scene.hands[hand].bent, rng)
                parts = build_parts(scene, {hand: surface}, self.rng(BUILD), smooth=False)
                if _count_changed(good[0], _sketch(scene, parts)) >= max(good[1], 1.0):
                    return surface, name
        return None, SMEARED

    def _paint(
        self, scene: Scene, look: Look, surfaces: dict[int, Surface], faults: dict[int, str]
    ) -> Image:
        parts = build_parts(scene, surfaces, self.rng(BUILD))
        picture = compose(paint_scene(scene, parts, look), self._background(scene.size), look)
        rng = self.rng(FINISH)
        ending, smearing = rng.spawn(2)
        for hand, fault in faults.items():
            if fault == SMEARED:
                points = scene.lens.project(scene.hands[hand].landmarks())
                chosen = smearing.choice(np.arange(3, 21), 5, replace=False)
                extent = float(np.nanmax(np.ptp(points, axis=0)))
                picture = smear(smearing, picture, points[chosen], extent)
        return finish(ending, picture, look.style)

    def _background(self, size: int) -> Floats:
        rng = self.rng(BACKGROUND)
        if not self.options.backgrounds:
            return sample_background(rng, size)
        return crop_background(rng, self._load_background(rng), size)

    def _load_background(self, rng: np.random.Generator) -> Image:
        """A picture of the user's folder; one that cannot be read makes way for another."""
        paths = list(self.options.backgrounds)
        while True:
            path = paths.pop(int(rng.integers(len(paths))))
            try:
                return load_picture(path).image
            except PictureError as error:
                if not paths:
                    raise
                logger.warning("%s Another background is taken.", error)


def _sketch(scene: Scene, parts: list[Part]) -> Seen:
    """The scene, small, to compare."""
    share = SKETCH_PX / scene.size
    lens = Lens(scene.lens.focal_px * share, scene.lens.centre * share)
    return see(join_parts(parts), lens, SKETCH_PX, 1)


def _count_changed(good: Seen, faulty: Seen) -> int:
    """Samples in which what is drawn differs from the well-formed scene."""
    one, two = _whole(good), _whole(faulty)
    covered, now = one[..., 3] > 0, two[..., 3] > 0
    alike = (one[..., :3] * two[..., :3]).sum(axis=2) > TURNED
    return int(((covered != now) | (covered & ~alike)).sum())


def _whole(seen: Seen) -> FloatArray:
    """(SKETCH_PX, SKETCH_PX, 4) normals of skin and its cover."""
    picture = np.zeros((SKETCH_PX, SKETCH_PX, 4))
    looks = np.column_stack([seen.normals, np.ones(len(seen.at), dtype=np.float32)])
    picture[seen.box.slices] = seen.spread(looks)
    return picture


def _write_prompt(scene: Scene, look: Look) -> str:
    """What the picture shows, in words; nothing of its faults."""
    hands = " and ".join(f"a {describe_hand(hand)}" for hand in scene.hands)
    words = [f"{WORDS[look.style]} of {hands}", f"{name_skin(look.skins[0])} skin"]
    wear = scene.hands[0].wear
    if wear.sleeve is not None and wear.arm is not None:
        words.append("long sleeve")
    if wear.watch:
        words.append(f"wearing a {wear.watch}")
    return ", ".join(words)
