"""Running the command line in this process, and looking at what it wrote."""

from __future__ import annotations

import time

import numpy as np
from PIL import Image

from handrefiner_ext.cli.commands import main
from handrefiner_ext.files.marks import KEY
from handrefiner_ext.pictures.metadata import join_png, split_png


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    with Image.open(path) as opened:
        return np.array(opened)


def unmarked(path):
    """The bytes of a PNG without our mark."""
    chunks = split_png(path.read_bytes())
    assert [chunk.keyword for chunk in chunks].count(KEY) == 1
    return join_png(chunk for chunk in chunks if chunk.keyword != KEY)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refine_folder(pictures, out, *more):
    return run("refine", "--input_dir", pictures, "--out_dir", out, *more)


def wait_until(true, longest_s=60):
    end = time.monotonic() + longest_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
