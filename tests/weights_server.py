"""A real HTTP server on this machine that serves files as badly as it is told to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


def make_safetensors(seed: int, size: int = 700_000) -> bytes:
    """A whole .safetensors file of `size` bytes with random numbers."""
    length = 200
    count = size - 8 - length
    entry = {"a": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}
    header = json.dumps(entry).encode().ljust(length)
    return struct.pack("<Q", length) + header + np.random.default_rng(seed).bytes(count)


@dataclass
class Behaviour:
    """What the server does; lists are used up by one request each.

    cut_after: bytes after which a connection is closed. stall_after: after which it falls silent.
    ignores_condition: a range is sent whatever If-Range says. drip_s: the wait before every byte.
    """

    content: bytes
    cut_after: list[int] = field(default_factory=list)
    stall_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    corrupt: list[bool] = field(default_factory=list)
    ranges: bool = True
    tag: str = ""
    redirect: bool = False
    linked: bool = False
    tells_length: bool = True
    kind: str = ""
    ignores_condition: bool = False
    drip_s: float = 0.0
    retry_after: str = ""
    hold: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def ranges_asked(self) -> list[str | None]:
        """Of every request for the bytes themselves."""
        return [
            headers.get("range")
            for path, headers in self.requests
            if not self.redirect or path.startswith("/elsewhere")
        ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        behaviour = self.behaviour
        headers = {name.lower(): value for name, value in self.headers.items()}
        behaviour.requests.append((self.path, headers))
        if behaviour.redirect and not self.path.startswith("/elsewhere"):
            return self._redirect()
        if behaviour.statuses:
            return self._refuse(behaviour.statuses.pop(0))
        start = self._start(headers)
        if start > len(behaviour.content):
            return self._refuse(416)
        self._answer(start)
        self._send(bytearray(behaviour.content), start)
        return None

    def _redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/elsewhere" + self.path)
        if self.behaviour.linked:
            self.send_header("X-Linked-Etag", f'"{self.behaviour.sha256}"')
            self.send_header("X-Linked-Size", str(len(self.behaviour.content)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        if self.behaviour.retry_after:
            self.send_header("Retry-After", self.behaviour.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _start(self, headers: dict[str, str]) -> int:
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        condition = headers.get("if-range")
        if not wanted or not self.behaviour.ranges:
            return 0
        if condition in (None, self.behaviour.tag) or self.behaviour.ignores_condition:
            return int(wanted[1])
        return 0

    def _answer(self, start: int) -> None:
        behaviour, whole = self.behaviour, len(self.behaviour.content)
        self.send_response(206 if start else 200)
        if behaviour.tag:
            self.send_header("ETag", behaviour.tag)
        if behaviour.kind:
            self.send_header("Content-Type", behaviour.kind)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if behaviour.tells_length:
            self.send_header("Content-Length", str(whole - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def _send(self, content: bytearray, start: int) -> None:
        behaviour = self.behaviour
        if behaviour.corrupt and behaviour.corrupt.pop(0):
            content[-1] ^= 1
        if behaviour.cut_after:
            content = content[: start + behaviour.cut_after.pop(0)]
            self.close_connection = True
        elif behaviour.stall_after:
            part = content[start : start + behaviour.stall_after.pop(0)]
            with contextlib.suppress(OSError):
                self.wfile.write(part)
                self.wfile.flush()
            behaviour.hold.wait(5.0)
            self.close_connection = True
            return
        with contextlib.suppress(OSError):
            if behaviour.drip_s:
                for place in range(start, len(content)):
                    self.wfile.write(content[place : place + 1])
                    self.wfile.flush()
                    if behaviour.hold.wait(behaviour.drip_s):
                        return
            self.wfile.write(content[start:])


@contextlib.contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The server's address while it runs."""
    handler = type("BehavedHandler", (Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        behaviour.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
        time.sleep(0)
