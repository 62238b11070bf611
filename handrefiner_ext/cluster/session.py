"""Ray: start it on this machine or join a running cluster, map work over it, leave it again."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from handrefiner_ext.errors import BackendUnavailable, ClusterError, how_to_install
from handrefiner_ext.tflite import without_chatter

logger = logging.getLogger(__name__)
STORE_BYTES = 1 << 30
"""Memory for objects that travel between the workers of this machine; the rest goes to disk."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",
}
"""No usage statistics are sent, Ray's own messages stay in its logs, and workers have the priority
of the command itself (by default Ray gives them a lower one: beside other work they starved)."""
QUIETLY = {"log_to_driver": False, "logging_level": logging.CRITICAL}
START_TRIES = 3
AHEAD = 3
"""Results that may wait for each processor core."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def import_ray() -> Any:
    """Return the package with `ray.data`; BackendUnavailable if it is missing."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BackendUnavailable(
            f"--engine ray needs Ray ({error}); run {how_to_install('cluster')}."
        ) from error
    return ray


@contextmanager
def open_session(address: str | None, jobs: int | None) -> Iterator[Any]:
    """Yield the package, connected; what was started here ends with the block.

    address: of a running cluster; None starts Ray on this machine for the block, with `jobs`
    processor cores (None = all). An existing connection is used and kept.
    """
    ray = import_ray()
    mine = not ray.is_initialized()
    if mine:
        _connect(ray, address, jobs)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with _node_quiet(ray):
            yield ray
    finally:
        if mine:
            ray.shutdown()


@contextmanager
def _node_quiet(ray: Any) -> Iterator[None]:
    """Keep the lines that begin with (raylet) off stdout while the block runs, and log them.

    Ray prints them where a worker dies, whatever `log_to_driver` says; the picture's own line says
    what became of it.
    """
    worker = ray._private.worker
    before = getattr(worker, "print_to_stdstream", None)
    if before is None:  # a version that does it in another way
        yield
        return
    worker.print_to_stdstream = _log_lines
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def _log_lines(data: Mapping[str, Any], *_: Any, **__: Any) -> None:
    for line in data.get("lines", ()):
        logger.info("Ray says: %s", line)


def _connect(ray: Any, address: str | None, jobs: int | None) -> None:
    if address is None:
        _start(ray, jobs)
        return
    try:
        with without_chatter():
            ray.init(address, **QUIETLY)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(
            f"No Ray cluster can be joined at {address} ({_first_line(error)}); start one with: "
            "ray start --head, or leave out --address to work on this machine."
        ) from error


def _start(ray: Any, jobs: int | None) -> None:
    """Start Ray on this machine; a busy one may be too slow for the 30 s that Ray allows itself."""
    room = {"num_cpus": jobs, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    for left in reversed(range(START_TRIES)):
        try:
            with without_chatter():
                # "local", since an address in the environment would have Ray join that cluster.
                ray.init("local", **room, **QUIETLY)
            return
        except Exception as error:  # Ray raises nothing narrower
            ray.shutdown()
            if not left:
                raise ClusterError(
                    f"Ray cannot be started on this machine ({_first_line(error)}); try again when "
                    "it has less to do, or leave out --engine ray."
                ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def map_on_ray(
    work: Callable[[Item], Result], items: Iterable[Item], address: str | None, jobs: int | None
) -> Iterator[Result]:
    """Yield `work(item)` of every item in order; what a worker that dies had is done again."""
    with open_session(address, jobs) as ray:
        remote = ray.remote(num_cpus=1)(_apply)
        shared = ray.put(work)
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(remote.remote(shared, item))
                if len(waiting) >= AHEAD * cores:
                    yield ray.get(waiting.popleft())
            while waiting:
                yield ray.get(waiting.popleft())
        except ray.exceptions.RayError as error:
            raise ClusterError(f"Ray broke off: {str(error).strip().splitlines()[0]}") from error


def _apply(work: Callable[[Item], Result], item: Item) -> Result:
    return work(item)
