"""Run the command line: `python -m handrefiner_ext` is `handrefiner`."""

from __future__ import annotations

import sys

from handrefiner_ext.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
