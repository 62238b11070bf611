"""A stand-in of the host's X/Y/Z plot: its axes, and runs with copies of one request.

Facts: scripts/xyz_grid.py, lines 214-223 (AxisOption), 558-613 (values), 711-715 (cells).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from modules import scripts
from modules.processing import Processed, process_images


class AxisOption:
    """type: called on each text. apply(p, value, values). confirm raises for what cannot be."""

    def __init__(
        self,
        label: str,
        type: Callable[[str], Any],
        apply: Callable[[Any, Any, list[Any]], None],
        confirm: Callable[[Any, list[Any]], None] | None = None,
        cost: float = 0.0,
        choices: Callable[[], list[str]] | None = None,
    ) -> None:
        self.label = label
        self.type = type
        self.apply = apply
        self.confirm = confirm
        self.cost = cost
        self.choices = choices


axis_options = [AxisOption("Nothing", str, lambda p, x, xs: None)]


class XYZGrid(scripts.Script):
    """Chosen from the list of scripts."""

    def title(self) -> str:
        return "X/Y/Z plot"

    def run(self, p: Any, label: str, texts: str) -> list[Processed]:
        """Return what came of each value; the cells' copies share the dictionaries of `p`."""
        axis = next(option for option in axis_options if option.label == label)
        values = [axis.type(text.strip()) for text in texts.split(",")]
        if axis.confirm is not None:
            axis.confirm(p, values)
        results = []
        for value in values:
            cell = copy.copy(p)
            axis.apply(cell, value, values)
            results.append(process_images(cell))
        return results
