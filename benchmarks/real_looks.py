"""What the product does with one labelled picture, asked through its public functions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from PIL import Image as PillowImage
from real_labels import Label, Pair

from handrefiner_ext.geometry.boxes import intersection_over_union
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import load_picture
from handrefiner_ext.pipeline import check_values, hints, repaint
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.stages import Stages, build_stages
from handrefiner_ext.types import Box, Hand, Hints, Image, ModelHome, Quality

Parameters = tuple[tuple[str, str], ...]
"""Names and values that differ from the defaults."""
SAME_HAND = 0.3
"""IoU from which a box seen is that of a labelled hand."""
STEADY = 0.5
"""IoU from which a box is the one that was seen before a change."""
QUALITIES = (95, 92, 90, 85, 80)
RESIZED, SHIFTED = 0.95, 3
WHOLE_CROP = 256
"""Mask padding that makes a crop be painted whole."""


@dataclass(frozen=True)
class Look:
    """What is seen in one picture.

    side, quality: of the hand nearest the middle. quality: None where none was found or measured.
    """

    boxes: tuple[Box, ...]
    found: int
    false: int
    side: str | None = None
    quality: float | None = None
    abstained: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether keep_best takes the second picture of a pair, with the mesh of either, and why not.

    Without a mesh the first picture stays.
    """

    mesh_before: bool
    mesh_after: bool
    why_before: str
    why_after: str


@dataclass(frozen=True)
class Repair:
    """What the default run does to one picture.

    painted: hands that were replaced. kept: why the others were not. qualities: before and after.
    """

    hands: int
    painted: int
    kept: tuple[str, ...]
    qualities: tuple[tuple[float | None, float | None], ...]


@dataclass(frozen=True)
class Cost:
    """What one search costs: network calls, time on the clock and of all cores, milliseconds."""

    calls: float
    wall_ms: float
    cpu_ms: float


@dataclass
class GivenPainter:
    """Paints a picture that exists already."""

    picture: Image
    name: str = "given"

    def paint(self, request: PaintRequest) -> Image:
        return self.picture


def read_parameters(parameters: Parameters) -> RefineParams:
    """The defaults with other values for some, checked."""
    params = RefineParams(**dict(parameters))  # type: ignore[arg-type]  # every value is coerced
    check_values(params)
    return params


@lru_cache(maxsize=1)
def prepare(parameters: Parameters) -> tuple[RefineParams, Stages]:
    """Parameters and backends of this process: networks are slow to load."""
    params = read_parameters(parameters)
    return params, build_stages(params, ModelHome())


def read(path: Path) -> Image:
    return load_picture(path).image


def look(label: Label, parameters: Parameters, rates: bool = False) -> Look:
    """Hands found and false; rates: the quality of the one nearest the middle, too."""
    params, stages = prepare(parameters)
    image = read(label.path)
    seen = hints(image, params, stages)
    boxes = tuple(hand.box for hand in seen.detection.hands)
    found, false = count(label, boxes)
    hand = find_meant(image, seen.detection.hands)
    if hand is None:
        return Look(boxes, found, false)
    fitted = next((mesh for mesh in seen.meshes if mesh.hand.number == hand.number), None)
    side = hand.handedness if fitted is None else fitted.handedness
    result = Look(boxes, found, false, side)
    if not rates or fitted is None:
        return result
    same = replace(stages, inpainter=GivenPainter(image))
    decisions = repaint(image, seen, params, same, evaluates=True).decisions
    number = next(n for n, mesh in enumerate(seen.meshes) if mesh is fitted)
    quality = next((d.quality_before for d in decisions if d.number == number), None)
    return replace(result, quality=_score(quality), abstained=abstains(quality))


def abstains(quality: Quality | None) -> bool:
    """Whether the judge could not tell; what was not measured counts as that."""
    return quality is None or quality.abstained


def count(label: Label, boxes: Sequence[Box]) -> tuple[int, int]:
    """(hands found, false hands): by box where the label has boxes, else by number."""
    if label.boxes is None:
        found = min(label.hands, len(boxes))
    else:
        found = match_boxes(label.boxes, boxes, SAME_HAND)
    return found, len(boxes) - found


def match_boxes(some: Sequence[Box], others: Sequence[Box], least: float) -> int:
    """How many of both are the same box, each used once, those of the largest IoU first."""
    alike = np.array([[intersection_over_union(a, b) for b in others] for a in some])
    pairs = 0
    while alike.size and alike.max() >= least:
        row, column = np.unravel_index(alike.argmax(), alike.shape)
        alike[row], alike[:, column] = -1.0, -1.0
        pairs += 1
    return pairs


def find_meant(image: Image, hands: Sequence[Hand]) -> Hand | None:
    """The hand that a close-up shows: the one nearest its middle."""
    middle = np.array(image.shape[1::-1]) / 2

    def apart(hand: Hand) -> float:
        box = hand.box
        return math.dist(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2), middle)

    return min(hands, key=apart, default=None)


