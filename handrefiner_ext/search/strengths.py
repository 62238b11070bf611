"""Which strength is enough: the least whose hand comes about as near its mesh as full control.

HandRefiner's adaptive control strength (Lu et al. 2023, arXiv 2311.17957): the error
(MPJPE) at strength 1.0 is the reference, and the first of 0.4, 0.5 … 0.9 with an error below 1.15
times the reference is taken, else 1.0.
"""

from __future__ import annotations

from collections.abc import Callable

REFERENCE = 1.0
STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TOLERANCE = 1.15

ErrorAt = Callable[[float], float]
"""Strength -> error of the hand painted with it; infinite where no such hand is seen."""
Search = Callable[[ErrorAt], float]
"""The strength that is enough."""


def try_in_order(error_at: ErrorAt) -> float:
    """As in the paper: upwards until one is good enough; 2 to 7 pictures."""
    limit = TOLERANCE * error_at(REFERENCE)
    return next((s for s in STRENGTHS if error_at(s) < limit), REFERENCE)


def bisect(error_at: ErrorAt) -> float:
    """The same strength wherever a greater one never makes the error cross the limit upwards.

    The error falls once, at the phase transition that the paper describes, so halving what is left
    finds it with 3 or 4 pictures.
    """
    limit = TOLERANCE * error_at(REFERENCE)
    low, high = 0, len(STRENGTHS)
    while low < high:
        middle = (low + high) // 2
        if error_at(STRENGTHS[middle]) < limit:
            high = middle
        else:
            low = middle + 1
    return STRENGTHS[low] if low < len(STRENGTHS) else REFERENCE


SEARCHES: dict[str, Search] = {"paper": try_in_order, "fast": bisect}
