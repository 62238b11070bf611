"""Test-only: says how much processor time our script's loading and the page's building take.

The clock and the processor time of the whole start count what else the machine does, and what
neither has to do with us. The folder's name lets it be loaded first.
"""

import sys
import time
from functools import wraps

from modules import script_callbacks, script_loading, ui

OURS = "/handrefiner.py"


def say_time(name, call):
    before = time.thread_time()
    result = call()
    took = time.thread_time() - before
    sys.stdout.write(f"Processor time of {name}: {took:.3f} s\n")
    return result


def time_page():
    create = ui.create_ui
    ui.create_ui = lambda: say_time("the page", create)


def time_script():
    load = script_loading.load_module

    @wraps(load)
    def timed(path, *args, **kwargs):
        if not str(path).endswith(OURS):
            return load(path, *args, **kwargs)
        return say_time("our script", lambda: load(path, *args, **kwargs))

    script_loading.load_module = timed


time_script()
script_callbacks.on_before_ui(time_page)
