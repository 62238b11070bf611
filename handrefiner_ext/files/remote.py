"""A running WebUI that does the work: it finds and repaints the hands, through our routes there."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from handrefiner_ext.api import PREFIX
from handrefiner_ext.api.body import DEPTH_IN, DRAWN_MASK, IMAGE, Problem, decode_picture, to_text
from handrefiner_ext.errors import RemoteError, UsageError
from handrefiner_ext.files.outputs import Maps
from handrefiner_ext.files.run import Output, Recipe
from handrefiner_ext.hands.posed import Poses
from handrefiner_ext.pictures import draw_mask, encode_png
from handrefiner_ext.report import list_decision_lines, list_note_lines, list_refusal_lines
from handrefiner_ext.types import Given, Image

# requests takes 0.1 s to import; only a command with --url pays for it.
if TYPE_CHECKING:
    from requests import Response

SECONDS_TO_CONNECT = 10.0
SECONDS_TO_ANSWER = 1800.0
"""A refine of one picture, behind whatever else the WebUI is painting."""
HTTP_OK = 200
NOTHING_GIVEN = Given()


@dataclass(frozen=True)
class RemoteResult:
    """What the WebUI did to one picture; `image` is the one sent where no pixel changed.

    found, decisions, skipped: as in the routes' answers (docs/api.md).
    """

    image: Image
    found: tuple[Mapping[str, Any], ...]
    decisions: tuple[Mapping[str, Any], ...]
    skipped: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]

    @property
    def hands(self) -> int:
        """Return how many were found."""
        return len(self.found)


@dataclass(frozen=True)
class RemoteHints:
    """What the WebUI found in one picture. poses: None where its version gives none."""

    maps: Maps
    poses: Poses | None


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
                f"{self.url!r} is not the address of a WebUI; write it like http://127.0.0.1:7860."
            )
        inside = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        object.__setattr__(self, "url", parts._replace(netloc=parts.netloc.split("@")[-1]).geturl())
        object.__setattr__(self, "login", self.login or (inside if inside != ":" else ""))

    def check(self) -> str:
        """Return the WebUI's version of HandRefiner; RemoteError if it cannot work for us."""
        said = self._ask("GET", "/version")
        if "version" not in said:
            raise RemoteError(self._not_ours)
        if not said.get("computes"):
            raise RemoteError(
                f"The WebUI at {self.url} does not accept work over its API; start it with --api."
            )
        return str(said.get("version"))

    def find_hints(
        self, image: Image, values: Mapping[str, object], given: Given = NOTHING_GIVEN
    ) -> RemoteHints:
        """Return depth, mask and poses of the hands that the WebUI finds."""
        said = self._ask("POST", "/hints", _build_body(image, values, given))
        depth, mask = (self._picture(said, name, image.shape[:2]) for name in ("depth", "mask"))
        return RemoteHints(Maps(depth[..., 0], mask[..., 0] > 0), self._read_poses(said, image))

    def _read_poses(self, said: Mapping[str, Any], image: Image) -> Poses | None:
        pose, openpose = said.get("pose"), said.get("openpose")
        if not isinstance(pose, dict) or not isinstance(openpose, dict):
            return None
        return Poses(pose, openpose, self._picture(said, "openpose_image", image.shape[:2]))

    def refine(
        self, image: Image, values: Mapping[str, object], given: Given = NOTHING_GIVEN
    ) -> RemoteResult:
        """Have the WebUI repaint the hands of a picture.

        Arguments:
            image: (H, W, 3) uint8 RGB.
            values: parameters by name; for the others, the WebUI has its own defaults.
        """
        said = self._ask("POST", "/refine", _build_body(image, values, given))
        painted = self._picture(said, IMAGE, image.shape[:2])
        lists = [said.get(name) for name in ("hands", "decisions", "skipped", "notes")]
        if not all(isinstance(part, list) for part in lists):
            raise RemoteError(self._not_ours)
        found, decisions, skipped, notes = (tuple(part or ()) for part in lists)
        image = image if np.array_equal(painted, image) else painted
        return RemoteResult(image, found, decisions, skipped, notes)

    @property
    def _not_ours(self) -> str:
        """Return the sentence for JSON that is not from our routes."""
        return (
            f"What answers at {self.url} is not a WebUI with HandRefiner; check address and port."
        )

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

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return a route's JSON answer; RemoteError with the WebUI's own sentence if it refuses."""
        import requests

        parts = urlsplit(self.url)
        url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}{PREFIX}{path}"
        headers = {}
        if self.login:  # requests itself would encode the login as Latin-1
            headers["Authorization"] = "Basic " + b64encode(self.login.encode()).decode("ascii")
        with requests.Session() as session, self._troubles_told():
            # No proxy and no login from the environment: a WebUI mostly runs on this machine.
            session.trust_env = False
            # The system's certificates, as its browsers use, rather than those of certifi.
            session.verify = ssl.get_default_verify_paths().cafile or True
            answer = session.request(
                method,
                url,
                json=body,
                headers=headers,
                timeout=(SECONDS_TO_CONNECT, SECONDS_TO_ANSWER),
                allow_redirects=False,
            )
        said = _parse(answer)
        if answer.status_code != HTTP_OK:
            raise RemoteError(self._explain(answer, said or {}))
        if said is None:
            raise RemoteError(self._not_ours)
        return said

    @contextmanager
    def _troubles_told(self) -> Iterator[None]:
        """Turn what fails on the way into a sentence."""
        import requests

        try:
            yield
        except requests.RequestException as error:
            cause = _find_cause(error)
            said = f"The WebUI at {self.url} cannot be reached: {cause or type(cause).__name__}."
            if isinstance(cause, TimeoutError):
                said = f"The WebUI at {self.url} did not answer in time."
            elif isinstance(cause, ConnectionRefusedError):
                said = f"Nothing answers at {self.url}; is the WebUI running, and is this its port?"
            raise RemoteError(said) from error

    def _explain(self, answer: Response, said: Mapping[str, Any]) -> str:
        """Return the sentence for an answer that is not HTTP 200."""
        status = answer.status_code
        if status == 401:
            return (
                f"The WebUI at {self.url} wants a login; give --login USER:PASSWORD, or set "
                "HANDREFINER_LOGIN."
            )
        if status in (404, 405) and said.get("detail") in ("Not Found", None):
            return (
                f"The WebUI at {self.url} has no HandRefiner; install the extension there and "
                "start it with --api."
            )
        if 300 <= status < 400:
            return (
                f"{self.url} answers from another address, {answer.headers.get('Location')}; give "
                "that one."
            )
        return str(said.get("detail") or f"The WebUI at {self.url} failed ({status}).")


@dataclass(frozen=True)
class FoundThere:
    """A picture whose hands a running WebUI repaints; it finds them again for every output."""

    image: Image
    given: Given
    hints: RemoteHints | None
    server: Server

    @property
    def maps(self) -> Maps | None:
        return None if self.hints is None else self.hints.maps

    @property
    def poses(self) -> Poses:
        if self.hints is None or self.hints.poses is None:
            raise RemoteError(
                f"The WebUI at {self.server.url} has an older HandRefiner that gives no poses; "
                "update the extension there, or leave out --pose_dir."
            )
        return self.hints.poses

    def repaint(self, recipe: Recipe) -> Output:
        result = self.server.refine(self.image, recipe.given_values, self.given)
        lines = [
            *list_decision_lines(result.found, result.decisions),
            *list_refusal_lines(result.skipped),
            *list_note_lines(result.notes),
        ]
        return Output(result.image, result.found, result.decisions, lines)


@dataclass(frozen=True)
class RemoteRepainter:
    """Has a running WebUI do the work."""

    server: Server

    def settings(self, recipe: Recipe) -> Mapping[str, object]:
        return recipe.given_values

    def find(self, image: Image, recipe: Recipe, given: Given, wants_hints: bool) -> FoundThere:
        values = recipe.given_values
        hints = self.server.find_hints(image, values, given) if wants_hints else None
        return FoundThere(image, given, hints, self.server)


def _build_body(image: Image, values: Mapping[str, object], given: Given) -> dict[str, object]:
    """Return what the routes take: parameters by name, pictures as base64."""
    body = {**values, IMAGE: to_text(encode_png(image))}
    if given.drawn_mask is not None:
        body[DRAWN_MASK] = to_text(encode_png(draw_mask(given.drawn_mask)))
    if given.depth_in is not None:
        body[DEPTH_IN] = to_text(encode_png(given.depth_in))
    return body


def _find_cause(error: BaseException) -> BaseException:
    """Return the error at the bottom: requests and urllib3 wrap what the socket says."""
    while under := error.__cause__ or error.__context__:
        error = under
    return error


def _parse(answer: Response) -> dict[str, Any] | None:
    """Return the JSON object of an answer, or None if it holds anything else."""
    try:
        said = answer.json()
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
