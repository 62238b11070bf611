"""The lock around everything that computes, and the jobs of the page (call_queue.py:8-60)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from modules import shared

queue_lock = Lock()


def wrap_gradio_gpu_call(
    func: Callable[..., Any], extra_outputs: Sequence[Any] | None = None
) -> Callable[..., tuple[Any, ...]]:
    """Return `func` as a job of the WebUI that ends whatever happens; value 0 is its name."""

    def wrapped(*values: Any) -> tuple[Any, ...]:
        with queue_lock:
            shared.state.begin(job=values[0])
            try:
                answer = tuple(func(*values))
            finally:
                shared.state.end()
        return (*answer[:-1], f"{answer[-1]}<div class='performance'></div>")

    return wrapped
