"""The exception tree. Every message is a sentence that tells the user what to do.

HandRefinerError
 ├─ UsageError            the request itself is wrong
 │   ├─ InvalidParameter  a value is outside what the schema allows
 │   └─ UnknownBackend    a backend name is not registered
 ├─ PictureError          a picture cannot be read or written
 ├─ WeightsError          a file of weights is damaged, of another kind, or cannot be fetched
 ├─ BackendUnavailable    a backend's package, driver or file is missing
 ├─ RemoteError           a running WebUI cannot be reached, or refuses
 └─ ClusterError          a Ray cluster cannot be reached, or breaks off

"No hands" and a hand that cannot be fitted are results (`types.Refusal`), not errors.
"""

from __future__ import annotations


class HandRefinerError(Exception):
    """Base of every error that the project raises on purpose."""


class UsageError(HandRefinerError):
    """The request itself is wrong."""


class InvalidParameter(UsageError):
    """A parameter's value is outside what the schema allows."""


class UnknownBackend(UsageError):
    """A backend name is not registered."""


class PictureError(HandRefinerError):
    """A picture cannot be read or written."""


class WeightsError(HandRefinerError):
    """A file of weights is damaged, of another kind, or cannot be fetched."""


class BackendUnavailable(HandRefinerError):
    """A backend's package, driver or file is missing."""


class RemoteError(HandRefinerError):
    """A running WebUI cannot be reached, or refuses."""


class ClusterError(HandRefinerError):
    """A Ray cluster cannot be reached, or breaks off."""
