"""mediapipe's HandLandmarker (Tasks API) for every version of the package that works."""

from __future__ import annotations

import atexit
import re
import threading
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from handrefiner_ext.detect.networks import make_hand
from handrefiner_ext.detect.runtime import TASK_FILE, read_bundle, without_chatter
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.types import Hand, Image

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