def decide(pair: Pair, parameters: Parameters) -> Verdict:
    """Whether the second picture replaces the first, whole, with the mesh of either."""
    params, stages = prepare(parameters)
    params = replace(params, keep_best=True, mask="box", padding_bbox=WHOLE_CROP)
    before, after = read(pair.before.path), read(pair.after.path)
    if before.shape != after.shape:
        after = np.asarray(cv2.resize(after, before.shape[1::-1], interpolation=cv2.INTER_AREA))
    given = replace(stages, inpainter=GivenPainter(after))
    seen = (hints(image, params, stages) for image in (before, after))
    (first, why_first), (second, why_second) = (_ask(before, s, params, given) for s in seen)
    return Verdict(first, second, why_first, why_second)


def _ask(before: Image, seen: Hints, params: RefineParams, stages: Stages) -> tuple[bool, str]:
    """Whether the hand nearest the middle is replaced, and the reason that is given."""
    hand = find_meant(before, [mesh.hand for mesh in seen.meshes])
    if hand is None:
        return False, "No mesh was found."
    decisions = repaint(before, seen, params, stages).decisions
    meant = next((d for d in decisions if seen.meshes[d.number].hand is hand), None)
    return (False, "Nothing was decided.") if meant is None else (meant.refined, meant.reason)


def change(image: Image) -> Iterator[tuple[str, Image, float, int]]:
    """(name, picture, factor, shift) of the seven changes: point * factor + shift."""
    for quality in QUALITIES:
        saved = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        yield f"jpeg {quality}", cv2.imdecode(saved, cv2.IMREAD_COLOR)[..., ::-1].copy(), 1.0, 0
    size = tuple(max(1, round(RESIZED * n)) for n in image.shape[1::-1])
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    yield "resize", np.asarray(resized, dtype=np.uint8), RESIZED, 0
    step = ((SHIFTED, 0), (SHIFTED, 0), (0, 0))
    height, width = image.shape[:2]
    yield "shift", np.pad(image, step, mode="edge")[:height, :width], 1.0, SHIFTED


def try_changes(label: Label, parameters: Parameters) -> dict[str, bool]:
    """Change -> whether as many hands are found in the same places."""
    params, stages = prepare(parameters)
    image = read(label.path)
    boxes = [hand.box for hand in hints(image, params, stages).detection.hands]
    steady = {}
    for name, changed, factor, shift in change(image):
        seen = hints(changed, params, stages).detection.hands
        back = [Box(*(round((n - shift) / factor) for n in hand.box)) for hand in seen]
        steady[name] = len(boxes) == len(back) == match_boxes(boxes, back, STEADY)
    return steady


def repair(label: Label, parameters: Parameters, out: Path | None) -> Repair:
    """The run that a user gets; out: where before, after and depth are put side by side."""
    params, stages = prepare(parameters)
    image = read(label.path)
    seen = hints(image, params, stages)
    result = repaint(image, seen, params, stages)
    painted = [d for d in result.decisions if d.refined]
    if out is not None and seen.meshes:
        depth = np.repeat(seen.maps.control[..., None], 3, axis=2)
        name = f"{label.kind}_{label.name.replace(' ', '_')}_{len(painted)}.png"
        PillowImage.fromarray(np.hstack([image, result.image, depth])).save(out / name)
    return Repair(
        len(seen.detection.hands),
        len(painted),
        tuple(d.reason for d in result.decisions if not d.refined),
        tuple((_score(d.quality_before), _score(d.quality_after)) for d in result.decisions),
    )


def _score(quality: Quality | None) -> float | None:
    return None if quality is None else quality.score


def time_search(label: Label, parameters: Parameters) -> Cost:
    """What finding the hands and meshes of one picture costs."""
    params, stages = prepare(parameters)
    image = read(label.path)
    with counted_calls() as calls:
        wall, cpu = time.perf_counter(), time.process_time()
        hints(image, params, stages)
        spent = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(len(calls) if calls else math.nan, 1e3 * spent[0], 1e3 * spent[1])


@contextmanager
def counted_calls() -> Iterator[list[str]]:
    """A list that gets one item for every run of a network, by LiteRT or onnxruntime."""
    calls: list[str] = []
    with ExitStack() as stack:
        for owner, method in _find_runners():
            counting = _count(getattr(owner, method), method, calls)
            stack.enter_context(patch.object(owner, method, counting))
        yield calls


def _find_runners() -> Iterator[tuple[Any, str]]:
    try:
        from ai_edge_litert.interpreter import Interpreter

        yield Interpreter, "invoke"
    except ImportError:
        pass
    try:
        from onnxruntime import InferenceSession

        yield InferenceSession, "run"
    except ImportError:
        pass


def _count(run: Callable[..., Any], name: str, calls: list[str]) -> Callable[..., Any]:
    def counting(*args: Any, **options: Any) -> Any:
        calls.append(name)
        return run(*args, **options)

    return counting
