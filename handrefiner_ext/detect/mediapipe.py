"""The detector `mediapipe`: the hand networks run by the mediapipe package (0.10.9 to 1.x).

mediapipe returns neither the score of a palm nor the presence of a hand. What it rejects is found
by asking again with lower thresholds, and a hand's `score` is the certainty of its side. It turns
windows 26.6 degrees too far (see `networks.HandNetworks`), which costs a little accuracy.
"""

from __future__ import annotations

import atexit
import re
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from handrefiner_ext.detect import flow
from handrefiner_ext.detect.networks import make_hand
from handrefiner_ext.detect.sightings import Sighting, merge
from handrefiner_ext.detect.views import examine
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.geometry.boxes import bounding_box, clip
from handrefiner_ext.params import RefineParams
from handrefiner_ext.tflite import TASK_FILE, read_bundle, without_chatter
from handrefiner_ext.types import Box, Detection, Hand, Image, View

MOST_CONFIRMED = 64
"""Hands of tiles that are looked at again; bounds the work."""
ENOUGH_MARGIN = 0.5
"""Distance from a tile's inner edge, in hand sizes, beyond which the edge cannot matter."""
REREAD_VIEWS = (1.4, 1.8, 3.5)
"""Sides of the views for other readings of a hand, in units of its box's longer side."""


