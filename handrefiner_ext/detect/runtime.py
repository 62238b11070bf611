"""Run the TFLite networks that ship with the package, and decode those that detect.

LiteRT runs them, without its chatter on stderr. The palm, pose and face networks are single-shot
detectors with fixed square anchors (Liu et al. 2016, arXiv 1512.02325; BlazeFace, Bazarevsky et al.
2019, arXiv 1907.05047). Overlapping boxes are averaged, weighted by score, as BlazeFace does
("blending"), rather than suppressed.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any, NamedTuple

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


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold back stderr while the block runs, then pass on every line that is not chatter.

    The libraries write from C++ to the file descriptor and have no switch for it, so that
    `contextlib.redirect_stderr` would not catch them. Only for constructing and closing networks
    and for starting Ray. What another thread writes in the meantime is passed on too.
    """
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
PALM_NETWORK = "hand_detector.tflite"
LANDMARK_NETWORK = "hand_landmarks_detector.tflite"
POSE_NETWORK = "pose_detector.tflite"
POSE_LANDMARK_NETWORK = "pose_landmarks_detector.tflite"
FACE_NETWORK = "face_detector.tflite"
BUNDLE_OF = {
    **dict.fromkeys((PALM_NETWORK, LANDMARK_NETWORK), TASK_FILE),
    **dict.fromkeys((POSE_NETWORK, POSE_LANDMARK_NETWORK, FACE_NETWORK), PEOPLE_FILE),
}
"""Network -> the uncompressed zip in assets/ that holds it."""


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
    """Return one TFLite network from its bundle."""
    with zipfile.ZipFile(io.BytesIO(read_bundle(BUNDLE_OF[name]))) as bundle:
        return bundle.read(name)


THREADS = 2


class TfliteNetwork:
    """One network; calls from several threads wait for one another."""

    def __init__(self, name: str) -> None:
        interpreter = _import_interpreter()
        with without_chatter():
            self._net = interpreter(model_content=read_network(name), num_threads=THREADS)
            self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
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


SAME_OVERLAP = 0.3
"""Overlap above which two boxes are averaged (`min_suppression_threshold` in MediaPipe)."""
SCORE_CLIP = 100.0
"""Bound on a logit (`score_clipping_thresh` of MediaPipe's graphs)."""


class AnchorGrid(NamedTuple):
    """Square grid of anchors: cells along a side, anchors in each cell."""

    cells: int
    copies: int

    def centers(self) -> FloatArray:
        """Return the (cells * cells * copies, 2) centres in the unit square, row by row."""
        line = (np.arange(self.cells) + 0.5) / self.cells
        y, x = np.meshgrid(line, line, indexing="ij")
        return np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), self.copies, axis=0)


def decode(
    raw: FloatArray,
    logits: FloatArray,
    threshold: float,
    anchors: FloatArray,
    size: int,
    points: int,
) -> tuple[FloatArray, FloatArray]:
    """Decode the boxes that score at least `threshold`, best first.

    raw: (n, 4 + 2 * points) centre, size and points in pixels of a `size` network; logits: (n,).
    Returns (m, 4 + 2 * points) x0, y0, x1, y1 and the points in the unit square, and (m,) scores.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -SCORE_CLIP, SCORE_CLIP)))
    kept = np.flatnonzero((scores >= threshold) & (raw[:, 2] > 0) & (raw[:, 3] > 0))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    values = raw[kept].astype(np.float64) / size
    centers = anchors[kept]
    half = values[:, 2:4] / 2
    middle = values[:, :2] + centers
    placed = values[:, 4:] + np.tile(centers, points)
    return np.concatenate([middle - half, middle + half, placed], axis=1), scores[kept]


def blend(boxes: FloatArray, scores: FloatArray, limit: int) -> list[tuple[float, FloatArray]]:
    """Average overlapping boxes, weighted by score; return up to `limit` (score, box) pairs.

    The boxes must come best first; so do the results.
    """
    found: list[tuple[float, FloatArray]] = []
    while len(boxes) and len(found) < limit:
        same = overlaps(boxes[0], boxes) > SAME_OVERLAP
        same[0] = True
        weights = scores[same]
        found.append((float(scores[0]), weights @ boxes[same] / weights.sum()))
        boxes, scores = boxes[~same], scores[~same]
    return found


def overlaps(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Return the (n,) intersections over union of one box with (n, ≥4) boxes x0, y0, x1, y1."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:4], boxes[:, 2:4])
    common = np.prod(np.clip(high - low, 0.0, None), axis=1)
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
    union = np.prod(box[2:4] - box[:2]) + areas - common
    ratio: FloatArray = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ratio
