"""Recall of the detectors by size of the hand, with and without tiles, and hands that are none.

    python benchmarks/recall.py [--count N] [--sizes 32,48,…] [--detector NAME]
                                [--foreign_hand right.glb] [--json F]

The pictures have 1024 × 1024 pixels; a hand's size is the longer side of the box around its 21
joints. A hand counts as found when the landmarks of a detected hand lie, in the mean, within 0.25
hand sizes of its own. A detected hand that finds none is a false one: also a second sighting of a
hand, and one whose landmarks are read badly. Small hands come four to a picture, large ones two or
alone; in every other picture they have limbs, faces, rakes, twigs and cloth behind them. Pictures
without hands are plain, hold soft shapes, or hold those things. All come from seeds of the
validation split.

Keys of the JSON, D = detector, S = size, T = off, auto or on (tiles):
  D_recall_S_T            share of the hands of this size that are found
  D_side_S_T              share of the found hands whose handedness is right
  D_false_S_T             false hands per picture, in pictures with hands of this size
  D_false_plain_T, D_false_shapes_T, D_false_things_T   the same without hands
  D_false_all_T           the same over all pictures
  hands_S, pictures       how many were looked at
Shares of nothing are null.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from foreign_hand import load_foreign_hand
from report import (
    Figure,
    Target,
    make_parser,
    positive_list,
    print_table,
    print_targets,
    use_utf8,
    write_json,
)
from tqdm import tqdm

from handrefiner_ext.dataset.distractors import draw_distractors
from handrefiner_ext.dataset.plain import (
    GAMMA,
    HandModel,
    Placement,
    Scene,
    draw_hand,
    finish,
    generator,
    make_mesh,
    make_scene,
    open_hand_model,
    random_background,
)
from handrefiner_ext.detect.tiles import plan_tiles
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import Detector
from handrefiner_ext.registry import AUTO, DETECTORS
from handrefiner_ext.types import FloatArray, Hand, Image

SIDE = 1024
SIZES = (32, 48, 64, 96, 128, 192, 256)
TILES = ("off", "auto", "on")
EMPTY = ("plain", "shapes", "things")
"""Pictures without hands."""
FOUND_WITHIN = 0.25
"""Mean distance of the landmarks, hand sizes."""
QUARTERS: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = (
    (100, ((0, 0), (1, 0), (0, 1), (1, 1))),
    (200, ((0, 0), (1, 1))),
)
"""Largest hand size and the quarters of the picture used, so that forearms cover no hand."""
ROOM = 0.6
"""Least distance of a hand's centre from the edge of its part of the picture, hand sizes."""
THINGS = 8
SEEDS_PER_KIND = 10_000


@dataclass
class Tally:
    """What became of the hands of one kind of picture."""

    pictures: int = 0
    hands: int = 0
    found: int = 0
    right_side: int = 0
    false: int = 0

    def add(self, scene: Scene, seen: tuple[Hand, ...]) -> None:
        pairs = match(scene, seen)
        self.pictures += 1
        self.hands += len(scene.hands)
        self.found += len(pairs)
        self.false += len(seen) - len(pairs)
        sides = ((scene.hands[t].mesh.handedness, seen[s].handedness) for t, s in pairs)
        self.right_side += sum(true == read for true, read in sides)


@dataclass
class Tallies:
    """Of one detector, by kind of picture ("64", "plain") and tiles."""

    detector: Detector
    by_kind: dict[tuple[str, str], Tally] = field(default_factory=dict)

    def look(self, kind: str, scene: Scene) -> None:
        seen: dict[tuple[object, ...], tuple[Hand, ...]] = {}
        height, width = scene.image.shape[:2]
        for mode in TILES:
            # Where two modes mean the same tiles, they see the same.
            tiles = tuple(plan_tiles(height, width, mode))
            if tiles not in seen:
                params = RefineParams(tiles=mode)
                seen[tiles] = self.detector.detect(scene.image, params).hands
            self.by_kind.setdefault((kind, mode), Tally()).add(scene, seen[tiles])

    def total(self, mode: str) -> Tally:
        parts = [tally for (_, tiles), tally in self.by_kind.items() if tiles == mode]
        return Tally(
            pictures=sum(part.pictures for part in parts), false=sum(part.false for part in parts)
        )


def main() -> None:
    use_utf8()
    options = read_options()
    all_tallies = [Tallies(detector) for detector in build_detectors(options.detector)]
    hand = load_foreign_hand(options.foreign_hand) if options.foreign_hand else open_hand_model()
    kinds = [*(str(size) for size in options.sizes), *EMPTY]
    work = [(kind, number) for kind in kinds for number in range(options.count)]
    for kind, number in tqdm(work, unit="picture", disable=None):
        scene = make_picture(kind, number, hand)
        for tallies in all_tallies:
            tallies.look(kind, scene)
    figures: dict[str, Figure] = {}
    for tallies in all_tallies:
        print_tallies(tallies, kinds)
        print_targets(find_targets(tallies))
        figures |= list_figures(tallies)
    write_json(options.json, figures)


def read_options() -> argparse.Namespace:
    parser = make_parser(__doc__, 8, "pictures of each kind")
    choices = ("installed", *DETECTORS.names())
    parser.add_argument("--detector", choices=choices, default="installed")
    parser.add_argument("--sizes", type=positive_list, default=SIZES, metavar="S,…")
    parser.add_argument("--foreign_hand", metavar="GLB", help="draw this hand instead of our own")
    return parser.parse_args()


