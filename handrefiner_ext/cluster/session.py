"""Ray, started on this machine or joined where it runs, quiet, and left again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from handrefiner_ext.detect.runtime import without_chatter
from handrefiner_ext.errors import BackendUnavailable, ClusterError

STORE_BYTES = 1 << 30
"""Of the objects that travel between workers of this machine; more is spilled to disk."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",
}
"""Nothing is sent to Ray's makers, its own messages stay in its logs, and workers are as urgent as
the command itself (Ray has them wait for everything else: beside other work they starved)."""
QUIETLY = {"log_to_driver": False, "logging_level": logging.CRITICAL}
START_TRIES = 3


def import_ray() -> Any:
    """The package with `ray.data`; BackendUnavailable where it is missing."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BackendUnavailable(
            f"--engine ray needs Ray ({error}); install it with: "
            'pip install "handrefiner[cluster]".'
        ) from error
    return ray


@contextmanager
def open_session(address: str | None, jobs: int | None) -> Iterator[Any]:
    """The package, connected; what was started here ends with the block.

    address: of a running cluster; None starts Ray on this machine for the block, with `jobs`
    processor cores (None = all). A connection that stands already is used and kept.
    """
    ray = import_ray()
    mine = not ray.is_initialized()
    if mine:
        _connect(ray, address, jobs)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


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
    """Ray on this machine; a busy one may be too slow for the 30 s that Ray gives itself."""
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
