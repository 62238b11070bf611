"""Time and memory that a piece of code takes within this process."""

from __future__ import annotations

import faulthandler
import time
from pathlib import Path

import pytest

HANGS = 60.0
"""A reader that hangs in C cannot be interrupted; after so many seconds the run is ended."""
CLEAR = Path("/proc/self/clear_refs")


def memory(kind: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM the most since it was last cleared."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if kind in x)
    return int(line.split()[1]) * 1024


class Cost:
    """Measures the time and the peak of memory within the block."""

    def __enter__(self) -> Cost:
        if not CLEAR.exists():
            pytest.skip("the peak of memory can only be cleared under Linux")
        CLEAR.write_text("5")
        faulthandler.dump_traceback_later(HANGS, exit=True)
        self.before, self.begun = memory("VmRSS"), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()
        self.seconds = time.process_time() - self.begun
        self.bytes = memory("VmHWM") - self.before
