"""Name -> backend, listed without importing it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from handrefiner_ext.errors import BackendUnavailable, UnknownBackend

AUTO = "auto"


class Registry:
    """The backends of one stage, in the order in which `auto` tries them."""

    def __init__(self, kind: str, **where: str) -> None:
        self.kind = kind
        self.where = dict(where)

    def names(self) -> tuple[str, ...]:
        return tuple(self.where)

    def choices(self) -> tuple[str, ...]:
        """What a user may write: `auto` and every name."""
        return (AUTO, *self.where)

    def build(self, name: str, **options: Any) -> Any:
        """Import the backend `name` (or the first available one for `auto`) and construct it.

        Raises UnknownBackend for a name that is not listed, BackendUnavailable where what the
        backend needs is missing.
        """
        if name == AUTO:
            return self._build_first_available(options)
        if name not in self.where:
            raise UnknownBackend(
                f"{self.kind} {name!r} does not exist; choose one of {', '.join(self.choices())}."
            )
        module, _, attribute = self.where[name].partition(":")
        return getattr(import_module(module), attribute)(**options)

    def _build_first_available(self, options: dict[str, Any]) -> Any:
        reasons = []
        for name in self.where:
            try:
                return self.build(name, **options)
            except BackendUnavailable as error:
                reasons.append(str(error))
        raise BackendUnavailable(f"No {self.kind} can be used here. " + " ".join(reasons))


DETECTORS = Registry(
    "detector",
    litert="handrefiner_ext.detect.litert:LitertDetector",
    mediapipe="handrefiner_ext.detect.mediapipe:MediapipeDetector",
)
RECONSTRUCTORS = Registry(
    "mesh",
    open_hand="handrefiner_ext.mesh.open_hand:OpenHandReconstructor",
)
RENDERERS = Registry(
    "renderer",
    raster="handrefiner_ext.render.raster:RasterRenderer",
    pyrender="handrefiner_ext.render.pyrender:PyrenderRenderer",
)
INPAINTERS = Registry(
    "backend",
    draft="handrefiner_ext.inpaint.draft:DraftInpainter",
)
