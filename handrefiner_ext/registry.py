"""List the backends by name; each is imported only when it is built."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from typing import Any

from handrefiner_ext.errors import BackendUnavailable, UnknownBackend, show

AUTO = "auto"
EMBEDDED = "open_hand"
"""The reconstructor that works everywhere: it needs neither torch nor a download."""
NAME = re.compile(r"[a-z][a-z0-9_]*")

logger = logging.getLogger(__name__)


class Registry:
    """The backends of one stage, in the order in which `auto` tries them.

    kind: the stage's name in messages. where: name -> "module:attribute". plugins: group of entry
    points under which other packages offer backends; these come last.
    """

    def __init__(self, kind: str, plugins: str | None = None, **where: str) -> None:
        self.kind = kind
        self.offered = {} if plugins is None else _read_plugins(plugins, {AUTO, *where})
        self.where = {**where, **self.offered}

    def names(self) -> tuple[str, ...]:
        return tuple(self.where)

    def choices(self) -> tuple[str, ...]:
        """Return what a user may write: `auto` and every name."""
        return (AUTO, *self.where)

    def build(self, name: str, **options: Any) -> Any:
        """Import the backend `name` (or the first available one for `auto`) and construct it.

        Arguments:
            options: the constructor gets those of them that it takes.

        Raises UnknownBackend for a name that is not listed, and BackendUnavailable if something
        that the backend needs is missing.
        """
        if name == AUTO:
            return self.find_first(lambda listed: self.build(listed, **options))
        if name not in self.where:
            raise UnknownBackend(
                f"{self.kind} {show(name)} does not exist; choose one of "
                f"{', '.join(self.choices())}."
            )
        factory = self._find(name)
        return factory(**_select_known(factory, options))

    def _find(self, name: str) -> Any:
        """Return the class or function behind a name; BackendUnavailable for a broken plugin."""
        module, _, attribute = self.where[name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            if name not in self.offered:
                raise
            raise BackendUnavailable(
                f"The {self.kind} {name!r}, which another package offers as {self.where[name]}, "
                f"cannot be imported ({error}); update or uninstall that package."
            ) from error

    def takes(self, name: str, option: str) -> bool:
        """Whether building the backend `name` depends on an option."""
        return option in signature(self._find(name)).parameters

    def find_first(self, build: Callable[[str], Any]) -> Any:
        """Build the first backend that is available, in the order of `auto`.

        Raises BackendUnavailable with the reasons of all if none is.
        """
        reasons = []
        for name in self.where:
            try:
                return build(name)
            except BackendUnavailable as error:
                reasons.append(str(error))
        raise BackendUnavailable(f"No {self.kind} can be used here. " + " ".join(reasons))


def _select_known(factory: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a constructor takes: not every backend needs files or a device."""
    known = signature(factory).parameters if options else {}
    return {name: value for name, value in options.items() if name in known}


def _read_plugins(group: str, taken: set[str]) -> dict[str, str]:
    """Return name -> place of every backend that installed packages offer; import none."""
    found: dict[str, str] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        if point.name in taken | set(found) or not NAME.fullmatch(point.name):
            reason = "%s is not used: its name %r in %s is taken or is not a plain word."
            logger.warning(reason, point.value, point.name, group)
        else:
            found[point.name] = point.value.partition("[")[0].strip()
    return found


DETECTORS = Registry(
    "detector",
    yolo="handrefiner_ext.detect.yolo:YoloDetector",
    litert="handrefiner_ext.detect.litert:LitertDetector",
    mediapipe="handrefiner_ext.detect.mediapipe:MediapipeDetector",
)
RECONSTRUCTORS = Registry(
    "mesh",
    plugins="handrefiner.reconstructors",
    graphormer="handrefiner_ext.mesh.graphormer.backend:GraphormerReconstructor",
    open_hand="handrefiner_ext.mesh.open_hand:OpenHandReconstructor",
)
RENDERERS = Registry(
    "renderer",
    raster="handrefiner_ext.render.renderers:RasterRenderer",
    pyrender="handrefiner_ext.render.renderers:PyrenderRenderer",
)
INPAINTERS = Registry(
    "backend",
    draft="handrefiner_ext.inpaint.draft:DraftInpainter",
    diffusers="handrefiner_ext.repaint.regions:build_diffusers",
)
