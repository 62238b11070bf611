"""The command line."""

from handrefiner_ext.cli.commands import build_parser, main

__all__ = ["build_parser", "main"]