class MediapipeDetector:
    """Finds hands with mediapipe's HandLandmarker."""

    name = "mediapipe"

    def __init__(self) -> None:
        self._landmarkers = Landmarkers()

    def detect(self, image: Image, params: RefineParams) -> Detection:
        """Find the hands in `image`, or one in each of the user's boxes."""
        return flow.detect(self, image, params)

    def redetect(
        self, image: Image, hands: tuple[Hand, ...], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        """Find each hand again near its old place; None for one that is not there."""
        return flow.redetect(self, image, hands, params)

    def reread(self, image: Image, hand: Hand, params: RefineParams) -> tuple[Hand, ...]:
        """Read a hand again in other views; mediapipe itself chooses the windows in them."""
        found = []
        for scale in REREAD_VIEWS:
            view = _visible(hand.box, scale, image)
            found += self._look(image, view, flow.FAINT_SCORE, params.presence_threshold)
        return tuple(h for h in found if flow.distance(hand, h) < flow.STILL_THERE)

    def examine(
        self, image: Image, hand: Hand, views: Sequence[View], params: RefineParams
    ) -> tuple[Hand | None, ...]:
        """Find the hand in other views of it; mediapipe itself chooses the windows in them."""

        def look(square: Image, expected: Hand) -> Hand | None:
            seen = self._landmarkers.look(square, flow.FAINT_SCORE, flow.FAINT_PRESENCE)
            return flow.nearest(expected, seen)

        return examine(image, hand, views, look)

    def scan(self, image: Image, views: list[Box], params: RefineParams) -> list[Sighting]:
        """See `flow.SearchSteps`."""
        whole, *tiles = views
        score, presence = params.detection_threshold, params.presence_threshold
        seen = [Sighting(hand, 1.0) for hand in self._look(image, whole, score, presence)]
        small = [
            Sighting(hand, rank_in_view(hand, tile, image), from_tile=True)
            for tile in tiles
            for hand in self._look(image, tile, score, presence)
        ]
        for sighting in merge([*seen, *small])[:MOST_CONFIRMED]:
            if sighting.rank < 1.0:
                seen += self._confirm(image, sighting, params)
        return [*seen, *self._find_rejected(image, whole, params)]

    def _confirm(self, image: Image, sighting: Sighting, params: RefineParams) -> list[Sighting]:
        """Look again at a hand seen in a tile, now with the hand in the middle."""
        again = flow.redetect(self, image, (sighting.hand,), params)[0]
        return [] if again is None else [replace(sighting, hand=again)]

    def _find_rejected(self, image: Image, view: Box, params: RefineParams) -> list[Sighting]:
        """Return what only lower thresholds show."""
        score, presence = params.detection_threshold, params.presence_threshold
        low = min(score, flow.FAINT_SCORE), min(presence, flow.FAINT_PRESENCE)
        if low == (score, presence):
            return []
        reason = (
            f"mediapipe rejects this hand: its palm's score is below detection_threshold {score:g} "
            f"or its presence not above presence_threshold {presence:g}."
        )
        return [Sighting(hand, 0.0, reason) for hand in self._look(image, view, *low)]

    def look_into(self, image: Image, box: Box, params: RefineParams) -> list[Sighting]:
        """See `flow.SearchSteps`."""
        views = [_visible(box, scale, image) for scale in flow.BOX_VIEWS]
        presence = params.presence_threshold
        fault = f"mediapipe sees a hand only below presence_threshold {presence:g}."
        seen: list[Sighting] = []
        for reason, threshold in (("", presence), (fault, min(flow.FAINT_PRESENCE, presence))):
            for view in views:
                hands = self._look(image, view, flow.FAINT_SCORE, threshold)
                seen += [Sighting(hand, hand.score, reason) for hand in hands]
            if any(flow.belongs_to(s.hand, box) for s in seen):
                break
        return seen

    def look_again(self, image: Image, old: Hand, params: RefineParams) -> list[Hand]:
        """See `flow.SearchSteps`."""
        view = _visible(old.box, flow.NEARBY_VIEW, image)
        return self._look(image, view, flow.FAINT_SCORE, params.presence_threshold)

    def _look(self, image: Image, view: Box, score: float, presence: float) -> list[Hand]:
        hands = self._landmarkers.look(image[view.slices], score, presence)
        return [moved(hand, view, image) for hand in hands]


def _visible(box: Box, scale: float, image: Image) -> Box:
    return clip(flow.enlarge(box, scale), *image.shape[:2])


def moved(hand: Hand, view: Box, image: Image) -> Hand:
    """Move a hand seen in a view into the pixels of the picture."""
    landmarks = hand.landmarks + np.array([view.x0, view.y0], dtype=np.float64)
    return replace(hand, landmarks=landmarks, box=clip(bounding_box(landmarks), *image.shape[:2]))


def rank_in_view(hand: Hand, view: Box, image: Image) -> float:
    """Return the room between a hand and the edges at which its view cuts the picture.

    In hand sizes, at most ENOUGH_MARGIN.
    """
    height, width = image.shape[:2]
    (x0, y0), (x1, y1) = hand.landmarks.min(axis=0), hand.landmarks.max(axis=0)
    room = [
        x0 - view.x0 if view.x0 > 0 else np.inf,
        y0 - view.y0 if view.y0 > 0 else np.inf,
        view.x1 - x1 if view.x1 < width else np.inf,
        view.y1 - y1 if view.y1 < height else np.inf,
    ]
    return float(min(*room, ENOUGH_MARGIN * hand.size_px) / max(hand.size_px, 1e-6))


OLDEST = (0, 10, 9)
NEED_NEW_PROTOBUF, NEW_PROTOBUF = ("0.10.18", "0.10.20", "0.10.21"), (4, 25)
"""With an older protobuf these versions fail on the first hand they find."""


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def find_obstacle() -> str | None:
    """Return why the installed mediapipe cannot find hands, None if it can."""
    return describe_obstacle(installed_version("mediapipe"), installed_version("protobuf"))


def describe_obstacle(mediapipe: str | None, protobuf: str | None) -> str | None:
    """Return why these versions of mediapipe and protobuf cannot find hands, None if they can."""
    if mediapipe is None:
        return "mediapipe is not installed"
    if _numbers(mediapipe) < OLDEST:
        return f"mediapipe {mediapipe} is older than {'.'.join(map(str, OLDEST))}"
    if mediapipe in NEED_NEW_PROTOBUF and protobuf and _numbers(protobuf)[:2] < NEW_PROTOBUF:
        return f"mediapipe {mediapipe} does not work with protobuf {protobuf}"
    return None


def _numbers(text: str) -> tuple[int, ...]:
    """1.2.3rc1 -> (1, 2, 3)."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


MOST_HANDS = 64
"""mediapipe asks for a limit."""
OPEN_LANDMARKERS = 6
"""Each pair of thresholds needs a landmarker of its own, of about 30 MB."""
INSTALL = 'run: pip install "mediapipe==0.10.14", or choose the detector litert.'


class Landmarkers:
    """One HandLandmarker for each pair of thresholds; concurrent calls wait for one another.

    Raises BackendUnavailable if mediapipe is missing or cannot work here.
    """

    def __init__(self) -> None:
        _refuse_version()
        self._lock = threading.Lock()
        self._task = read_bundle(TASK_FILE)
        self._open: dict[tuple[float, float], Any] = {}
        self._mediapipe = _import_mediapipe()
        try:
            self._get(0.5, 0.5)
        except OSError as error:  # a system library such as libGLESv2 is missing
            raise _unavailable(error) from error
        _close_at_exit(self)

    def look(self, image: Image, score: float, presence: float) -> list[Hand]:
        """Return the hands in an image that pass both thresholds, best palm first, in pixels."""
        height, width = image.shape[:2]
        with self._lock, warnings.catch_warnings():
            # Old versions use parts of protobuf that new ones deprecate; they warn at every hand.
            warnings.filterwarnings("ignore", message=r"SymbolDatabase\.GetPrototype")
            result = self._get(score, presence).detect(self._wrap(image))
        found = zip(
            result.hand_landmarks, result.hand_world_landmarks, result.handedness, strict=True
        )
        return [_to_hand(*parts, height, width) for parts in found]

    def close(self) -> None:
        """End the landmarkers' threads."""
        with self._lock, without_chatter():
            while self._open:
                self._open.popitem()[1].close()

    def _wrap(self, image: Image) -> Any:
        rgb = self._mediapipe.ImageFormat.SRGB
        return self._mediapipe.Image(image_format=rgb, data=np.ascontiguousarray(image))

    def _get(self, score: float, presence: float) -> Any:
        """Return the landmarker for a pair of thresholds; close the least recently used one."""
        key = (score, presence)
        landmarker = self._open.pop(key, None) or self._create(score, presence)
        self._open[key] = landmarker
        if len(self._open) > OPEN_LANDMARKERS:
            with without_chatter():
                self._open.pop(next(iter(self._open))).close()
        return landmarker

    def _create(self, score: float, presence: float) -> Any:
        tasks = self._mediapipe.tasks
        options = tasks.vision.HandLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=self._task),
            num_hands=MOST_HANDS,
            min_hand_detection_confidence=score,
            min_hand_presence_confidence=presence,
        )
        with without_chatter():
            landmarker = tasks.vision.HandLandmarker.create_from_options(options)
            landmarker.detect(self._wrap(np.zeros((64, 64, 3), np.uint8)))
        return landmarker


