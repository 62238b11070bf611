"""Probabilities and the natural logarithm of their odds."""

from __future__ import annotations

from math import exp, log

STEEPEST = 40.0


def log_odds(probability: float, edge: float) -> float:
    """0 at one half; a probability nearer to 0 or 1 than `edge` counts as so near."""
    bounded = min(max(probability, edge), 1.0 - edge)
    return log(bounded / (1.0 - bounded))


def logistic(x: float) -> float:
    """The probability whose log-odds are `x`."""
    return 1.0 / (1.0 + exp(-min(max(x, -STEEPEST), STEEPEST)))
