"""Connections to the servers that have weights: settings, and what an answer says and brings."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.weights.manifest import HUB, RAW

if TYPE_CHECKING:
    import requests

MIRRORS = {"HF_ENDPOINT": HUB, "HANDREFINER_RAW_ENDPOINT": RAW}
"""Variable with a mirror's address -> the host that it replaces."""
SWITCHES = ("HANDREFINER_OFFLINE", "HF_HUB_OFFLINE")
SWITCHED_OFF = frozenset({"", "0", "false", "no", "off"})
BLOCK_BYTES = 2**16
"""Bytes read at once; a connection that breaks loses at most so many."""
SHA256 = re.compile(r"[0-9a-f]{64}")
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
OK, PARTIAL = 200, 206


@dataclass(frozen=True)
class Connection:
    """How to reach the servers.

    mirrors: host -> the address used instead. offline: why nothing may be fetched, or None.
    timeout_s: longest wait for a connection or for the next bytes. tries: failures in a row, with
    hardly a new byte, after which a download ends. pause_s: the wait before the second try; it
    doubles with every further one. longest_pause_s: the longest wait that a server may ask for.
    least_rate: bytes per second, over `timeout_s`, below which a connection counts as broken.
    """

    mirrors: Mapping[str, str] = field(default_factory=dict)
    offline: str | None = None
    timeout_s: float = 30.0
    tries: int = 5
    pause_s: float = 1.0
    longest_pause_s: float = 120.0
    least_rate: float = 1024.0

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


class Interrupted(Exception):
    """The connection broke or the server was busy; another try may succeed.

    wait_s: the wait that the server asks for.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Remote:
    """What the server says about the file: length, checksum, and the tag of exactly these bytes."""

    size: int | None = None
    sha256: str | None = None
    tag: str | None = None


def read_blocks(response: requests.Response, connection: Connection) -> Iterator[bytes]:
    """Yield bytes as they arrive; Interrupted if they stop or arrive too slowly.

    A block is whatever one read of the socket gives: to wait for a full one would let a server
    that sends a byte every few seconds hold the download for days.
    """
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    raw: Any = response.raw
    read1 = raw.read1 if hasattr(raw, "read1") else raw._fp.read1  # urllib3 before 2
    begun, arrived = time.monotonic(), 0
    while True:
        try:
            block: bytes = read1(BLOCK_BYTES)
        except (ReadTimeoutError, TimeoutError) as error:
            raise Interrupted(f"nothing came for {connection.timeout_s:g} seconds") from error
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise Interrupted(f"the connection broke ({type(error).__name__})") from error
        if not block:
            return
        yield block
        arrived += len(block)
        passed = time.monotonic() - begun
        if passed >= connection.timeout_s:
            if arrived < connection.least_rate * passed:
                raise Interrupted(f"only {arrived:,} bytes came in {passed:,.0f} seconds")
            begun, arrived = time.monotonic(), 0


def read_retry_after(text: str) -> float:
    """Return the seconds in a Retry-After header, which is a number or a date; 0 = none."""
    if text.strip().isdecimal():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
        return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def read_start(response: requests.Response) -> int:
    """Return where the bytes of this answer begin; 0 = the server sends the whole file."""
    if response.status_code != PARTIAL:
        return 0
    match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def read_length(response: requests.Response, start: int) -> int | None:
    """Return the length of the whole file in bytes, if the server says it."""
    match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match and match[3] != "*":
        return int(match[3])
    rest = response.headers.get("Content-Length", "")
    return start + int(rest) if rest.isdecimal() else None


def describe_remote(response: requests.Response, length: int | None) -> Remote:
    """Read the headers: the hub gives the checksum in its redirect; a weak tag proves no bytes."""
    linked = [answer.headers.get("X-Linked-Etag", "") for answer in (*response.history, response)]
    sums = [tag.strip('"') for tag in linked]
    known = next((checksum for checksum in sums if SHA256.fullmatch(checksum)), None)
    tag = response.headers.get("ETag", "")
    strong = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    return Remote(length, known, strong)


def shorten(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
