"""A running WebUI as the worker: the whole refine happens there, through our routes."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from handrefiner_ext.api import PREFIX
from handrefiner_ext.api.body import DRAWN_MASK, IMAGE, Problem, decode_picture, to_text
from handrefiner_ext.errors import RemoteError, UsageError
from handrefiner_ext.pictures import encode_png
from handrefiner_ext.types import Image, Mask

SECONDS_TO_CONNECT = 10.0
SECONDS_TO_ANSWER = 1800.0
"""A refine of one picture, behind whatever else the WebUI is painting."""
HTTP_OK = 200


@dataclass(frozen=True)
class RemoteMaps:
    """control: (H, W) uint8 control image. mask: (H, W), where pixels may change."""

    control: Image
    mask: Mask


@dataclass(frozen=True)
class RemoteResult:
    """What the WebUI did to one picture; `image` is the one sent where no pixel changed.

    found, decisions, skipped: as in the routes' answers (docs/api.md). maps: None where they were
    not asked for.
    """

    image: Image
    found: tuple[Mapping[str, Any], ...]
    decisions: tuple[Mapping[str, Any], ...]
    skipped: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    maps: RemoteMaps | None = None

    @property
    def hands(self) -> int:
        """How many were found."""
        return len(self.found)


@dataclass(frozen=True)
class Server:
    """The address of a running WebUI. login: "user:password", empty where it asks for none."""

    url: str
    login: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url if "://" in self.url else f"http://{self.url}")
        try:
            _ = parts.port  # the only part that urlsplit checks when it is read
            wrong = parts.scheme not in ("http", "https") or not parts.hostname
        except ValueError:
            wrong = True
        if wrong:
            raise UsageError(
                f"{self.url!r} is no address of a WebUI; write it like http://127.0.0.1:7860."
            )
        inside = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        object.__setattr__(self, "url", parts._replace(netloc=parts.netloc.split("@")[-1]).geturl())
        object.__setattr__(self, "login", self.login or (inside if inside != ":" else ""))

    def check(self) -> str:
        """The WebUI's version of HandRefiner; RemoteError where it cannot refine for us."""
        said = self._ask("GET", "/version")
        if not said.get("computes"):
            raise RemoteError(
                f"The WebUI at {self.url} does not work for others; start it with --api."
            )
        return str(said.get("version"))

    def refine(
        self,
        image: Image,
        values: Mapping[str, object],
        drawn_mask: Mask | None = None,
        with_maps: bool = False,
    ) -> RemoteResult:
        """The picture with the hands repainted by the WebUI.

        values: parameters by name; what is missing has the WebUI's default. with_maps: also ask
        for depth and mask, which costs a second detection.
        """
        body = {**values, IMAGE: to_text(encode_png(image))}
        if drawn_mask is not None:
            body[DRAWN_MASK] = to_text(encode_png(np.where(drawn_mask, 255, 0).astype(np.uint8)))
        maps = self._ask("POST", "/hints", body) if with_maps else None
        said = self._ask("POST", "/refine", body)
        painted = self._picture(said, IMAGE, image.shape[:2])
        return RemoteResult(
            image=image if np.array_equal(painted, image) else painted,
            found=tuple(said["hands"]),
            decisions=tuple(said["decisions"]),
            skipped=tuple(said["skipped"]),
            notes=tuple(said["notes"]),
            maps=None if maps is None else self._maps(maps, image.shape[:2]),
        )

    def _maps(self, said: Mapping[str, Any], size: tuple[int, ...]) -> RemoteMaps:
        depth, mask = (self._picture(said, name, size)[..., 0] for name in ("depth", "mask"))
        return RemoteMaps(depth, mask > 0)

    def _picture(self, said: Mapping[str, Any], name: str, size: tuple[int, ...]) -> Image:
        try:
            image = decode_picture(said.get(name), name).image
        except Problem as error:
            raise RemoteError(f"The WebUI at {self.url} gave no picture back: {error}") from error
        if image.shape[:2] != size:
            raise RemoteError(
                f"The WebUI at {self.url} gave a picture of {image.shape[1]} × {image.shape[0]} "
                f"pixels back for one of {size[1]} × {size[0]}; it was not used."
            )
        return image

    def _ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """The route's JSON answer; RemoteError with the WebUI's own sentence where it refuses."""
        parts = urlsplit(self.url)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.login:
            headers["Authorization"] = "Basic " + b64encode(self.login.encode()).decode("ascii")
        data = None if body is None else json.dumps(body).encode()
        with self._troubles_told(), _connect(parts.scheme, parts.netloc) as connection:
            connection.request(method, parts.path.rstrip("/") + PREFIX + path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status != HTTP_OK:
            raise RemoteError(self._explain(answer, text))
        said = _parse(text)
        if said is None:
            raise RemoteError(f"What answers at {self.url} is no WebUI with HandRefiner.")
        return said

    @contextmanager
    def _troubles_told(self) -> Iterator[None]:
        """What fails on the way becomes a sentence."""
        try:
            yield
        except TimeoutError as error:
            raise RemoteError(f"The WebUI at {self.url} did not answer in time.") from error
        except ConnectionRefusedError as error:
            raise RemoteError(
                f"Nothing answers at {self.url}; is the WebUI running, and is this its port?"
            ) from error
        except (OSError, HTTPException) as error:
            what = str(error) or type(error).__name__
            raise RemoteError(f"The WebUI at {self.url} cannot be reached: {what}.") from error

    def _explain(self, answer: HTTPResponse, text: bytes) -> str:
        said = _parse(text) or {}
        if answer.status == 401:
            return (
                f"The WebUI at {self.url} wants a login; give --login USER:PASSWORD, or set "
                "HANDREFINER_LOGIN."
            )
        if answer.status in (404, 405) and said.get("detail") in ("Not Found", None):
            return (
                f"The WebUI at {self.url} has no HandRefiner; install the extension there and "
                "start it with --api."
            )
        if 300 <= answer.status < 400:
            return (
                f"{self.url} answers from another address, {answer.getheader('Location')}; give "
                "that one."
            )
        return str(said.get("detail") or f"The WebUI at {self.url} failed ({answer.status}).")


@contextmanager
def _connect(scheme: str, place: str) -> Iterator[HTTPConnection]:
    """An open connection, quick to give up before it stands and patient afterwards."""
    kind = HTTPSConnection if scheme == "https" else HTTPConnection
    connection = kind(place, timeout=SECONDS_TO_CONNECT)
    try:
        connection.connect()
        connection.sock.settimeout(SECONDS_TO_ANSWER)
        yield connection
    finally:
        connection.close()


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
