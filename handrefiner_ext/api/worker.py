"""The routes' work, one request at a time so that memory stays bounded, and the host's services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from handrefiner_ext import pipeline
from handrefiner_ext.api.body import Problem, Request
from handrefiner_ext.api.bounds import ROUTE_PIXELS, TimedDetector
from handrefiner_ext.api.last import LastRun
from handrefiner_ext.params import RefineParams
from handrefiner_ext.registry import INPAINTERS
from handrefiner_ext.report import told
from handrefiner_ext.stages import Stages, build_stages, list_obstacles
from handrefiner_ext.types import Given, Hints, Image, ModelHome, RefineResult

Refine = Callable[[Image, RefineParams, Given], RefineResult]


@dataclass(frozen=True)
class ControlModel:
    """One installed control model."""

    name: str = told("Value for control_model.")
    recommended_strength: float | None = told(
        "Strength that suits it, where one is known.", default=None
    )


@dataclass(frozen=True)
class ModelList:
    """What a host has installed, and what it would take."""

    control_models: tuple[ControlModel, ...] = told("Installed ControlNet models.", default=())
    checkpoint_family: str | None = told("Family of the loaded checkpoint.", default=None)
    chosen: str | None = told("What control_model auto takes now.", default=None)
    reason: str = told(
        "Why it takes that one, or none.",
        default="No WebUI is running here, so there are no control models.",
    )


@dataclass(frozen=True)
class ModelsReport(ModelList):
    """What can be chosen here."""

    backends: dict[str, dict[str, str | None]] = told(
        "Stage, name, and why it cannot be used (null: it can).", default_factory=dict
    )


@dataclass(frozen=True)
class VersionReport:
    """Who answers."""

    version: str = told("Of the extension.")
    host: str = told("The program that serves it.")
    computes: bool = told("Whether /hints and /refine are there; the WebUI needs --api for them.")


@dataclass(frozen=True)
class Services:
    """What the program that serves the routes offers them.

    host: its name and version. users: name -> password of the API; empty = open.
    heavy: whether the routes that compute are added. home: where models lie and compute.
    check: raises InvalidParameter for what only the program can know to be wrong.
    refine: the WebUI's own second pass. lock: held while the graphics card works.
    most_pixels: of a picture that is sent. last: the pictures of the host's last run, if it keeps
    any. rewrite: takes an infotext and what it is to say of the hands, returns the infotext.
    """

    host: str = "none"
    users: Mapping[str, str] = field(default_factory=dict)
    heavy: bool = True
    home: Callable[[], ModelHome] = ModelHome
    list_models: Callable[[], ModelList] = ModelList
    check: Callable[[RefineParams], None] = lambda params: None
    refine: Refine | None = None
    lock: AbstractContextManager[Any] = field(default_factory=nullcontext)
    most_pixels: Callable[[], int] = lambda: ROUTE_PIXELS
    last: LastRun | None = None
    rewrite: Callable[[str, str], str] = lambda text, words: text


NO_PAINTER = (
    "No WebUI with a loaded model paints here. Start the WebUI with --api, or name a backend in "
    f"the body: one of {', '.join(INPAINTERS.names())}."
)


class Worker:
    """Finds and repaints hands for the routes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = Lock()

    def hints(self, request: Request) -> Hints:
        with self._lock:
            stages = self._build_stages(request.params)
            image, given = request.picture.image, request.given
            return pipeline.hints(image, request.params, stages, given.drawn_mask, given.depth_in)

    def refine(self, request: Request) -> RefineResult:
        """Repaint with the WebUI's model, or with the backend that the request names."""
        image, params, given = request.picture.image, request.params, request.given
        self._services.check(params)
        if "backend" in request.named:
            with self._lock:
                stages = self._build_stages(params)
                return pipeline.refine(image, params, stages, given.drawn_mask, given.depth_in)
        if self._services.refine is None:
            raise Problem(501, NO_PAINTER)
        with self._services.lock:
            return self._services.refine(image, params, given)

    def _build_stages(self, params: RefineParams) -> Stages:
        """Return the backends, whose work on this picture ends after a time."""
        stages = build_stages(params, self._services.home())
        return replace(stages, detector=TimedDetector(stages.detector, stages.detector.name))

    def list_backends(self) -> dict[str, dict[str, str | None]]:
        """Return stage -> name -> why the backend cannot be used, or None where it can."""
        with self._lock:
            return list_obstacles(self._services.home())
