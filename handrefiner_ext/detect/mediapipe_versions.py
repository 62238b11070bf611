"""Which versions of mediapipe find hands; read without importing it or anything else."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

OLDEST = (0, 10, 9)
NEED_NEW_PROTOBUF, NEW_PROTOBUF = ("0.10.18", "0.10.20", "0.10.21"), (4, 25)
"""With an older protobuf these versions fail on the first hand they find."""


def installed_version(package: str) -> str | None:
    """As its metadata says; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def find_obstacle() -> str | None:
    """Why the mediapipe that is installed here cannot find hands; None where it can."""
    return describe_obstacle(installed_version("mediapipe"), installed_version("protobuf"))


def describe_obstacle(mediapipe: str | None, protobuf: str | None) -> str | None:
    """The same for these two versions."""
    if mediapipe is None:
        return "mediapipe is not installed"
    if _numbers(mediapipe) < OLDEST:
        return f"mediapipe {mediapipe} is older than {'.'.join(map(str, OLDEST))}"
    if mediapipe in NEED_NEW_PROTOBUF and protobuf and _numbers(protobuf)[:2] < NEW_PROTOBUF:
        return f"mediapipe {mediapipe} does not work with protobuf {protobuf}"
    return None


def _numbers(text: str) -> tuple[int, ...]:
    """1.2.3rc1 -> (1, 2, 3)."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
