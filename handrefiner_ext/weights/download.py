"""Downloads that survive broken connections and never leave half a file behind.

The part that has arrived is kept as `name.part`, with what the server said about it in
`name.part.json`; the next try continues after it (RFC 9110: Range with If-Range, so that a file
that has changed is sent whole). Only a whole file with the right checksum gets its name.

requests does the talking (TLS with certificates of its own, proxies, redirects); pooch cannot
resume, and huggingface_hub neither fetches from elsewhere nor checks what it has resumed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.weights.manifest import HUB, RAW, WeightsFile
from handrefiner_ext.weights.places import LOCK_NAME, Pin, measure, read_pins, write_pin

MIRRORS = {"HF_ENDPOINT": HUB, "HANDREFINER_RAW_ENDPOINT": RAW}
"""Variable with a mirror's address -> the host that it replaces."""
SWITCHES = ("HANDREFINER_OFFLINE", "HF_HUB_OFFLINE")
SWITCHED_OFF = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True)
class Connection:
    """How to reach the servers.

    mirrors: host -> the address used instead. offline: why nothing may be fetched, or None.
    timeout_s: longest wait for a connection or for the next bytes. tries: failures in a row,
    without one new byte, after which a download ends. pause_s: the wait before the second try; it
    doubles with every further one.
    """

    mirrors: Mapping[str, str] = field(default_factory=dict)
    offline: str | None = None
    timeout_s: float = 30.0
    tries: int = 5
    pause_s: float = 1.0

    def address(self, url: str) -> str:
        """Return the address to fetch `url` from."""
        for host, mirror in self.mirrors.items():
            if url.startswith(host + "/"):
                return mirror.rstrip("/") + url[len(host) :]
        return url

    def check_online(self) -> None:
        if self.offline is not None:
            raise WeightsError(f"Nothing is downloaded, because {self.offline}.")


def read_connection(environment: Mapping[str, str], offline: bool = False) -> Connection:
    """Read the settings of the environment; requests finds proxies itself."""
    reasons = ["--offline was given"] if offline else []
    reasons += [
        f"{switch} is set"
        for switch in SWITCHES
        if environment.get(switch, "").strip().lower() not in SWITCHED_OFF
    ]
    named = {name: environment.get(name, "").strip() for name in MIRRORS}
    mirrors = {MIRRORS[name]: address for name, address in named.items() if address}
    return Connection(mirrors, reasons[0] if reasons else None)


if TYPE_CHECKING:
    import requests

BLOCK_BYTES = 2**16
"""Bytes read at once; a connection that breaks loses at most so many."""
SHA256 = re.compile(r"[0-9a-f]{64}")
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
OK, PARTIAL, RANGE_WRONG, TOO_MANY = 200, 206, 416, 429
REFUSED = {401: "asks for a login", 403: "refuses access", 404: "does not have it"}
RESERVE = 64 * 2**20
"""Bytes that a download leaves free on the disk."""

Report = Callable[[int, "int | None"], None]
"""Called with the number of bytes that have arrived and the whole length (None = unknown)."""


class Interrupted(Exception):
    """The connection broke or the server was busy; another try may succeed."""


@dataclass(frozen=True)
class Remote:
    """What the server says about the file: length, checksum, and the tag of exactly these bytes."""

    size: int | None = None
    sha256: str | None = None
    tag: str | None = None


def download(file: WeightsFile, folder: Path, connection: Connection, report: Report) -> Path:
    """Fetch `file` into `folder`; WeightsError says why that cannot be."""
    if file.url is None:
        raise WeightsError(f"{file.name} is never downloaded. {file.how}")
    connection.check_online()
    folder.mkdir(parents=True, exist_ok=True)
    attempt = Download(file, folder, connection, report)
    if not attempt.fetch_and_check():
        # Bytes of two versions may have been joined; the second time it is fetched whole.
        attempt.forget()
        if not attempt.fetch_and_check():
            reason = attempt.explain_mismatch()
            attempt.forget()
            raise WeightsError(reason)
    return attempt.finish()


