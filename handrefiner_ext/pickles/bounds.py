"""What reading a hostile file may cost, and how its content is shown in a message.

A kilobyte must cost neither a minute nor a gigabyte: memory and operations of one file share one
budget, texts are bounded before they are read, shapes before anything is laid out.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import WeightsError, escape

OPERATIONS = 700_000
"""The most opcodes of one file; torch.save writes 32 for each tensor, so 21,000 tensors fit."""
ALLOWANCE = 64 * 2**20
"""Bytes that reading a file may take beyond three times its size."""
LONGEST_TEXT = 64 * 2**20
"""Bytes of one text or byte string; the largest array of MANO has under 4 million."""
LONGEST_NAME = 1000
LONGEST_NUMBER = 1000
"""Characters of a global's name and digits of a number."""
LARGEST_SIZE = 2**48
"""More than any count of numbers in a file; below it products of a few sizes stay cheap."""
DIMENSIONS = 32
SHOWN = 80
"""Characters of a file's own text that a message repeats."""


class Damage(ValueError):
    """The content of a file is not what its format demands; the message completes a sentence."""


BAD_CONTENT = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError),
    *(struct.error, RuntimeError, MemoryError, EOFError, OSError),
)
"""What reading a broken or hostile stream can raise."""


def explain(error: BaseException) -> str:
    """Say what is wrong with a file; an error's own text is repeated only if it is ours."""
    if isinstance(error, Damage):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        raise error  # the file itself cannot be opened, whatever is in it
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    return "its content is damaged or cut off"


def printable(text: str, most: int = SHOWN) -> str:
    """Return the text on one line, at most `most` characters, control characters escaped."""
    cut = text if len(text) <= most else text[:most] + "…"
    return escape(cut)


def read_shape(value: Any, least: int = 0) -> tuple[int, ...]:
    """Return the sizes in a file's tuple or list; Damage if one is below `least` or too large."""
    if not isinstance(value, (tuple, list)) or len(value) > DIMENSIONS:
        raise Damage("an array has an impossible shape")
    if not all(isinstance(n, int) and least <= n < LARGEST_SIZE for n in value):
        raise Damage("an array has an impossible shape")
    return tuple(value)


class Budget:
    """What reading one file may still cost: operations, and bytes of memory.

    A file of a kilobyte can name one megabyte thousands of times; so every copy is charged before
    it is made, and all parts of a file share one budget.
    """

    def __init__(self, file_bytes: int) -> None:
        self.bytes = 3 * file_bytes + ALLOWANCE
        self.operations = OPERATIONS

    def charge(self, size: int) -> None:
        """Spend bytes; WeightsError if there are not so many left."""
        if size > self.bytes:
            raise WeightsError(
                "It unpacks to many times its own size, which no file of weights does, so it is "
                "not read."
            )
        self.bytes -= size


class Source(mmap.mmap):
    """A file mapped into memory, from which nothing too long is read at once."""

    def read(self, size: int | None = None) -> bytes:
        if size is None or size > LONGEST_TEXT:
            raise Damage("it announces a text that is longer than any in a file of weights")
        return super().read(size)

    def readline(self) -> bytes:
        end = self.find(b"\n", self.tell(), self.tell() + LONGEST_TEXT)
        if end < 0:
            raise Damage("a line has no end")
        return super().readline()


def open_source(path: Path) -> Source:
    """Map the file for reading; Damage if it is empty."""
    with path.open("rb") as stream:
        if not path.stat().st_size:
            raise Damage("it is empty")
        return Source(stream.fileno(), 0, access=mmap.ACCESS_READ)
