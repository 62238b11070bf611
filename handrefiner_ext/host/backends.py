"""The stages inside the WebUI: networks load once per process and serve every run."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from handrefiner_ext.hands.fallbacks import choose_spares
from handrefiner_ext.host.settings import read_model_home
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import Stages
from handrefiner_ext.protocols import Inpainter, Renderer
from handrefiner_ext.registry import DETECTORS, RECONSTRUCTORS, RENDERERS, Registry
from handrefiner_ext.types import ModelHome


@lru_cache(maxsize=16)
def _build(registry: Registry, name: str, home: ModelHome) -> Any:
    return registry.build(name, home=home)


def renderer_of(params: RefineParams) -> Renderer:
    renderer: Renderer = _build(RENDERERS, params.renderer, ModelHome())
    return renderer


def stages_with(inpainter: Inpainter, params: RefineParams) -> Stages:
    """What `params` names, with an inpainter that belongs to one picture."""
    home = read_model_home()

    def build(registry: Registry, name: str) -> Any:
        return _build(registry, name, home)

    detector = _build(DETECTORS, params.detector, ModelHome())
    reconstructor = build(RECONSTRUCTORS, params.mesh)
    return Stages(
        detector=detector,
        reconstructor=reconstructor,
        renderer=renderer_of(params),
        inpainter=inpainter,
        spares=choose_spares(detector, reconstructor, params, build),
    )
