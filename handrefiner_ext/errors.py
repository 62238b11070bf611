"""Define the exception tree. Every message is a sentence that tells the user what to do.

HandRefinerError
 ├─ UsageError            the request itself is wrong
 │   ├─ InvalidParameter  a value is outside what the schema allows
 │   └─ UnknownBackend    a backend name is not registered
 ├─ PictureError          a picture cannot be read or written
 ├─ WeightsError          a weights file is damaged, of the wrong kind, or cannot be fetched
 ├─ BackendUnavailable    a backend's package, driver or file is missing
 ├─ RemoteError           a running WebUI cannot be reached, or refuses
 └─ ClusterError          a Ray cluster cannot be reached, or is lost

"No hands" and a hand that cannot be fitted are results (`types.Refusal`), not errors.
"""

from __future__ import annotations

import os
import traceback

CLONE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
"""The folder of HandRefiner, where it runs from a clone or as an extension of the WebUI."""
SINGLE = {
    "pyrender": "pyrender>=0.1.45",
    "heif": "pillow-heif>=0.13",
    "jxl": "pillow-jxl-plugin>=1.2",
}
"""Extras of one package, which is installed by itself: in the WebUI that is safer, because pip then
looks at nothing else that HandRefiner needs."""

LONGEST_SAID = 200
"""Characters that are repeated of an error of another package."""


def how_to_install(extra: str) -> str:
    """Return the command that installs one of the package's extras (it is on no package index)."""
    if extra in SINGLE:
        return f'pip install "{SINGLE[extra]}"'
    place = (
        CLONE
        if os.path.isfile(os.path.join(CLONE, "pyproject.toml"))
        else "the folder of HandRefiner"
    )
    return f'pip install -e ".[{extra}]" in {place}'


def escape(text: str) -> str:
    """Return the text on one line: what a terminal would obey, or cannot show, is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def show(value: object) -> str:
    """Return a value as a message repeats it: short, whatever was sent."""
    said = repr(value)
    return said if len(said) <= LONGEST_SAID else f"{said[:LONGEST_SAID]}…"


def describe_fault(error: Exception) -> str:
    """Return the end of a sentence about an error that nobody expected, and what to do."""
    said = " ".join(str(error).split())[:LONGEST_SAID]
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"because of a fault in the program: {type(error).__name__} {said!r} in "
        f"{os.path.basename(last.filename)}, line {last.lineno}. Please report it with what "
        "handrefiner doctor says."
    )


class HandRefinerError(Exception):
    """Base class of every error that the project raises on purpose."""


class UsageError(HandRefinerError):
    """The request itself is wrong."""


class InvalidParameter(UsageError):
    """A parameter's value is outside what the schema allows."""


class UnknownBackend(UsageError):
    """A backend name is not registered."""


class PictureError(HandRefinerError):
    """A picture cannot be read or written."""


class WeightsError(HandRefinerError):
    """A weights file is damaged, of the wrong kind, or cannot be fetched."""


class BackendUnavailable(HandRefinerError):
    """A backend's package, driver or file is missing."""


class RemoteError(HandRefinerError):
    """A running WebUI cannot be reached, or refuses."""


class ClusterError(HandRefinerError):
    """A Ray cluster cannot be reached, or is lost."""
