"""Networks are loaded without chatter, from several threads too."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import sleep

from handrefiner_ext.tflite import STDERR, without_chatter

THREADS, ROUNDS = 6, 5


def test_several_threads_leave_stderr_where_it_was(capfd):
    before = os.fstat(STDERR)
    together = Barrier(THREADS)

    def load():
        together.wait()
        for _ in range(ROUNDS):
            with without_chatter():
                sleep(0.001)

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(load) for _ in range(THREADS)]:
            done.result()
    after = os.fstat(STDERR)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
    os.write(STDERR, b"still here\n")
    assert capfd.readouterr().err.endswith("still here\n")
