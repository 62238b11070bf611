"""Reads pickled dictionaries of arrays, such as MANO_RIGHT.pkl, without numpy's own unpickling.

MANO's file comes from Python 2 (its texts are read as latin-1) and holds numpy arrays, a
scipy.sparse matrix and chumpy objects. Of those three only the names are known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles.machine import BAD_CONTENT, Built, Limits, Machine, Name

LARGEST_FILE = 256 * 2**20
DEEPEST = 40
"""Deepest nesting of containers and objects."""
KNOWN = re.compile(
    r"numpy\.(ndarray|dtype)"
    r"|numpy\.(core|_core)\.multiarray\.(_reconstruct|scalar)"
    r"|numpy\.(core|_core)\.numeric\._frombuffer"
    r"|scipy\.sparse\.(_?csc|_?csr)\.cs[cr]_(matrix|array)"
    r"|chumpy\.(ch\.Ch|reordering\.(Select|Reshape))"
    r"|(copy_reg|copyreg)\._reconstructor"
    r"|(__builtin__|builtins)\.(object|bytes)"
    r"|collections\.OrderedDict"
    r"|_codecs\.encode"
)
NUMBERS = re.compile(r"(b1|[iu][1248]|f[248]|c8|c16)")
"""Element types that are plain numbers, not objects, texts or records."""
BYTE_ORDERS = frozenset("<>|=")


@dataclass(frozen=True)
class SparseMatrix:
    """A compressed sparse matrix as scipy stores it; `by_column` tells csc from csr.

    data: (k,) values. indices: (k,) row (csc) or column (csr) of each.
    indptr: (n + 1,) where each column (csc) or row (csr) begins. shape: (rows, columns).
    """

    data: NDArray[Any]
    indices: NDArray[Any]
    indptr: NDArray[Any]
    shape: tuple[int, int]
    by_column: bool = True

    def dense(self) -> NDArray[Any]:
        """Return the (rows, columns) array; entries given twice are added, as scipy does."""
        lines = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        places = (self.indices, lines) if self.by_column else (lines, self.indices)
        full = np.zeros(self.shape, dtype=self.data.dtype)
        np.add.at(full, places, self.data)
        return full


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the dictionary in a pickle: arrays, `SparseMatrix`, numbers, texts and lists.

    Raises WeightsError for a file that names anything else, is damaged or too large.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise WeightsError(f"{path} has {size:,} bytes; {LARGEST_FILE:,} is the most that is read.")
    try:
        with path.open("rb") as stream:
            content = Machine(stream, Limits(allowed=_is_known)).run()
        read = Translator().translate(content)
    except WeightsError as error:
        raise WeightsError(f"{path} is refused. {error}") from error
    except BAD_CONTENT as error:
        raise WeightsError(f"{path} is no intact pickle ({error}); get it anew.") from error
    if not isinstance(read, dict) or not all(isinstance(key, str) for key in read):
        raise WeightsError(f"{path} holds no dictionary of named arrays; it is another file.")
    return read


def _is_known(name: Name) -> bool:
    return KNOWN.fullmatch(str(name)) is not None


class Translator:
    """Turns what the machine noted into arrays; each object once, however often it is used."""

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}
        self.depth = 0

    def translate(self, value: Any) -> Any:
        if isinstance(value, (str, bytes, bytearray, int, float, type(None))):
            return value
        if id(value) not in self.done:
            self.depth += 1
            if self.depth > DEEPEST:
                raise WeightsError(f"It nests more than {DEEPEST} levels deep.")
            self.done[id(value)] = self._translate_new(value)
            self.depth -= 1
        return self.done[id(value)]

    def _translate_new(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.translate(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.translate(item) for item in value]
        if isinstance(value, tuple):
            return tuple([self.translate(item) for item in value])
        if isinstance(value, Built):
            return MAKERS[self._class_of(value).name](self, value)
        raise WeightsError(f"It holds {type(value).__name__}, which is no array.")

    def _class_of(self, built: Built) -> Name:
        name = built.args[0] if built.name.name == "_reconstructor" else built.name
        if not isinstance(name, Name) or name.name not in MAKERS:
            raise WeightsError(f"It calls {name}, which makes no array.")
        return name

    def state(self, built: Built) -> dict[str, Any]:
        if not isinstance(built.state, dict):
            raise WeightsError(f"Its {built.name} has no content.")
        return built.state

    def array(self, value: Any) -> NDArray[Any]:
        read = self.translate(value)
        if not isinstance(read, np.ndarray):
            raise WeightsError(f"It holds {type(read).__name__} where an array belongs.")
        return read


def _make_dtype(translator: Translator, built: Built) -> np.dtype[Any]:
    """Read numpy.dtype('f8', …) with its state (version, byte order, …)."""
    text = str(built.args[0]).lstrip("<>|=")
    order = str(built.state[1] if built.state else "|")
    if not NUMBERS.fullmatch(text) or order not in BYTE_ORDERS:
        raise WeightsError(f"It holds an array of {text!r}; only plain numbers are read.")
    return np.dtype(text if order == "|" else order + text)


def _make_array(translator: Translator, built: Built) -> NDArray[Any]:
    """Read _reconstruct(…) with its state (version, shape, type, order, bytes)."""
    _, shape, kind, by_column, content = built.state
    return _lay_out(translator.translate(content), translator.translate(kind), shape, by_column)


def _make_array_from_buffer(translator: Translator, built: Built) -> NDArray[Any]:
    """Read _frombuffer(bytes, type, shape, order), numpy's form in newer protocols."""
    content, kind, shape, order = built.args
    return _lay_out(translator.translate(content), translator.translate(kind), shape, order == "F")


