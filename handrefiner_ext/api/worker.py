"""Does what the routes ask for, one request at a time, so that memory stays that of one."""

from __future__ import annotations

from threading import Lock

from handrefiner_ext import pipeline
from handrefiner_ext.api.body import Problem, Request
from handrefiner_ext.api.services import Services
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import Stages
from handrefiner_ext.registry import DETECTORS, INPAINTERS, RECONSTRUCTORS, RENDERERS, Registry
from handrefiner_ext.types import Hints, RefineResult

NO_PAINTER = (
    "No WebUI with a loaded model paints here. Start the WebUI with --api, or name a backend in "
    f"the body: one of {', '.join(INPAINTERS.names())}."
)


class Worker:
    """Keeps the backends of the last request for the next one."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = Lock()
        self._kept: tuple[object, Stages] | None = None

    def hints(self, request: Request) -> Hints:
        with self._lock:
            stages = self._stages(request.params)
            image = request.picture.image
            return pipeline.hints(image, request.params, stages, request.drawn_mask)

    def refine(self, request: Request) -> RefineResult:
        """By the WebUI's model, or by the backend that the request names."""
        image, params, mask = request.picture.image, request.params, request.drawn_mask
        self._services.check(params)
        if "backend" in request.named:
            with self._lock:
                return pipeline.refine(image, params, self._stages(params), mask)
        if self._services.refine is None:
            raise Problem(501, NO_PAINTER)
        with self._services.lock:
            return self._services.refine(image, params, mask)

    def _stages(self, params: RefineParams) -> Stages:
        key = (params.detector, params.mesh, params.renderer, params.backend)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, pipeline.build_stages(params))
        return self._kept[1]


def list_backends() -> dict[str, dict[str, str | None]]:
    """Stage -> name -> why it cannot be used, or None where it can."""
    stages = (DETECTORS, RECONSTRUCTORS, RENDERERS, INPAINTERS)
    return {
        stage.kind: {name: _obstacle(stage, name) for name in stage.names()} for stage in stages
    }


def _obstacle(stage: Registry, name: str) -> str | None:
    try:
        stage.build(name)
    except BackendUnavailable as error:
        return str(error)
    return None
