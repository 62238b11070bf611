"""A TFLite network run by LiteRT."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.detect.model import read_network
from handrefiner_ext.detect.quiet import hushed
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.types import FloatArray

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
