"""Backends that are asked only where the chosen ones explain a hand badly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.protocols import Detector, Reconstructor
from handrefiner_ext.registry import DETECTORS, RECONSTRUCTORS, Registry

EMBEDDED = "open_hand"
"""The reconstructor that is there everywhere."""


@dataclass
class Spares:
    """Built when first asked, left out where they cannot be. build: registry, name -> backend."""

    detector_names: tuple[str, ...] = ()
    reconstructor_names: tuple[str, ...] = ()
    build: Callable[[Registry, str], Any] = Registry.build

    @cached_property
    def detectors(self) -> tuple[Detector, ...]:
        return tuple(self._build(DETECTORS, self.detector_names))

    @cached_property
    def reconstructors(self) -> tuple[Reconstructor, ...]:
        return tuple(self._build(RECONSTRUCTORS, self.reconstructor_names))

    def _build(self, registry: Registry, names: tuple[str, ...]) -> list[Any]:
        built = []
        for name in names:
            try:
                built.append(self.build(registry, name))
            except BackendUnavailable:
                continue
        return built


@dataclass(frozen=True)
class Backends:
    """Who reads and fits a hand; the spares only where these two explain it badly."""

    detector: Detector
    reconstructor: Reconstructor
    spares: Spares = field(default_factory=Spares)
