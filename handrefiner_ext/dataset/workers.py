"""Scenes made by several processes, handed over in order, with few of them in memory."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar

from handrefiner_ext.files.processes import Processes, Worker, describe_end

Item = TypeVar("Item")
Result = TypeVar("Result")
Numbered = tuple[int, Item]
Lose = Callable[[Item, str], Result]
AHEAD = 3
"""Results that may wait for each process."""
NO_MEMORY = 12
"""The code with which a process ends that has none left, ENOMEM."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], jobs: int, lose: Lose[Item, Result]
) -> Iterator[Result]:
    """`work` of every item, in their order; work, items and results can be pickled.

    An item whose process dies is tried once more, alone. lose: gives the result of one that died
    again, from it and from how its process ended.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")  # read by the new processes when they import numpy
    left = iter(enumerate(items))
    done: dict[int, Result] = {}
    died: list[Numbered[Item]] = []
    after = 0  # the number of the result that is handed over next
    with Processes(partial(_start, work), jobs) as processes:
        while waiting := deque(islice(left, AHEAD * jobs)):
            made = processes.share_out(waiting, jobs, lambda worker: died.append(worker.its_item))
            for (number, _), result in made:
                done[number] = _demand(result)
                while after in done:
                    yield done.pop(after)
                    after += 1
                    # After a death the others finish, and what died has the memory to itself.
                    waiting.extend(islice(left, 0 if died else 1))
            if died and len(processes.workers) > 1:
                processes.dismiss()
            for item in died:
                done[item[0]] = _try_alone(processes, item, lose)
            died.clear()
            while after in done:
                yield done.pop(after)
                after += 1


def _try_alone(
    processes: Processes[Numbered[Item], Result | Exception],
    item: Numbered[Item],
    lose: Lose[Item, Result],
) -> Result:
    dead: list[Worker[Numbered[Item]]] = []
    for _, result in processes.share_out(deque([item]), 1, dead.append):
        return _demand(result)
    return lose(item[1], describe_end(dead[0]))


def _demand(result: Result | Exception) -> Result:
    if isinstance(result, Exception):
        raise result
    return result


def _start(
    work: Callable[[Item], Result],
) -> Callable[[Numbered[Item]], Result | Exception]:
    return partial(_work_on, work)


def _work_on(work: Callable[[Item], Result], item: Numbered[Item]) -> Result | Exception:
    """In the process: an error goes to the parent, which raises it; want of memory is a death."""
    try:
        return work(item[1])
    except MemoryError:
        sys.exit(NO_MEMORY)
    except Exception as error:
        return error
