"""The two networks that ship with the package, run by LiteRT."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.detect.palm import PALM_SIZE, Palm, blend, decode, distinct, to_window
from handrefiner_ext.detect.reading import LANDMARK_SIZE, RawReading, to_hand
from handrefiner_ext.detect.windows import UPRIGHT, Roi, around_box, around_landmarks, warp
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.types import Box, FloatArray, Hand, Image

STDERR = 2
CHATTER = re.compile(
    rb"^(INFO: Created TensorFlow Lite|INFO: \[\w+\.cc:\d+\] "
    rb"|WARNING: (Read-only tensor|Logging before|All log messages before)"
    rb"|[IW]\d{4} [\d:. ]+\S+\.cc:\d+\] "
    rb"(GPU sup|GL version|Feedback manager requires|Using NORM_RECT without"
    rb"|Input tensor memory is not aligned)"
    rb"|\[.+ logging\.cc:\d+: Set ray log level )"
)
"""What TFLite, MediaPipe and Ray say on every start, although nothing is wrong."""


@contextmanager
def hushed() -> Iterator[None]:
    """Holds back what is written to stderr meanwhile and then passes on all but the chatter.

    Only for constructing and closing networks and for starting Ray: none of the libraries has a
    switch for it, and nothing is lost if another thread writes at the same time.
    """
    try:
        terminal = os.dup(STDERR)
    except OSError:  # no stderr, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as held:
        try:
            sys.stderr.flush()
            os.dup2(held.fileno(), STDERR)
            yield
        finally:
            os.dup2(terminal, STDERR)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not CHATTER.match(line):
                    os.write(STDERR, line)


TASK_FILE = "hand_landmarker.task"
PALM_NETWORK = "hand_detector.tflite"
LANDMARK_NETWORK = "hand_landmarks_detector.tflite"


def read_task() -> bytes:
    """The bundled task file, a stored zip of both networks.

    Raises BackendUnavailable where the installation is incomplete.
    """
    path = resources.files("handrefiner_ext") / "assets" / TASK_FILE
    try:
        return path.read_bytes()
    except OSError as error:
        raise BackendUnavailable(
            f"The hand networks cannot be read ({error}); install handrefiner again."
        ) from error


def read_network(name: str) -> bytes:
    """One TFLite network out of the task file."""
    with zipfile.ZipFile(io.BytesIO(read_task())) as task:
        return task.read(name)


THREADS = 2


class Network:
    """One network; calls from several threads wait for one another."""

    def __init__(self, name: str) -> None:
        interpreter = _import_interpreter()
        with hushed():
            self._net = interpreter(model_content=read_network(name), num_threads=THREADS)
            self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._net.get_output_details()]
        self._lock = threading.Lock()

    def run(self, picture: NDArray[np.float32]) -> list[FloatArray]:
        """(side, side, 3) in 0..1 -> the outputs as float64, without the batch axis."""
        with self._lock:
            self._net.set_tensor(self._input, picture[None])
            self._net.invoke()
            return [np.asarray(self._net.get_tensor(i)[0], np.float64) for i in self._outputs]


def _import_interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except (ImportError, OSError) as error:
        raise BackendUnavailable(
            f"The litert detector cannot be used ({error}); "
            'run: pip install "ai-edge-litert>=1.4", or choose the detector mediapipe.'
        ) from error
    return Interpreter


PALMS_IN_VIEW, PALMS_IN_PICTURE = 64, 256
"""Bounds on the work that a threshold of zero can cause."""


class HandNetworks:
    """Palm and landmark network over one picture at a time.

    upright: direction in which the landmark network is shown a hand, radians. mediapipe's Tasks
    API sets it to 90 where radians are expected, so its windows are turned by 26.6 degrees too
    many; with upright=90.0 both agree, with the intended direction the landmarks are nearer the
    truth and the side is right more often.
    """

    def __init__(self, upright: float = UPRIGHT) -> None:
        self._upright = upright
        self._palm = Network(PALM_NETWORK)
        self._landmark = Network(LANDMARK_NETWORK)

    def find_palms(
        self, image: Image, views: Iterable[Box], threshold: float, faint: float
    ) -> list[Palm]:
        """Palms that score at least `threshold` in one of the views, best first, each once.

        In the first view also those down to `faint`; they have no part in the others' average.
        """
        found: list[Palm] = []
        for number, view in enumerate(views):
            window = around_box(view)
            lowest = min(faint, threshold) if number == 0 else threshold
            raw, logits = self._palm.run(warp(image, window, PALM_SIZE, cv2.BORDER_CONSTANT))
            boxes, scores = decode(raw, logits[:, 0], lowest)
            for part in (scores >= threshold, scores < threshold):
                blended = blend(boxes[part], scores[part], PALMS_IN_VIEW)
                found += [
                    Palm(s, to_window(box, window, self._upright), number) for s, box in blended
                ]
        return distinct(found)[:PALMS_IN_PICTURE]

    def read_closely(self, image: Image, window: Roi, presence: float) -> Hand:
        """As `read`, and once more through the window that the landmarks ask for.

        That is what MediaPipe does from frame to frame of a video. The second look is nearer the
        truth, and what is no hand seldom looks like one twice; the score is the lower one.
        """
        first = self.read(image, window)
        if first.score <= presence:
            return first
        second = self.read(image, around_landmarks(first.landmarks))
        return replace(second, score=min(first.score, second.score))

    def read(self, image: Image, window: Roi) -> Hand:
        """What the landmark network makes of a window; its score says whether it is a hand."""
        picture = warp(image, window, LANDMARK_SIZE, cv2.BORDER_REPLICATE)
        landmarks, presence, right, world = self._landmark.run(picture)
        raw = RawReading(landmarks, float(presence[0]), float(right[0]), world)
        return to_hand(raw, window, *image.shape[:2])
