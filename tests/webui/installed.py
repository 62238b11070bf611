"""The WebUIs that the suite runs on: which kind each is, and how it is started on a CPU."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDERS, ENVIRONMENTS = "HANDREFINER_WEBUI", "HANDREFINER_WEBUI_VENV"
A1111, FORGE, REFORGE, CLASSIC = "a1111", "forge", "reforge", "classic"
MARKS = (
    (FORGE, "backend/loader.py"),
    (REFORGE, "ldm_patched/contrib/nodes_tomesd.py"),
    (CLASSIC, "modules_forge/forge_loader.py"),
    (A1111, "webui.py"),
)
"""Kind -> a file that tells it, the most particular first."""
COMMON = (
    *("--skip-torch-cuda-test", "--skip-version-check", "--api", "--skip-prepare-environment"),
    *("--server-name", "127.0.0.1"),
)
ARGUMENTS = {
    A1111: (
        *("--no-half", "--use-cpu", "all", "--no-download-sd-model", "--do-not-download-clip"),
        "--opt-sdp-attention",
    ),
    FORGE: ("--always-cpu", "--attention-pytorch"),
    REFORGE: ("--always-cpu", "--attention-pytorch"),
    CLASSIC: ("--always-cpu", "--attention-pytorch"),
}
READY = {
    A1111: (r"Startup time:", r"Model loaded in"),
    FORGE: (r"Startup time:",),
    REFORGE: (r"Startup time:", r"Model .* ?loaded in"),
    CLASSIC: (r"Startup time:", r"Model loaded in"),
}
"""What a host says once it is ready; Forge loads its checkpoint with the first request."""
LOADING = {A1111: "Loading weights", FORGE: "Loading Model:", REFORGE: "Loading weights"}
"""What a host says when it reads a checkpoint from disk."""


@dataclass(frozen=True)
class Installed:
    """A WebUI in `folder`, with its virtual environment."""

    folder: Path
    environment: Path
    kind: str

    @property
    def python(self) -> Path:
        windows = sys.platform == "win32"
        return self.environment / ("Scripts/python.exe" if windows else "bin/python")

    @property
    def arguments(self) -> tuple[str, ...]:
        """Those of its kind; gradio 4 hands out files of the data folder only, unless told."""
        files = ("--gradio-allowed-path", str(self.folder)) if self.kind == FORGE else ()
        return (*COMMON, *ARGUMENTS[self.kind], *files)


def find_installed() -> list[Installed]:
    """Return the WebUIs that the variables name, several separated as in PATH.

    Without HANDREFINER_WEBUI_VENV a WebUI's environment is `venv`, inside of it or beside it.
    """
    folders = [Path(name) for name in _split(FOLDERS)]
    given = [Path(name) for name in _split(ENVIRONMENTS)] or [None] * len(folders)
    if folders and len(given) != len(folders):
        raise ValueError(f"{ENVIRONMENTS} must name as many folders as {FOLDERS} does.")
    return [
        Installed(folder, environment or _environment_of(folder), kind_of(folder))
        for folder, environment in zip(folders, given, strict=False)
    ]


def kind_of(folder: Path) -> str:
    return next((kind for kind, mark in MARKS if (folder / mark).exists()), A1111)


def _split(variable: str) -> list[str]:
    return [name for name in os.environ.get(variable, "").split(os.pathsep) if name]


def _environment_of(folder: Path) -> Path:
    inside = folder / "venv"
    return inside if inside.exists() else folder.parent / "venv"
