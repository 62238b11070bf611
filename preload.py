"""Command-line flags of the WebUI that belong to HandRefiner."""

from __future__ import annotations

from argparse import ArgumentParser


def preload(parser: ArgumentParser) -> None:
    """Add our flags; the WebUI calls this before it reads its command line."""
    parser.add_argument(
        "--handrefiner-models-dir",
        type=str,
        default=None,
        help="HandRefiner: folder of hand models that you add yourself",
    )
    parser.add_argument(
        "--handrefiner-offline",
        action="store_true",
        help="HandRefiner: never install or download anything",
    )
