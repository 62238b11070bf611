"""Run the TFLite networks that ship with the package.

LiteRT runs them, without its chatter on stderr.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.types import FloatArray

STDERR = 2
CHATTER = re.compile(
    rb"^(INFO: Created TensorFlow Lite|INFO: \[\w+\.cc:\d+\] "
    rb"|WARNING: (Read-only tensor|Logging before|All log messages before)"
    rb"|[IW]\d{4} [\d:. ]+\S+\.cc:\d+\] "
    rb"(GPU sup|GL version|Feedback manager requires|Using NORM_RECT without"
    rb"|Input tensor memory is not aligned)"
    rb"|\[.+ logging\.cc:\d+: Set ray log level )"
)
"""Lines that TFLite, MediaPipe and Ray write at every start although nothing is wrong."""


_TAKEN = threading.RLock()
"""Held while stderr is taken: of two threads, the second would put back what the first had put."""


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold back stderr while the block runs, then pass on every line that is not chatter.

    The libraries write from C++ to the file descriptor and have no switch for it, so that
    `contextlib.redirect_stderr` would not catch them. Only for constructing and closing networks
    and for starting Ray. What another thread writes in the meantime is passed on too.
    """
    with _TAKEN:
        yield from _take_stderr()


def _take_stderr() -> Iterator[None]:
    try:
        terminal = os.dup(STDERR)
    except OSError:  # no stderr, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as held:
        try:
            if sys.stderr is not None and not sys.stderr.closed:  # as under pythonw
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
PEOPLE_FILE = "people.zip"
SOUNDNESS_FILE = "hand_soundness.zip"
PALM_NETWORK = "hand_detector.tflite"
LANDMARK_NETWORK = "hand_landmarks_detector.tflite"
POSE_NETWORK = "pose_detector.tflite"
POSE_LANDMARK_NETWORK = "pose_landmarks_detector.tflite"
FACE_NETWORK = "face_detector.tflite"
SOUNDNESS_NETWORK = "hand_soundness.tflite"
BUNDLE_OF = {
    **dict.fromkeys((PALM_NETWORK, LANDMARK_NETWORK), TASK_FILE),
    **dict.fromkeys((POSE_NETWORK, POSE_LANDMARK_NETWORK, FACE_NETWORK), PEOPLE_FILE),
    SOUNDNESS_NETWORK: SOUNDNESS_FILE,
}
"""Network -> the zip in assets/ that holds it."""


def read_bundle(name: str) -> bytes:
    """Return a bundled zip of networks.

    Raises BackendUnavailable if the installation is incomplete.
    """
    path = resources.files("handrefiner_ext") / "assets" / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise BackendUnavailable(
            f"The networks in {name} cannot be read ({error}); install handrefiner again."
        ) from error


def read_network(name: str) -> bytes:
    """Return one TFLite network from its bundle.

    Raises BackendUnavailable if the installation is incomplete or damaged.
    """
    packed = read_bundle(BUNDLE_OF[name])
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as bundle:
            return bundle.read(name)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise BackendUnavailable(
            f"{BUNDLE_OF[name]} is damaged ({error}); install handrefiner again."
        ) from error


THREADS = 2


class TfliteNetwork:
    """One network; calls from several threads wait for one another.

    side: of the pictures that it is shown, pixels; without it that of the file.
    """

    def __init__(self, name: str, side: int | None = None) -> None:
        interpreter = _import_interpreter()
        content = read_network(name)
        with without_chatter():
            try:
                self._net = interpreter(model_content=content, num_threads=THREADS)
            except ValueError as error:
                raise BackendUnavailable(
                    f"{name} is damaged ({error}); install handrefiner again."
                ) from error
            self._input = self._net.get_input_details()[0]["index"]
            if side is not None:
                self._net.resize_tensor_input(self._input, [1, side, side, 3])
            self._net.allocate_tensors()
        self._outputs = [detail["index"] for detail in self._net.get_output_details()]
        self._lock = threading.Lock()

    def run(self, picture: NDArray[np.float32]) -> list[FloatArray]:
        """Run on a (side, side, 3) picture in 0..1; return the outputs without the batch axis."""
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
