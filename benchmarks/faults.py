"""Faults that are planted at the boundaries of the product, in this process or in others.

Nothing in the product knows of them: `planted` replaces functions of its modules for a while. A
process of its own (a worker of --jobs, of Ray) does the same where SITE is on its PYTHONPATH and
PLAN in its environment; Python reads `sitecustomize` at its start.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from handrefiner_ext.errors import PictureError
from handrefiner_ext.files import log, page, run
from handrefiner_ext.pictures import disk
from handrefiner_ext.stages import Stages

PLAN = "HANDREFINER_CAMPAIGN"
"""Names the JSON file with the faults of a run."""
RAISED: dict[str, Callable[[], BaseException]] = {
    "input/output": lambda: OSError(5, "Input/output error"),
    "full disk": lambda: OSError(28, "No space left on device"),
    "denied": lambda: PermissionError(13, "Permission denied"),
    "memory": MemoryError,
    "opencv": lambda: cv2.error("(-215:Assertion failed) !empty()"),
    "value": lambda: ValueError("operands could not be broadcast together"),
    "key": lambda: KeyError("landmarks"),
    "type": lambda: TypeError("'NoneType' object is not subscriptable"),
    "assertion": AssertionError,
    "device": lambda: RuntimeError("CUDA error: an illegal memory access was encountered\nCompile"),
    "singular": lambda: np.linalg.LinAlgError("Singular matrix"),
    "overflow": lambda: OverflowError("cannot convert float infinity to integer"),
    "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
    "no text": lambda: RuntimeError(),
    "ours": lambda: PictureError("It cannot be read; use another."),
}
DEATHS: dict[str, Callable[[], None]] = {
    "SIGSEGV": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(9),
}
STAGES = {
    "detect": ("detector", ("detect",)),
    "fit": ("reconstructor", ("reconstruct",)),
    "render": ("renderer", ("render",)),
    "paint": ("inpainter", ("paint", "paint_candidates")),
    "judge": ("meter", ("measure",)),
}
"""Boundary -> the member of `Stages`, and its methods."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, where, with which picture (empty = any), and how often at most."""

    boundary: str
    kind: str
    picture: str = ""
    times: int = 1


@dataclass
class Injector:
    """Lets faults happen. claims: an empty folder in which every one that happened leaves a file.

    picture: the one that this process read last.
    """

    faults: list[Fault]
    claims: Path
    picture: str = ""
    answers: dict[str, Callable[[], None]] = field(default_factory=dict)

    @property
    def fired(self) -> int:
        return sum(1 for _ in self.claims.iterdir())

    def take(self, boundary: str) -> str | None:
        """The kind of a fault that is due at a boundary."""
        for number, fault in enumerate(self.faults):
            meant = fault.boundary == boundary and fault.picture in ("", self.picture)
            if meant and self._claim(number, fault.times):
                return fault.kind
        return None

    def _claim(self, number: int, times: int) -> bool:
        for turn in range(times):
            with suppress(FileExistsError):
                (self.claims / f"{number}-{turn}").touch(exist_ok=False)
                return True
        return False

    def trip(self, boundary: str) -> None:
        """Raise or die if a fault is due."""
        kind = self.take(boundary)
        if kind in DEATHS:
            DEATHS[kind]()
        elif kind in self.answers:
            self.answers[kind]()
        elif kind is not None:
            raise RAISED[kind]()

    def before(self, boundary: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, with the boundary before it."""

        def tripping(*args: Any, **values: Any) -> Any:
            self.trip(boundary)
            return work(*args, **values)

        return tripping

    def wrap(self, stages: Stages) -> Stages:
        """The stages with a boundary before each."""
        changes: dict[str, Any] = {"judge": self.before("judge", stages.judge)}
        for boundary, (member, methods) in STAGES.items():
            backend = copy.copy(getattr(stages, member))
            for method in methods:
                if hasattr(backend, method):
                    wrapped = self.before(boundary, getattr(backend, method))
                    object.__setattr__(backend, method, wrapped)
            changes[member] = backend
        return Stages(**{**vars(stages), **changes})

    def save(self, place: Path) -> Path:
        said = {"faults": [asdict(fault) for fault in self.faults], "claims": str(self.claims)}
        place.write_text(json.dumps(said))
        return place

    @staticmethod
    def load(place: Path) -> Injector:
        """What `save` wrote."""
        said = json.loads(place.read_text())
        return Injector([Fault(**each) for each in said["faults"]], Path(said["claims"]))


@contextmanager
def planted(injector: Injector, build: Callable[..., Stages]) -> Iterator[None]:
    """Let the injector's faults happen while the block runs. build: builds the stages."""
    original = run.read_file

    def read_file(path: Path) -> bytes:
        injector.picture = path.name
        return original(path)

    def built(*args: Any, **values: Any) -> Stages:
        return injector.wrap(build(*args, **values))

    def writing(boundary: str, module: Any) -> Callable[[Path], Any]:
        untouched = module.writing_to

        @contextmanager
        def writing_to(path: Path) -> Iterator[None]:
            with untouched(path):
                injector.trip(boundary)
                yield

        return writing_to

    with ExitStack() as stack:

        def swap(owner: Any, name: str, new: Callable[..., Any]) -> None:
            stack.enter_context(patch.object(owner, name, new))

        swap(run, "read_file", read_file)
        swap(run, "read_picture", injector.before("decode", run.read_picture))
        swap(disk, "_replace", injector.before("write", disk._replace))
        swap(log, "writing_to", writing("journal", log))
        swap(page, "writing_to", writing("page", page))
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("handrefiner_ext"):
                if "build_stages" in vars(module):
                    swap(module, "build_stages", built)
                if module.__name__ == "handrefiner_ext.cluster.journal":
                    journal = vars(module)["Journal"]
                    swap(journal, "write", injector.before("journal", journal.write))
        yield


# --- in processes of their own

SITE = '''
import importlib.abc, importlib.util, os, sys

class PlantAfterImport(importlib.abc.MetaPathFinder):
    """Plants the faults as soon as the module that works on files has been imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "handrefiner_ext.files.run" or not os.environ.get("HANDREFINER_CAMPAIGN"):
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_plant(module):
            load(module)
            import faults
            faults.plant_for_good()

        spec.loader.exec_module = load_and_plant
        return spec

sys.meta_path.insert(0, PlantAfterImport())
'''


def plant_for_good() -> None:
    """Plant the faults that the environment names until this process ends."""
    injector = Injector.load(Path(os.environ[PLAN]))
    scenes: Any = import_module("hand_scenes")
    lasting = planted(injector, lambda *_, **__: scenes.make_stages())
    lasting.__enter__()
    KEPT.append(lasting)


KEPT: list[Any] = []
"""A context that is left only with the process: nothing may end it before."""
