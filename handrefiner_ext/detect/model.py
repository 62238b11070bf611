"""The two hand networks, read from the bundled MediaPipe task file."""

from __future__ import annotations

import io
import zipfile
from importlib import resources

from handrefiner_ext.errors import BackendUnavailable

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
