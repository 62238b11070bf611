"""Where weights are searched and downloaded to, and what their bytes must be."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import handrefiner_ext
from handrefiner_ext.errors import WeightsError
from handrefiner_ext.weights.manifest import WeightsFile, all_files

LOCK_NAME = "weights.lock.json"
HASHED_AT_ONCE = 2**20


@dataclass(frozen=True)
class Pin:
    """The bytes of a file: its length and sha256 (hexadecimal)."""

    size: int
    sha256: str


def measure(path: Path, report: Callable[[int], None] = lambda done: None) -> Pin:
    """Return length and checksum of a file; `report` is called with the size of every block."""
    checksum, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(HASHED_AT_ONCE):
            checksum.update(block)
            size += len(block)
            report(len(block))
    return Pin(size, checksum.hexdigest())


def read_pins(folder: Path) -> dict[str, Pin]:
    """Return file name -> pin of everything that was downloaded to the folder."""
    place = folder / LOCK_NAME
    if not place.exists():
        return {}
    try:
        entries = json.loads(place.read_text("utf-8"))
        return {name: Pin(int(pin["size"]), str(pin["sha256"])) for name, pin in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{place} cannot be read ({error}); delete it if you do not need to know that "
            "downloads are unchanged."
        ) from error


def write_pin(folder: Path, name: str, pin: Pin) -> None:
    """Add the pin to the folder's lock file, which is replaced in one step."""
    _write_pins(folder, {**read_pins(folder), name: pin})


def remove_pin(folder: Path, name: str) -> bool:
    """Remove the pin of a file from the folder's lock file; False if there was none."""
    pins = read_pins(folder)
    if pins.pop(name, None) is None:
        return False
    _write_pins(folder, pins)
    return True


def _write_pins(folder: Path, pins: Mapping[str, Pin]) -> None:
    entries = {key: asdict(value) for key, value in sorted(pins.items())}
    fresh = folder / (LOCK_NAME + ".new")
    fresh.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, folder / LOCK_NAME)


FOLDER_VARIABLE = "HANDREFINER_MODELS"
WEBUI_VARIABLE = "HANDREFINER_WEBUI"
SUBFOLDERS = ("", "mano", "models", "mano_v1_2/models")
"""Subfolders of a models folder to look in; the last ones are those of MANO's archive."""


@dataclass(frozen=True)
class Places:
    """folders: searched in this order. target: where downloads go. webui: its root, or None.

    hub: the cache of Hugging Face's hub, or None.
    """

    folders: tuple[Path, ...]
    target: Path
    webui: Path | None = None
    hub: Path | None = None


def find(name: str, places: Path | Places | None = None) -> Path | None:
    """Return the path of the file `name` (as in the manifest), or None.

    places: a folder to search before the standard ones, or all places to search.
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
    cached = [path for file in known for path in _list_cached(file, places)]
    return own + hosts + cached


def _host_folders(file: WeightsFile, places: Places) -> list[Path]:
    return [] if places.webui is None else [places.webui / folder for folder in file.webui]


def _list_cached(file: WeightsFile, places: Places) -> list[Path]:
    """Return the file's versions in the hub's cache, the newest download first."""
    if places.hub is None or file.hub is None:
        return []
    repository = places.hub / f"models--{file.hub.replace('/', '--')}" / "snapshots"
    versions = [version / file.name for version in repository.glob("*")]
    there = [path for path in versions if path.is_file()]
    return sorted(there, key=lambda path: path.stat().st_mtime, reverse=True)


def standard_places(
    chosen: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Places:
    """List the folders to search: the chosen one, HANDREFINER_MODELS, the extension's, the cache.

    Downloads go to the first of them.
    """
    named = environment.get(FOLDER_VARIABLE, "").strip()
    extension = _extension_root()
    folders = [
        *([chosen] if chosen else []),
        *([Path(named).expanduser()] if named else []),
        *([extension / "models"] if extension else []),
        cache_folder(environment),
    ]
    return Places(
        tuple(folders), folders[0], _find_webui(extension, environment), hub_cache(environment)
    )


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Return the cache of Hugging Face's hub, by the variables that huggingface_hub reads."""
    if environment.get("HF_HUB_CACHE"):
        return Path(environment["HF_HUB_CACHE"]).expanduser()
    cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(environment.get("HF_HOME") or Path(cache) / "huggingface").expanduser() / "hub"


def cache_folder(environment: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return the user's cache folder, which differs between platforms."""
    if platform == "win32" and environment.get("LOCALAPPDATA"):
        return Path(environment["LOCALAPPDATA"]) / "handrefiner" / "Cache"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "handrefiner"
    given = environment.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "handrefiner"


def _extension_root() -> Path | None:
    """Return the folder of the repository or extension; None for an installed package."""
    root = Path(handrefiner_ext.__file__).resolve().parents[1]
    return root if (root / "models" / "README.md").is_file() else None


def _find_webui(extension: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Return the root of the WebUI that is named, or whose folder `extensions` holds this one."""
    if environment.get(WEBUI_VARIABLE):
        return Path(environment[WEBUI_VARIABLE])
    if extension is not None and extension.parent.name == "extensions":
        return extension.parents[1]
    return None
