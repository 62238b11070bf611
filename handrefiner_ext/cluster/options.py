"""The options of the command line that choose who does the work."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from handrefiner_ext.errors import UsageError

LOCAL, RAY = "local", "ray"
FOLDERS = {"source": "input_dir", "out": "out_dir", "depth": "depth_dir", "mask": "mask_dir"}
"""What lies in a folder -> the option that names it."""


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """--engine and --address."""
    group = parser.add_argument_group("many pictures at a time (docs/clusters.md)")
    group.add_argument(
        "--engine",
        choices=(LOCAL, RAY),
        default=LOCAL,
        help="ray streams the folder through workers that may die, and goes on with a folder "
        'where it was stopped; it needs pip install "handrefiner[cluster]" (local)',
    )
    group.add_argument(
        "--address",
        metavar="A",
        help="a running Ray cluster: auto for the one that this machine is part of, or host:port; "
        "without it, --engine ray works on this machine alone",
    )
    group.add_argument(
        "--jobs",
        metavar="N",
        help="pictures to work on at a time, each in a process with models of its own; with "
        "--engine ray one processor core each (1, with --engine ray all cores)",
    )


def read_engine(options: argparse.Namespace) -> bool:
    """Whether Ray does the work; UsageError for what does not fit together."""
    if options.engine != RAY:
        if options.address is not None:
            raise UsageError("--address is for --engine ray; add that, or leave it out.")
        for name in FOLDERS.values():
            if is_url(getattr(options, name)):
                raise UsageError(f"--{name} takes an address with :// only with --engine ray.")
        return False
    if options.url:
        raise UsageError("--url has a WebUI do the work; leave out it or --engine ray.")
    if not options.input_dir:
        raise UsageError("--engine ray works through a folder; give --input_dir.")
    return True


def read_jobs(options: argparse.Namespace) -> int | None:
    """None = as many as there are processor cores."""
    text = options.jobs
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"--jobs = {text!r} is not possible; it must be a whole number from 1.")
    return int(text)


def find_urls(options: argparse.Namespace) -> Mapping[str, str]:
    """What lies in a folder -> its address, for the folders that are no local paths."""
    given = {what: getattr(options, name) for what, name in FOLDERS.items()}
    urls = {what: name.rstrip("/") for what, name in given.items() if is_url(name)}
    for what in ("out", "depth", "mask"):
        if "source" in urls and urls["source"] == urls.get(what):
            raise UsageError(
                f"--{FOLDERS[what]} must not be --input_dir where that is an address; give "
                "another folder."
            )
    return urls


def is_url(name: str | None) -> bool:
    """Whether a folder is named by an address such as s3://bucket/pictures."""
    return name is not None and "://" in name