def _to_hand(landmarks: Any, world: Any, handedness: Any, height: int, width: int) -> Hand:
    """Convert mediapipe's records; its category names the subject's side."""
    points = np.array([(p.x * width, p.y * height, p.z * width) for p in landmarks])
    side = handedness[0]
    right = side.score if side.category_name == "Right" else 1.0 - side.score
    return make_hand(
        points[:, :2],
        points[:, 2],
        np.array([(p.x, p.y, p.z) for p in world]),
        (side.score, right),
        (height, width),
    )


def _import_mediapipe() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mediapipe

        mediapipe.tasks.vision.HandLandmarker  # noqa: B018  # absent from very old versions
    except (ImportError, OSError, AttributeError) as error:
        raise _unavailable(error) from error
    return mediapipe


def _unavailable(error: Exception) -> BackendUnavailable:
    return BackendUnavailable(f"The mediapipe detector cannot be used here ({error}); {INSTALL}")


def _refuse_version() -> None:
    ours, protobuf = installed_version("mediapipe"), installed_version("protobuf")
    obstacle = None if ours is None else describe_obstacle(ours, protobuf)
    if obstacle is not None:
        raise BackendUnavailable(f"{obstacle}; {INSTALL}")


def _close_at_exit(landmarkers: Landmarkers) -> None:
    """Close before the interpreter stops thread pools, which mediapipe 1.x needs to close.

    `atexit` runs after that; `threading._register_atexit` runs before it.
    """
    register = getattr(threading, "_register_atexit", atexit.register)
    register(landmarkers.close)
