"""The script's arguments: see `handrefiner_ext.api.body`, which the API reads as well."""

from __future__ import annotations

from handrefiner_ext.api.body import DRAWN_MASK, NAMES, Arguments, read_arguments

__all__ = ["DRAWN_MASK", "NAMES", "Arguments", "read_arguments"]