def _make_scalar(translator: Translator, built: Built) -> Any:
    kind, content = built.args
    return _lay_out(translator.translate(content), translator.translate(kind), (), False)[()]


def _lay_out(content: Any, kind: Any, shape: Any, by_column: Any) -> NDArray[Any]:
    """Copy `content` into a new array; its length must be exactly what the shape needs."""
    if isinstance(content, str):
        content = content.encode("latin-1")  # Python 2 wrote bytes as text
    sizes = tuple(int(size) for size in shape)
    if not isinstance(content, (bytes, bytearray)) or not isinstance(kind, np.dtype):
        raise WeightsError("It holds an array of objects; only plain numbers are read.")
    needed = kind.itemsize
    for size in sizes:
        needed *= max(size, 0)
    if needed != len(content):
        raise WeightsError(f"An array of shape {sizes} has {len(content)} bytes, not {needed}.")
    flat = np.frombuffer(content, kind).astype(kind.newbyteorder("="))
    return flat.reshape(sizes, order="F" if by_column else "C")


def _encode(translator: Translator, built: Built) -> bytes:
    """Read encode(text, 'latin1'), which is how Python 3 writes bytes under protocol 2."""
    text, encoding = built.args
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise WeightsError(f"It encodes a text as {encoding!r}.")
    return text.encode("latin-1")


def _make_no_bytes(translator: Translator, built: Built) -> bytes:
    """Read bytes(), which is how Python 3 writes empty bytes; refuse it with arguments."""
    if built.args:
        raise WeightsError("It calls bytes with arguments.")
    return b""


def _make_sparse(translator: Translator, built: Built) -> SparseMatrix:
    state = translator.state(built)
    rows, columns = state.get("_shape", state.get("shape"))  # type: ignore[misc]
    data, indices, starts = (translator.array(state[k]) for k in ("data", "indices", "indptr"))
    by_column = "csc" in str(built.args[0] if built.args else built.name)
    matrix = SparseMatrix(data, indices, starts, (int(rows), int(columns)), by_column)
    if not _is_sound(matrix):
        raise WeightsError("Its sparse matrix points outside itself.")
    return matrix


def _is_sound(matrix: SparseMatrix) -> bool:
    across, lines = matrix.shape if matrix.by_column else matrix.shape[::-1]
    starts, indices = matrix.indptr, matrix.indices
    if any(array.ndim != 1 for array in (matrix.data, indices, starts)):
        return False
    if starts.dtype.kind not in "iu" or indices.dtype.kind not in "iu" or len(starts) != lines + 1:
        return False
    whole = len(matrix.data) == len(indices) == starts[-1] and starts[0] == 0
    inside = not len(indices) or (indices.min() >= 0 and indices.max() < across)
    return bool(whole and inside and (np.diff(starts) >= 0).all())


def _make_chumpy_array(translator: Translator, built: Built) -> NDArray[Any]:
    return np.asarray(translator.translate(translator.state(built)["x"]))


def _make_chumpy_selection(translator: Translator, built: Built) -> NDArray[Any]:
    """Read chumpy.reordering.Select: the entries `idxs` of `a`, in `preferred_shape`."""
    state = translator.state(built)
    chosen = np.ravel(translator.array(state["a"]))[translator.array(state["idxs"])]
    shape = state.get("preferred_shape")
    return chosen if shape is None else np.reshape(chosen, tuple(int(size) for size in shape))


def _make_chumpy_reshaping(translator: Translator, built: Built) -> NDArray[Any]:
    state = translator.state(built)
    shape = tuple(int(size) for size in state["newshape"])
    return np.reshape(translator.array(state["a"]), shape)


def _make_ordered(translator: Translator, built: Built) -> dict[Any, Any]:
    given = [pair for pairs in built.args for pair in pairs]
    return {key: translator.translate(item) for key, item in [*given, *built.items]}


MAKERS: dict[str, Callable[[Translator, Built], Any]] = {
    "dtype": _make_dtype,
    "_reconstruct": _make_array,
    "_frombuffer": _make_array_from_buffer,
    "scalar": _make_scalar,
    "encode": _encode,
    "bytes": _make_no_bytes,
    **dict.fromkeys(("csc_matrix", "csr_matrix", "csc_array", "csr_array"), _make_sparse),
    "Ch": _make_chumpy_array,
    "Select": _make_chumpy_selection,
    "Reshape": _make_chumpy_reshaping,
    "OrderedDict": _make_ordered,
}
