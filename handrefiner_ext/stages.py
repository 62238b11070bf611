"""Build the backends of a run, here and nowhere else, and keep them in a cache.

Command line, Python interface, API, panel and cluster all use this module, so that each gets the
models folder and the device it was given, and no network is loaded twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import RLock
from typing import Any

from handrefiner_ext.errors import BackendUnavailable, WeightsError
from handrefiner_ext.hands.meshing import Mesher, find_meshes
from handrefiner_ext.hands.readings import NO_FALLBACKS, Backends, Fallbacks
from handrefiner_ext.judge.agreement import measure_agreement
from handrefiner_ext.judge.quality import HandQuality
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import (
    Advising,
    Detector,
    Inpainter,
    Judge,
    PaintRequest,
    Preparing,
    QualityMeter,
    Reconstructor,
    Renderer,
)
from handrefiner_ext.registry import (
    AUTO,
    DETECTORS,
    EMBEDDED,
    INPAINTERS,
    RECONSTRUCTORS,
    RENDERERS,
    Registry,
)
from handrefiner_ext.repaint.task import paint_several
from handrefiner_ext.types import Image, ModelHome, Painting

Build = Callable[[Registry, str], Any]
"""Takes a registry and a name, returns the backend."""


class BackendCache:
    """Builds each backend once and keeps it.

    One backend is kept for each name. If it depends on the home (its files or its device) and a
    different home is asked for, the old one is dropped before the new one is built, so that two
    copies of a network are never in memory. It may be used from several threads.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._kept: dict[tuple[str, str], tuple[ModelHome, Any]] = {}

    def build(self, registry: Registry, name: str, home: ModelHome) -> Any:
        """Return the backend `name` of `registry`; BackendUnavailable if it cannot be used here.

        For `auto`, return the first one that can be used.
        """
        with self._lock:
            if name == AUTO:
                return registry.find_first(lambda listed: self.build(registry, listed, home))
            key = (registry.kind, name)
            if key in self._kept:
                built_for, backend = self._kept[key]
                if built_for == home or not registry.takes(name, "home"):
                    return backend
                del self._kept[key]
            backend = registry.build(name, home=home)
            self._kept[key] = (home, backend)
            return backend

    def clear(self) -> None:
        """Drop every backend."""
        with self._lock:
            self._kept.clear()


CACHE = BackendCache()
"""One for the whole process, because some backends are never freed before it ends."""


def build_meter(home: ModelHome) -> QualityMeter:
    """Return what measures quality; it always fits the open hand, whatever `mesh` is."""
    return HandQuality(CACHE.build(RECONSTRUCTORS, EMBEDDED, home))


@dataclass(frozen=True)
class Stages:
    """The backends that do the work; the caller owns the record, the cache the backends."""

    detector: Detector
    reconstructor: Reconstructor
    renderer: Renderer
    inpainter: Inpainter
    judge: Judge = measure_agreement
    meter: QualityMeter = field(default_factory=partial(build_meter, ModelHome()))
    fallbacks: Fallbacks = NO_FALLBACKS
    mesher: Mesher = find_meshes

    @property
    def backends(self) -> Backends:
        """Return the backends that read and fit a hand."""
        return Backends(self.detector, self.reconstructor, self.fallbacks)


@dataclass
class LazyInpainter:
    """An inpainting backend that is built when it first paints, because hints need none."""

    name: str
    home: ModelHome

    @cached_property
    def backend(self) -> Inpainter:
        backend: Inpainter = CACHE.build(INPAINTERS, self.name, self.home)
        return backend

    def prepare(self, params: RefineParams) -> None:
        """Load what the backend needs, so that anything missing is reported at once."""
        if isinstance(self.backend, Preparing):
            self.backend.prepare(params)

    def advise(self, params: RefineParams) -> tuple[str, ...]:
        """Return the backend's advice on `params`."""
        return self.backend.advise(params) if isinstance(self.backend, Advising) else ()

    def paint(self, request: PaintRequest) -> Image:
        return self.backend.paint(request)

    def paint_candidates(self, request: PaintRequest, count: int) -> Painting:
        return paint_several(self.backend, request, count)


def build_stages(
    params: RefineParams, home: ModelHome, inpainter: Inpainter | None = None
) -> Stages:
    """Return the backends that `params` names; BackendUnavailable if one cannot be used here.

    Arguments:
        home: where the backends find their files and compute; `ModelHome()` for the standard
            folders and the best device. It is required because a backend built without the
            caller's home silently ignores the user's models folder and device.
        inpainter: one that belongs to this picture, instead of the one that `params.backend` names.
    """

    def build(registry: Registry, name: str) -> Any:
        return CACHE.build(registry, name, home)

    detector = build(DETECTORS, params.detector)
    reconstructor = build(RECONSTRUCTORS, params.mesh)
    return Stages(
        detector=detector,
        reconstructor=reconstructor,
        renderer=build(RENDERERS, params.renderer),
        inpainter=LazyInpainter(params.backend, home) if inpainter is None else inpainter,
        meter=build_meter(home),
        fallbacks=choose_fallbacks(detector, reconstructor, params, build),
    )


def build_renderer(params: RefineParams, home: ModelHome) -> Renderer:
    """Return the renderer that `params` names."""
    renderer: Renderer = CACHE.build(RENDERERS, params.renderer, home)
    return renderer


SAME_NETWORKS = ("yolo", "litert")
"""Detectors that read a hand alike, so that asking the other one again is of no use."""


def choose_fallbacks(
    detector: Detector, reconstructor: Reconstructor, params: RefineParams, build: Build
) -> Fallbacks:
    """Return the other detectors if the user left the choice to us, and the embedded mesh."""
    alike = SAME_NETWORKS if detector.name in SAME_NETWORKS else (detector.name,)
    others = [name for name in DETECTORS.names() if name not in alike]
    return Fallbacks(
        tuple(others) if params.detector == AUTO else (),
        (EMBEDDED,) if reconstructor.name != EMBEDDED else (),
        build,
    )


def list_obstacles(home: ModelHome) -> dict[str, dict[str, str | None]]:
    """Return stage -> backend -> why it cannot be used here, or None where it can."""
    registries = (DETECTORS, RECONSTRUCTORS, RENDERERS, INPAINTERS)
    return {
        registry.kind: {name: _find_obstacle(registry, name, home) for name in registry.names()}
        for registry in registries
    }


def _find_obstacle(registry: Registry, name: str, home: ModelHome) -> str | None:
    try:
        CACHE.build(registry, name, home)
    except (BackendUnavailable, WeightsError) as error:
        return str(error)
    return None