def build_detectors(name: str) -> Iterator[Detector]:
    """The named one, or each that is installed."""
    if name != "installed":
        yield DETECTORS.build(name)
        return
    DETECTORS.build(AUTO)  # says what to do where there is none
    for each in DETECTORS.names():
        try:
            yield DETECTORS.build(each)
        except BackendUnavailable as error:
            print(f"Without {each}: {error}")


def make_picture(kind: str, number: int, hand: HandModel) -> Scene:
    """Picture `number` of a kind: a hand size, "plain", "shapes" or "things"."""
    if kind in EMPTY:
        rng = generator("validation", SEEDS_PER_KIND * EMPTY.index(kind) + number)
        return Scene(make_empty_picture(rng, kind))
    size = int(kind)
    rng = generator("validation", SEEDS_PER_KIND * size + number)
    places = place_hands(rng, size)
    if number % 2:
        return make_crowded_scene(rng, places, hand)
    return make_scene(rng, SIDE, SIDE, places, hand)


def make_crowded_scene(
    rng: np.random.Generator, places: tuple[Placement, ...], hand: HandModel
) -> Scene:
    """Hands before things that are none."""
    behind = finish(rng, random_background(rng, SIDE, SIDE))
    canvas = (draw_distractors(rng, behind, THINGS) / 255.0) ** GAMMA
    meshes = [make_mesh(rng, place, hand.model) for place in places]
    hands = tuple(draw_hand(rng, canvas, mesh, hand.has_cap) for mesh in meshes)
    return Scene(finish(rng, canvas), hands)


def make_empty_picture(rng: np.random.Generator, kind: str) -> Image:
    if kind == "plain":
        corners = rng.uniform(0, 255, (2, 2, 3))
        t = np.linspace(0, 1, SIDE)
        rows = corners[0] + t[:, None, None] * (corners[1] - corners[0])
        picture = rows[:, :1] + t[None, :, None] * (rows[:, 1:] - rows[:, :1])
        return np.asarray(np.rint(picture), dtype=np.uint8)
    picture = make_scene(rng, SIDE, SIDE, ()).image
    return picture if kind == "shapes" else draw_distractors(rng, picture, THINGS)


def place_hands(rng: np.random.Generator, size: int) -> tuple[Placement, ...]:
    """Anywhere in the quarters that hands of this size may use, or in the whole picture."""
    cells = next((cells for largest, cells in QUARTERS if size <= largest), None)
    part = SIDE if cells is None else SIDE // 2
    low, high = ROOM * size, part - ROOM * size
    return tuple(
        Placement(x * part + rng.uniform(low, high), y * part + rng.uniform(low, high), size)
        for x, y in cells or ((0, 0),)
    )


def match(scene: Scene, seen: tuple[Hand, ...]) -> list[tuple[int, int]]:
    """(true hand, seen hand) pairs, the nearest first, each hand once."""
    apart = _distances(scene, seen)
    pairs: list[tuple[int, int]] = []
    while apart.size and apart.min() <= FOUND_WITHIN:
        true, found = (int(i) for i in np.unravel_index(apart.argmin(), apart.shape))
        pairs.append((true, found))
        apart[true], apart[:, found] = np.inf, np.inf
    return pairs


def _distances(scene: Scene, seen: tuple[Hand, ...]) -> FloatArray:
    """(true, seen) mean distances of the landmarks, in sizes of the true hand."""
    apart = np.full((len(scene.hands), len(seen)), np.inf)
    for row, true in zip(apart, (hand.mesh.hand for hand in scene.hands), strict=True):
        for number, hand in enumerate(seen):
            step = np.linalg.norm(hand.landmarks - true.landmarks, axis=1).mean()
            row[number] = step / true.size_px
    return apart


def print_tallies(tallies: Tallies, kinds: list[str]) -> None:
    name = tallies.detector.name
    header = ("tiles", *(f"{kind} px" if kind.isdigit() else kind for kind in kinds))
    shown: dict[str, Callable[[Tally], str]] = {
        "hands found": lambda tally: f"{tally.found}/{tally.hands}",
        "found hands with the right handedness": lambda tally: f"{tally.right_side}/{tally.found}",
        "false hands per picture": lambda tally: f"{_false(tally):.2f}",
    }
    for title, show in shown.items():
        rows = [(mode, *(show(tallies.by_kind[kind, mode]) for kind in kinds)) for mode in TILES]
        print_table(f"{name}: {title}", header, rows)


def find_targets(tallies: Tallies) -> list[Target]:
    """The targets whose figures were measured."""
    targets = [Target("False hands per picture, tiles on", _false(tallies.total("on")), 0.1)]
    small = tallies.by_kind.get(("64", "on"))
    if small is not None:
        recall = _share(small.found, small.hands)
        targets = [
            Target("Recall at 64 px, tiles on", recall, 0.8, at_most=False),
            *targets,
        ]
    return targets


def list_figures(tallies: Tallies) -> dict[str, Figure]:
    name = tallies.detector.name
    figures: dict[str, Figure] = {}
    for (kind, mode), tally in tallies.by_kind.items():
        figures[f"{name}_false_{kind}_{mode}"] = _false(tally)
        if kind not in EMPTY:
            figures[f"hands_{kind}"] = tally.hands
            figures[f"{name}_recall_{kind}_{mode}"] = _share(tally.found, tally.hands)
            figures[f"{name}_side_{kind}_{mode}"] = _share(tally.right_side, tally.found)
    for mode in TILES:
        total = tallies.total(mode)
        figures[f"{name}_false_all_{mode}"] = _false(total)
        figures["pictures"] = total.pictures
    return figures


def _false(tally: Tally) -> float:
    return _share(tally.false, tally.pictures)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


if __name__ == "__main__":
    main()
