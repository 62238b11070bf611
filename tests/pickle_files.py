"""Pickles as Python 2, and as attackers, would write them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

STOP = b"."


def quoted(content: bytes) -> bytes:
    """A text of protocol 0 with every byte escaped."""
    return b"S'" + b"".join(b"\\x%02x" % byte for byte in content) + b"'\n"


def old_array(array: np.ndarray) -> bytes:
    """Protocol 0, as numpy under Python 2 wrote an array; leaves it on the stack."""
    kind = array.dtype.str[1:].encode()
    order = array.dtype.str[:1].encode()
    shape = b"(" + b"".join(b"I%d\n" % size for size in array.shape) + b"t"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
        + shape
        + b"cnumpy\ndtype\n(S'"
        + kind
        + b"'\nI0\nI1\ntR(I3\nS'"
        + order
        + b"'\nNNNI-1\nI-1\nI0\ntbI00\n"
        + quoted(array.tobytes())
        + b"tb"
    )


def old_object(module: bytes, name: bytes, state: dict[bytes, bytes]) -> bytes:
    """A new-style object under protocol 2: NEWOBJ without arguments, then its state."""
    return b"c" + module + b"\n" + name + b"\n)\x81" + old_dict(state) + b"b"


def old_dict(entries: dict[bytes, bytes]) -> bytes:
    """entries: name -> pickled value without STOP."""
    return b"(d" + b"".join(b"S'" + key + b"'\n" + value + b"s" for key, value in entries.items())


def write(path: Path, body: bytes) -> Path:
    path.write_bytes(body + STOP)
    return path


class Calls:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def dumped(value: object, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol)
