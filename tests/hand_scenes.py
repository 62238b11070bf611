"""Tiny stages behind the real protocols, for tests of what lies between the stages."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import Registry
from handrefiner_ext.render.renderers import RasterRenderer
from handrefiner_ext.stages import LazyInpainter, Stages
from handrefiner_ext.types import Detection, Hand, HandMesh, Quality, Refusal, WeakPerspective

PALM_M = 0.1


def flat_landmarks(centre=(0.0, 0.0), size=1.0):
    """(21, 2): a spread hand from above, `size` from wrist to middle tip."""
    points = [(0.0, 0.5)]
    for x, reach in ((-0.4, 0.25), (-0.2, 0.45), (0.0, 0.5), (0.2, 0.45), (0.4, 0.35)):
        points += [(x * t, 0.5 - t * (0.5 + reach)) for t in (0.4, 0.6, 0.8, 1.0)]
    return np.asarray(centre) + size * np.array(points)


def make_hand(centre, size, shape, handedness="right"):
    points = flat_landmarks(centre, size)
    world = np.column_stack([flat_landmarks(size=PALM_M), np.zeros(21)])
    box = clip(bounding_box(points), *shape[:2])
    return Hand(handedness, 0.9, 0.8, box, points, np.zeros(21), world)


def make_mesh(hand, error=0.05):
    """A flat plate in the place of a hand's landmarks."""
    joints = np.column_stack([flat_landmarks(size=PALM_M), np.zeros(21)])
    low, high = joints.min(axis=0), joints.max(axis=0)
    corners = [(x, y, z) for z in (0.0, 0.02) for y in (low[1], high[1]) for x in (low[0], high[0])]
    faces = [(0, 2, 1), (1, 2, 3), (4, 5, 6), (5, 7, 6), (0, 1, 4), (1, 5, 4)]
    faces += [(2, 6, 3), (3, 6, 7), (0, 4, 2), (2, 4, 6), (1, 3, 5), (3, 7, 5)]
    scale = float(np.ptp(hand.landmarks[:, 1]) / np.ptp(joints[:, 1]))
    shift = hand.landmarks[0] - scale * joints[0, :2]
    return HandMesh(
        hand,
        np.array(corners),
        np.array(faces, dtype=np.int32),
        joints,
        WeakPerspective(scale, float(shift[0]), float(shift[1])),
        error,
        "plate",
    )


@dataclass
class BrightDetector:
    """Sees a hand in the middle of each half that is brighter than grey (two at most)."""

    name: str = "bright"
    shift: float = 0.0
    other_side: bool = False
    blind_again: bool = False

    def detect(self, image, params):
        return Detection(tuple(self._hands(image)), tuple(self._refused(image)))

    def _hands(self, image):
        height, width = image.shape[:2]
        for number in range(2):
            half = image[:, number * width // 2 : (number + 1) * width // 2]
            if half.size and half.mean() > 127:
                centre = ((0.25 + 0.5 * number) * width, 0.5 * height)
                side = "left" if number else "right"
                yield make_hand(centre, 0.4 * min(height, width), image.shape, side)

    def _refused(self, image):
        if image.size and image[0, 0].max() == 255:
            yield Refusal(
                clip(bounding_box(np.array([[0.0, 0.0], [9.0, 9.0]])), *image.shape[:2]),
                "Too bright in its corner, 255 of 255.",
            )

    def redetect(self, image, hands, params):
        if self.blind_again:
            return (None,) * len(hands)
        swapped = {"left": "right", "right": "left"}
        return tuple(
            Hand(
                swapped[h.handedness] if self.other_side else h.handedness,
                *(h.handedness_score, h.score, h.box),
                np.add(h.landmarks, (self.shift, 0.0)),
                *(h.landmark_depth, h.world_landmarks),
            )
            for h in hands
        )

    def reread(self, image, hand, params):
        return ()

    def examine(self, image, hand, views, params):
        return (hand,) * len(views)


@dataclass
class PlateReconstructor:
    """Refuses the hands of one side, breaks down on those of another."""

    name: str = "plate"
    refuses: str = ""
    breaks_on: str = ""

    def reconstruct(self, image, hand, params):
        if hand.handedness == self.breaks_on:
            raise np.linalg.LinAlgError("Singular matrix")
        if hand.handedness == self.refuses:
            return Refusal(hand.box, "No plausible hand fits.")
        return make_mesh(hand)


@dataclass
class FloodPainter:
    """Paints everything green, outside the mask too."""

    name: str = "flood"
    colour: tuple[int, int, int] = (0, 255, 0)
    calls: list[RefineParams] = field(default_factory=list)

    def paint(self, request):
        self.calls.append(request.params)
        return np.full_like(request.image, self.colour)


@dataclass
class PaintedIsBetter:
    """A hand that lies in one flat colour, as painters of tests leave it, is a good one."""

    name: str = "painted"

    def measure(self, detector, image, hands, params):
        return tuple(self._rate(image[hand.box.slices]) for hand in hands)

    def _rate(self, part):
        return Quality(1.0 if (part == part[:1, :1]).all() else 0.5)


def make_stages(**changes):
    stages = {
        "meter": PaintedIsBetter(),
        "detector": BrightDetector(),
        "reconstructor": PlateReconstructor(),
        "renderer": RasterRenderer(),
        "inpainter": FloodPainter(),
    }
    return Stages(**{**stages, **changes})


def picture_with(hands, height=60, width=120):
    """Noise with a hand in the left half, the right, both or none."""
    rng = np.random.default_rng(len(hands))
    image = rng.integers(0, 100, (height, width, 3), dtype=np.uint8)
    if "left half" in hands:
        image[:, : width // 2] += 140
    if "right half" in hands:
        image[:, width // 2 :] += 140
    return image


BOTH = ("left half", "right half")


def hold_tiny_backends(monkeypatch):
    """Tiny backends by their stage, built instead of networks; a test may replace one of them."""
    tiny = vars(make_stages())
    held = {"mesh" if stage == "reconstructor" else stage: tiny[stage] for stage in tiny}
    build = Registry.build

    def build_tiny(registry, name, **options):
        return held[registry.kind] if registry.kind in held else build(registry, name, **options)

    monkeypatch.setattr(Registry, "build", build_tiny)
    monkeypatch.setattr(LazyInpainter, "backend", held["inpainter"])
    return held
