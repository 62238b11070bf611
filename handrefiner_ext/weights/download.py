"""Downloads that survive broken connections and never leave half a file behind.

The part that has arrived is kept as `name.part`, with what the server said about it in
`name.part.json`; the next try continues after it (RFC 9110: Range with If-Range, so that a file
that has changed is sent whole). Only a whole file with the right checksum gets its name.

requests makes the connections (TLS with certificates of its own, proxies, redirects).
huggingface_hub (2.4 was read) is not used for the hub's files although every user of diffusers has
it: it resumes without If-Range and compares the size only, so a file joined from two versions would
be accepted; a server that drips single bytes keeps it busy for ever; and not all files here are on
the hub. What it does better, transfers through Xet, is a matter of speed. pooch cannot resume.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.weights.connection import (
    BLOCK_BYTES,
    OK,
    PARTIAL,
    Connection,
    Interrupted,
    Remote,
    describe_remote,
    read_blocks,
    read_length,
    read_retry_after,
    read_start,
    shorten,
)
from handrefiner_ext.weights.content import begins_well, find_content_fault, kind_of
from handrefiner_ext.weights.manifest import WeightsFile
from handrefiner_ext.weights.places import LOCK_NAME, Pin, measure, read_pins, write_pin

if TYPE_CHECKING:
    import requests

RANGE_WRONG, TOO_MANY = 416, 429
REFUSED = {401: "asks for a login", 403: "refuses access", 404: "does not have it"}
PAGES = ("text/html", "application/xhtml", "application/json", "text/xml", "application/xml")
RESERVE = 64 * 2**20
"""Bytes that a download leaves free on the disk."""

Report = Callable[[int, "int | None"], None]
"""Called with the number of bytes that have arrived and the whole length (None = unknown)."""


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
        if not right_size or expected.sha256 not in ("", self.found.sha256):
            return False
        fault = None if expected.sha256 else find_content_fault(self.part, self.file.name)
        if fault:
            self.forget()
            raise WeightsError(f"{self.address} gave {fault}. It was not kept.")
        return True

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
            f"{_say(expected)}. It was fetched twice and not kept. {self._advise()}"
        )

    def _advise(self) -> str:
        if self.file.name in read_pins(self.folder):
            return (
                f"{self.folder / LOCK_NAME} records what was downloaded before; if the publisher "
                f"has replaced the file since, run: handrefiner weights unpin {self.file.name}"
            )
        return "Try another mirror, or later."

    def _fetch_all(self) -> None:
        """Try until the whole file is there; only tries that bring hardly a byte are counted."""
        failures, most = 0, self.arrived
        while True:
            try:
                return self._fetch_rest()
            except Interrupted as reason:
                failures = 1 if self.arrived >= most + BLOCK_BYTES else failures + 1
                most = max(most, self.arrived)
                too_long = reason.wait_s > self.connection.longest_pause_s
                if failures >= self.connection.tries or too_long:
                    raise WeightsError(self._explain_end(reason)) from reason
                time.sleep(max(self.connection.pause_s * 2 ** (failures - 1), reason.wait_s))

    def _explain_end(self, reason: Interrupted) -> str:
        kept = "Try again later."
        if "Range" in self._headers():
            kept = f"{self.arrived:,} bytes are kept; the next try continues from there."
        else:
            self.forget()
        return f"{self.address} could not be downloaded: {reason}. {kept}"

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
            raise Interrupted(shorten(error)) from error

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
        start = read_start(response)
        length = read_length(response, start)
        if response.status_code == RANGE_WRONG or (start and start != self.arrived):
            self.part.unlink(missing_ok=True)
            raise Interrupted("the server does not have the range that was asked for")
        remote = describe_remote(response, length)
        if start and not self._continues(remote):
            self.forget()
            raise Interrupted("the file on the server has changed meanwhile")
        self._check_length(length)
        self._note(remote)
        if length is None and not self.expected().sha256:
            raise WeightsError(
                f"{response.url} does not say how long {self.file.name} is, so a broken download "
                "could not be told from a whole one. Try another mirror."
            )
        self._check_space((length or 0) - start)
        done = self._write(response, start, length)
        if length is not None and done < length:  # urllib3 before 2 does not notice
            raise Interrupted(f"the connection ended {length - done:,} bytes too early")
        if length is not None and done > length:
            self.part.unlink()
            raise Interrupted("the server sent more than it said")

    def _write(self, response: requests.Response, start: int, length: int | None) -> int:
        """Write what arrives and return where it ends; the first bytes must fit the file's kind."""
        done = start
        with self.part.open("ab" if start else "wb") as stream:
            for block in read_blocks(response, self.connection):
                if not done and not begins_well(block, self.file.name):
                    stream.close()
                    self.forget()
                    raise WeightsError(
                        f"{response.url} answered with something that is not "
                        f"{kind_of(self.file.name)}; look at it with a browser."
                    )
                stream.write(block)
                done += len(block)
                self.report(done, length)
        return done

    def _continues(self, remote: Remote) -> bool:
        """Return whether a partial answer is of the same version as the bytes that are here.

        RFC 9110 lets a server ignore If-Range, and some do, so the answer itself is compared.
        """
        if remote.size is not None and self.remote.size not in (None, remote.size):
            return False
        return remote.tag == self.remote.tag or bool(not remote.tag and self.expected().sha256)

    def _check_length(self, length: int | None) -> None:
        """Refuse a file of a wrong length before it is transferred."""
        pin = read_pins(self.folder).get(self.file.name)
        known = self.file.size if self.file.size is not None else (pin.size if pin else None)
        if length is not None and known not in (None, length):
            self.forget()
            raise WeightsError(
                f"{self.address} has {length:,} bytes, but {self.file.name} must have {known:,}. "
                f"Nothing was downloaded. {self._advise()}"
            )

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in REFUSED:
            raise WeightsError(
                f"{response.url} {REFUSED[status]} (HTTP {status}). Download {self.file.name} with "
                f"a browser and put it into {self.folder}."
            )
        if status == TOO_MANY or status >= 500:
            wait_s = read_retry_after(response.headers.get("Retry-After", ""))
            asked = f" and asks to wait {wait_s:,.0f} seconds" if wait_s else ""
            raise Interrupted(f"the server answered with HTTP {status}{asked}", wait_s)
        if status not in (OK, PARTIAL, RANGE_WRONG):
            raise WeightsError(f"{response.url} answered with HTTP {status}.")
        if response.headers.get("Content-Type", "").lower().startswith(PAGES):
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
