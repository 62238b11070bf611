"""Any work on many items by Ray, handed over in order, with few results in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from handrefiner_ext.cluster.session import open_session
from handrefiner_ext.errors import ClusterError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 3
"""Results that may wait for each processor core."""


def map_on_ray(
    work: Callable[[Item], Result], items: Iterable[Item], address: str | None, jobs: int | None
) -> Iterator[Result]:
    """`work` of every item, in their order; a worker that dies has its items done again."""
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