class Download:
    """One file while it is downloaded."""

    def __init__(
        self, file: WeightsFile, folder: Path, connection: Connection, report: Report
    ) -> None:
        self.file = file
        self.folder = folder
        self.connection = connection
        self.report = report
        self.address = connection.address(file.url or "")
        self.part = folder / (file.name + ".part")
        self.notes = folder / (file.name + ".part.json")
        self.remote = self._read_notes()
        self.found: Pin | None = None

    @property
    def arrived(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def expected(self) -> Pin:
        """Return the length (-1 = unknown) and the checksum ("" = unknown) that the file must have.

        The manifest counts first, then what was downloaded earlier, then what the server says.
        """
        pin = read_pins(self.folder).get(self.file.name)
        sums = (self.file.sha256, pin.sha256 if pin else None, self.remote.sha256)
        sizes = (self.file.size, pin.size if pin else None, self.remote.size)
        size = next((size for size in sizes if size is not None), -1)
        return Pin(size, next((checksum for checksum in sums if checksum), ""))

    def fetch_and_check(self) -> bool:
        """Fetch all bytes and return whether they are the expected ones."""
        self._fetch_all()
        self.found, expected = measure(self.part), self.expected()
        right_size = expected.size in (-1, self.found.size)
        return right_size and expected.sha256 in ("", self.found.sha256)

    def finish(self) -> Path:
        """Give the file its name and pin it."""
        assert self.found is not None
        place = self.folder / self.file.name
        os.replace(self.part, place)
        self.notes.unlink(missing_ok=True)
        write_pin(self.folder, self.file.name, self.found)
        return place

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        self.remote = Remote()

    def explain_mismatch(self) -> str:
        found, expected = self.found, self.expected()
        return (
            f"{self.address} gave {found.size if found else 0:,} bytes with sha256 "
            f"{found.sha256 if found else ''}, but {self.file.name} must be "
            f"{_say(expected)}. It was fetched twice and not kept. Try another mirror, or later. "
            f"(What was downloaded before stands in {self.folder / LOCK_NAME}.)"
        )

    def _fetch_all(self) -> None:
        """Try until the whole file is there; only tries that bring no new bytes are counted."""
        failures, most = 0, self.arrived
        while True:
            try:
                return self._fetch_rest()
            except Interrupted as reason:
                failures = 1 if self.arrived > most else failures + 1
                most = max(most, self.arrived)
                if failures >= self.connection.tries:
                    raise WeightsError(
                        f"{self.address} could not be downloaded: {reason}. "
                        f"{self.arrived:,} bytes are kept; the next try goes on from there."
                    ) from reason
                time.sleep(self.connection.pause_s * 2 ** (failures - 1))

    def _fetch_rest(self) -> None:
        """Make one request for what is missing."""
        import requests

        if self.remote.size is not None and self.arrived == self.remote.size:
            return
        try:
            with requests.get(
                self.address,
                headers=self._headers(),
                stream=True,
                timeout=self.connection.timeout_s,
            ) as response:
                self._receive(response)
        except requests.exceptions.SSLError as error:
            raise WeightsError(
                f"{self.address} has no certificate that is trusted here ({error}). Behind a "
                "proxy that reads along, set REQUESTS_CA_BUNDLE to its certificate."
            ) from error
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # not an address at all
                raise WeightsError(f"{self.address} cannot be fetched: {error}.") from error
            raise Interrupted(_shorten(error)) from error

    def _headers(self) -> dict[str, str]:
        """Ask for a range if the bytes here can be told from those of another version."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "handrefiner"}
        if not self.arrived:
            return headers
        if self.remote.tag:
            return {**headers, "Range": f"bytes={self.arrived}-", "If-Range": self.remote.tag}
        if self.expected().sha256:  # bytes of two versions would be noticed
            return {**headers, "Range": f"bytes={self.arrived}-"}
        return headers

    def _receive(self, response: requests.Response) -> None:
        self._check_status(response)
        start = _start_of(response)
        if response.status_code == RANGE_WRONG or (start and start != self.arrived):
            self.part.unlink(missing_ok=True)
            raise Interrupted("the server does not have the range that was asked for")
        length = _length_of(response, start)
        self._note(_describe(response, length))
        if length is None and not self.expected().sha256:
            raise WeightsError(
                f"{response.url} does not say how long {self.file.name} is, so a broken download "
                "could not be told from a whole one. Try another mirror."
            )
        self._check_space((length or 0) - start)
        with self.part.open("ab" if start else "wb") as stream:
            done = start
            for block in response.iter_content(BLOCK_BYTES):
                stream.write(block)
                done += len(block)
                self.report(done, length)
        if length is not None and done < length:  # urllib3 before 2 does not notice
            raise Interrupted(f"the connection ended {length - done:,} bytes too early")
        if length is not None and done > length:
            self.part.unlink()
            raise Interrupted("the server sent more than it said")

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in REFUSED:
            raise WeightsError(
                f"{response.url} {REFUSED[status]} (HTTP {status}). Download {self.file.name} with "
                f"a browser and put it into {self.folder}."
            )
        if status == TOO_MANY or status >= 500:
            raise Interrupted(f"the server answered with HTTP {status}")
        if status not in (OK, PARTIAL, RANGE_WRONG):
            raise WeightsError(f"{response.url} answered with HTTP {status}.")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise WeightsError(
                f"{response.url} answered with a web page instead of the file; look at it with a "
                "browser."
            )

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed + RESERVE > free:
            raise WeightsError(
                f"{self.folder} has {free:,} bytes left, but {self.file.name} needs {needed:,} "
                "more; make room or choose another folder with --models_dir."
            )

    def _note(self, remote: Remote) -> None:
        """Keep what the server says; a later answer may leave the checksum out."""
        self.remote = replace(remote, sha256=remote.sha256 or self.remote.sha256)
        self.notes.write_text(
            json.dumps({"url": self.file.url, **asdict(self.remote)}), encoding="utf-8"
        )

    def _read_notes(self) -> Remote:
        """Read the notes of an earlier try; a part without notes of this address is deleted."""
        try:
            notes: dict[str, Any] = json.loads(self.notes.read_text("utf-8"))
            if notes.pop("url") == self.file.url:
                return Remote(**notes)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        self.part.unlink(missing_ok=True)
        return Remote()


def _say(pin: Pin) -> str:
    size = f"{pin.size:,} bytes" if pin.size >= 0 else "bytes"
    return f"{size} with {pin.sha256}" if pin.sha256 else size


def _start_of(response: requests.Response) -> int:
    """Return where the bytes of this answer begin; 0 = the server sends the whole file."""
    if response.status_code != PARTIAL:
        return 0
    match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _length_of(response: requests.Response, start: int) -> int | None:
    """Return the length of the whole file in bytes, if the server says it."""
    match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match and match[3] != "*":
        return int(match[3])
    rest = response.headers.get("Content-Length", "")
    return start + int(rest) if rest.isdecimal() else None


def _describe(response: requests.Response, length: int | None) -> Remote:
    """Read the headers: the hub gives the checksum in its redirect; a weak tag proves no bytes."""
    linked = [answer.headers.get("X-Linked-Etag", "") for answer in (*response.history, response)]
    sums = [tag.strip('"') for tag in linked]
    known = next((checksum for checksum in sums if SHA256.fullmatch(checksum)), None)
    tag = response.headers.get("ETag", "")
    strong = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    return Remote(length, known, strong)


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
