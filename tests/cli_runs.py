"""Running the command line in this process, and looking at what it wrote."""

from __future__ import annotations

import numpy as np
from PIL import Image

from handrefiner_ext.cli.commands import main


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    with Image.open(path) as opened:
        return np.array(opened)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refine_folder(pictures, out, *more):
    return run("refine", "--input_dir", pictures, "--out_dir", out, *more)
