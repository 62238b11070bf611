"""What was downloaded once: later downloads of the same file must be the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from handrefiner_ext.errors import WeightsError

LOCK_NAME = "weights.lock.json"
BLOCK = 2**20


@dataclass(frozen=True)
class Pin:
    """The bytes of a file: its length and sha256 (hexadecimal)."""

    size: int
    sha256: str


def measure(path: Path, report: Callable[[int], None] = lambda done: None) -> Pin:
    """Length and checksum of a file; `report` hears of every block."""
    checksum, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            checksum.update(block)
            size += len(block)
            report(len(block))
    return Pin(size, checksum.hexdigest())


def read_pins(folder: Path) -> dict[str, Pin]:
    """File name -> pin, of what was downloaded to the folder."""
    place = folder / LOCK_NAME
    if not place.exists():
        return {}
    try:
        entries = json.loads(place.read_text("utf-8"))
        return {name: Pin(int(pin["size"]), str(pin["sha256"])) for name, pin in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{place} cannot be read ({error}); delete it if you do not need to know that "
            "downloads are what they were."
        ) from error


def write_pin(folder: Path, name: str, pin: Pin) -> None:
    """Add the pin to the folder's lock file, which changes all at once."""
    pins = {**read_pins(folder), name: pin}
    entries = {key: asdict(value) for key, value in sorted(pins.items())}
    fresh = folder / (LOCK_NAME + ".new")
    fresh.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, folder / LOCK_NAME)
