"""Whether bytes are a file of weights of the kind that its name says.

Without a known checksum the first download is pinned, so an error page under a file's name would
be expected for ever after.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

SAFETENSORS = ".safetensors"
TORCH = frozenset({".ckpt", ".pth", ".pt", ".bin"})
LONGEST_HEADER = 100_000_000
"""Bytes of the header of a .safetensors file, as its own library bounds it."""
LEAST_BYTES = 1024
"""No file of weights is smaller; messages and pointers of version control are."""
ZIP, PICKLES = b"PK\x03\x04", tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def kind_of(name: str) -> str:
    """Name the kind of file that `name` promises, for messages."""
    ending = Path(name).suffix.lower()
    if ending in TORCH:
        return "a checkpoint of torch"
    return f"a {ending} file" if ending else "a file of weights"


def begins_well(content: bytes, name: str) -> bool:
    """Return whether the first bytes can be those of a file of that name; a few are enough."""
    ending = Path(name).suffix.lower()
    if ending == SAFETENSORS:
        length = int.from_bytes(content[:8], "little")
        return len(content) < 9 or (length <= LONGEST_HEADER and content[8:9] == b"{")
    if ending == ".npz":
        return ZIP.startswith(content[:4])
    if ending in TORCH:
        return any(magic.startswith(content[: len(magic)]) for magic in (ZIP, *PICKLES))
    return True


def find_content_fault(path: Path, name: str) -> str | None:
    """Return what a file that has arrived whole is instead of what its name says, or None."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(16)
    if size < LEAST_BYTES:
        return f"{size:,} bytes, fewer than any file of weights has"
    if not begins_well(start, name):
        return f"something that is not {kind_of(name)}"
    if Path(name).suffix.lower() == SAFETENSORS and not _is_whole_safetensors(path, size):
        return "a .safetensors file whose header does not fit its length"
    return None


def _is_whole_safetensors(path: Path, size: int) -> bool:
    """Return whether the tensors that the header lists fill the file to its last byte."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > min(LONGEST_HEADER, size - 8):
            return False
        try:
            entries = json.loads(stream.read(length))
            ends = [
                int(entry["data_offsets"][1])
                for name, entry in entries.items()
                if name != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return False
    whole: bool = size == 8 + length + max(ends, default=0)
    return whole
