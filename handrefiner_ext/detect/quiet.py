"""Keeps the start-up chatter of native libraries off the terminal."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
CHATTER = re.compile(
    rb"^(INFO: Created TensorFlow Lite|INFO: \[\w+\.cc:\d+\] "
    rb"|WARNING: (Read-only tensor|Logging before|All log messages before)"
    rb"|[IW]\d{4} [\d:. ]+\S+\.cc:\d+\] "
    rb"(GPU sup|GL version|Feedback manager requires|Using NORM_RECT without"
    rb"|Input tensor memory is not aligned)"
    rb"|\[.+ logging\.cc:\d+: Set ray log level )"
)
"""What TFLite, MediaPipe and Ray say on every start, although nothing is wrong."""


@contextmanager
def hushed() -> Iterator[None]:
    """Holds back what is written to stderr meanwhile and then passes on all but the chatter.

    Only for constructing and closing networks and for starting Ray: none of the libraries has a
    switch for it, and nothing is lost if another thread writes at the same time.
    """
    try:
        terminal = os.dup(STDERR)
    except OSError:  # no stderr, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as held:
        try:
            sys.stderr.flush()
            os.dup2(held.fileno(), STDERR)
            yield
        finally:
            os.dup2(terminal, STDERR)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not CHATTER.match(line):
                    os.write(STDERR, line)
