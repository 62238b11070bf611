"""The panel's download of the hand ControlNet, in a thread of its own that the panel watches."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

from modules import shared

from handrefiner_ext.errors import HandRefinerError
from handrefiner_ext.host import controlnet
from handrefiner_ext.weights.connection import read_connection
from handrefiner_ext.weights.download import download
from handrefiner_ext.weights.manifest import HAND_CONTROLNET, WeightsFile, choose
from handrefiner_ext.weights.places import read_pins

logger = logging.getLogger(__name__)

LICENCE = choose("controlnet").licence
PAGE = "https://huggingface.co/hr16/ControlNet-HandRefiner-pruned"
POLL_S = 0.5
"""Seconds between two looks at a running download."""
STOPPED = "Stopped. What has arrived is kept, and the next download goes on from there."
FORBIDDEN = (
    "This WebUI does not let its pages change files (--listen or --share without "
    "--enable-insecure-extension-access). Whoever runs it can put "
    "control_sd15_inpaint_depth_hand_fp16 into models/ControlNet."
)


class _Stop(Exception):
    """Ends the thread between two blocks."""


class Fetching:
    """One download of a file into ControlNet's folder; several pages may watch it."""

    def __init__(self, file: WeightsFile) -> None:
        self.file = file
        self.folder = controlnet.models_folder()
        self.done = 0
        self.length: int | None = None
        self.ended = ""
        self.succeeded = False
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="handrefiner download", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End the download at the next block."""
        self._stop.set()

    def describe(self) -> str:
        """Return how far it is, in words, and how it ended."""
        if self.ended:
            return self.ended
        arrived = f"{self.done / 2**20:,.0f}"
        if self.length is None:
            return f"{arrived} MB"
        share = 100 * self.done // max(self.length, 1)
        return f"{arrived} / {self.length / 2**20:,.0f} MB, {share} %"

    def _run(self) -> None:
        try:
            place = download(self.file, self.folder, read_connection(os.environ), self._show)
            controlnet.refresh_models()
            checksum = read_pins(self.folder)[self.file.name].sha256
            self.succeeded = True
            self.ended = f"{place.name} is here, its checksum is right (sha256 {checksum})."
        except _Stop:
            self.ended = STOPPED
        except HandRefinerError as reason:
            self.ended = str(reason)
        except Exception as fault:
            logger.exception("HandRefiner could not download %s", self.file.name)
            self.ended = f"The download failed with {type(fault).__name__}: {fault}"

    def _show(self, done: int, length: int | None) -> None:
        self.done, self.length = done, length
        if self._stop.is_set():
            raise _Stop


class Fetcher:
    """Starts a download unless one is running."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.running: Fetching | None = None

    def start(self) -> Fetching:
        """Return the download that is running, or a new one."""
        with self._lock:
            if self.running is None or not self.running.thread.is_alive():
                self.running = Fetching(HAND_CONTROLNET)
            return self.running

    def stop(self) -> None:
        """Stop what is running, if anything is."""
        if self.running is not None:
            self.running.stop()


FETCHER = Fetcher()
"""One for the whole process, whatever the number of pages."""


def is_allowed() -> bool:
    """Return whether pages may install things; the WebUI decides that for its own extensions."""
    return not getattr(shared.cmd_opts, "disable_extension_access", False)


def watch() -> Iterator[Fetching]:
    """Start the download, or join the one that runs; yield it while it runs and once more."""
    fetching = FETCHER.start()
    while fetching.thread.is_alive():
        yield fetching
        fetching.thread.join(POLL_S)
    yield fetching
