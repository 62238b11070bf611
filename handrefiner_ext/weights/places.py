"""Where weights are looked for, and where downloads go."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import handrefiner_ext
from handrefiner_ext.weights.manifest import WeightsFile, all_files

FOLDER_VARIABLE = "HANDREFINER_MODELS"
WEBUI_VARIABLE = "HANDREFINER_WEBUI"
SUBFOLDERS = ("", "mano", "models", "mano_v1_2/models")
"""Where people leave files under a models folder, such as MANO's unpacked archive."""


@dataclass(frozen=True)
class Places:
    """folders: searched in this order. target: where downloads go. webui: its root, if known."""

    folders: tuple[Path, ...]
    target: Path
    webui: Path | None = None


def find(name: str, places: Path | Places | None = None) -> Path | None:
    """The file `name` (as in the manifest) where it lies, or None.

    places: a folder that is searched before the standard ones, or all places.
    """
    if not isinstance(places, Places):
        places = standard_places(places)
    for candidate in _candidates(name, places):
        if candidate.is_file():
            return candidate
    return None


def _candidates(name: str, places: Places) -> list[Path]:
    own = [folder / sub / name for folder in places.folders for sub in SUBFOLDERS]
    known = [file for file in all_files() if file.name == name]
    hosts = [folder / name for file in known for folder in _host_folders(file, places)]
    return own + hosts


def _host_folders(file: WeightsFile, places: Places) -> list[Path]:
    return [] if places.webui is None else [places.webui / folder for folder in file.webui]


def standard_places(
    chosen: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Places:
    """The chosen folder (a flag or a setting), HANDREFINER_MODELS, the extension's own, the cache.

    Downloads go to the first of the first three that there is, else to the cache.
    """
    named = environment.get(FOLDER_VARIABLE, "").strip()
    extension = _extension_root()
    folders = [
        *([chosen] if chosen else []),
        *([Path(named).expanduser()] if named else []),
        *([extension / "models"] if extension else []),
        cache_folder(environment),
    ]
    return Places(tuple(folders), folders[0], _find_webui(extension, environment))


def cache_folder(environment: Mapping[str, str], platform: str = sys.platform) -> Path:
    """The user's cache, in the place that the platform wants."""
    if platform == "win32" and environment.get("LOCALAPPDATA"):
        return Path(environment["LOCALAPPDATA"]) / "handrefiner" / "Cache"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "handrefiner"
    given = environment.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "handrefiner"


def _extension_root() -> Path | None:
    """The folder of the repository or extension; None for an installed package."""
    root = Path(handrefiner_ext.__file__).resolve().parents[1]
    return root if (root / "models" / "README.md").is_file() else None


def _find_webui(extension: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The WebUI that is named, or whose folder `extensions` holds this one."""
    if environment.get(WEBUI_VARIABLE):
        return Path(environment[WEBUI_VARIABLE])
    if extension is not None and extension.parent.name == "extensions":
        return extension.parents[1]
    return None
