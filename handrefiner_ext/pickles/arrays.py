"""Reads pickled dictionaries of arrays, such as MANO_RIGHT.pkl, without numpy's own unpickling.

MANO's file comes from Python 2 (its texts are read as latin-1) and holds numpy arrays, a
scipy.sparse matrix and chumpy objects. Of those three only the names are known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles.bounds import (
    BAD_CONTENT,
    Budget,
    Damage,
    explain,
    open_source,
    read_shape,
)
from handrefiner_ext.pickles.machine import Built, Machine, Name, OddKey, as_key, describe

LARGEST_FILE = 64 * 2**20
"""Bytes; MANO_RIGHT.pkl has under 4 million."""
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
LONGEST_KIND = 8


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
        starts = self.indptr.astype(np.int64)
        counts = starts[1:] - starts[:-1]
        lines = np.repeat(np.arange(len(counts)), counts)
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
    budget = Budget(size)
    try:
        with open_source(path) as stream:
            content = Machine(stream, budget, is_known).run()
        read = Translator(budget).translate(content)
    except WeightsError as error:
        raise WeightsError(f"{path} is refused. {error}") from error
    except BAD_CONTENT as error:
        raise WeightsError(
            f"{path} is not an intact pickle: {explain(error)}. Download it again."
        ) from error
    if not isinstance(read, dict) or not all(isinstance(key, str) for key in read):
        raise WeightsError(f"{path} holds no dictionary of named arrays; it is another file.")
    return read


def is_known(name: Name) -> bool:
    """Return whether a file of arrays may name this global."""
    return KNOWN.fullmatch(str(name)) is not None


class Translator:
    """Turns what the machine noted into arrays; each object once, however often it is used."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
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
            return self.dictionary(value.items())
        if isinstance(value, list):
            return [self.translate(item) for item in value]
        if isinstance(value, tuple):
            return tuple([self.translate(item) for item in value])
        if isinstance(value, Built):
            return MAKERS[self._class_of(value).name](self, value)
        raise WeightsError(f"It holds {describe(value)}, which is not an array.")

    def dictionary(self, pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
        read = {key: self.translate(item) for key, item in pairs}
        odd = [key for key in read if isinstance(key, OddKey)]
        if odd:
            raise WeightsError(f"It holds a dictionary whose key is {describe(odd[0].key)}.")
        return read

    def _class_of(self, built: Built) -> Name:
        name = built.args[0] if built.name.name == "_reconstructor" else built.name
        if not isinstance(name, Name) or name.name not in MAKERS:
            raise WeightsError(f"It calls {describe(name)}, which makes no array.")
        return name

    def state(self, built: Built) -> dict[str, Any]:
        if not isinstance(built.state, dict):
            raise WeightsError(f"Its {describe(built.name)} has no content.")
        return built.state

    def array(self, value: Any) -> NDArray[Any]:
        read = self.translate(value)
        if not isinstance(read, np.ndarray):
            raise WeightsError(f"It holds {describe(read)} where an array belongs.")
        return read


def _make_dtype(translator: Translator, built: Built) -> np.dtype[Any]:
    """Read numpy.dtype('f8', …) with its state (version, byte order, …)."""
    kind, order = built.args[0], built.state[1] if built.state else "|"
    if not isinstance(kind, str) or not isinstance(order, str) or len(kind) > LONGEST_KIND:
        raise WeightsError(f"It holds an array of {describe(kind)}; only plain numbers are read.")
    kind = kind.lstrip("<>|=")
    if not NUMBERS.fullmatch(kind) or order not in BYTE_ORDERS:
        raise WeightsError(f"It holds an array of {describe(kind)}; only plain numbers are read.")
    return np.dtype(kind if order == "|" else order + kind)


def _make_array(translator: Translator, built: Built) -> NDArray[Any]:
    """Read _reconstruct(…) with its state (version, shape, type, order, bytes)."""
    _, shape, kind, by_column, content = built.state
    return _lay_out(translator, content, kind, shape, by_column is True or by_column == 1)


def _make_array_from_buffer(translator: Translator, built: Built) -> NDArray[Any]:
    """Read _frombuffer(bytes, type, shape, order), numpy's form in newer protocols."""
    content, kind, shape, order = built.args
    return _lay_out(translator, content, kind, shape, order == "F")


def _make_scalar(translator: Translator, built: Built) -> Any:
    kind, content = built.args
    return _lay_out(translator, content, kind, (), False)[()]


def _lay_out(
    translator: Translator, content: Any, kind: Any, shape: Any, by_column: bool
) -> NDArray[Any]:
    """Copy `content` into a new array; its length must be exactly what the shape needs."""
    content, kind, sizes = translator.translate(content), translator.translate(kind), shape
    if not isinstance(content, (str, bytes, bytearray)) or not isinstance(kind, np.dtype):
        raise WeightsError("It holds an array of objects; only plain numbers are read.")
    sizes = read_shape(shape)
    needed = int(np.prod(sizes, dtype=object)) * kind.itemsize if sizes else kind.itemsize
    if needed != len(content):
        raise WeightsError(
            f"An array of shape {sizes} has {len(content)} bytes, not {describe(needed)}."
        )
    translator.budget.charge(2 * needed)
    if isinstance(content, str):
        content = content.encode("latin-1")  # Python 2 wrote bytes as text
    flat = np.frombuffer(content, kind).astype(kind.newbyteorder("="))
    return flat.reshape(sizes, order="F" if by_column else "C")


def _encode(translator: Translator, built: Built) -> bytes:
    """Read encode(text, 'latin1'), which is how Python 3 writes bytes under protocol 2."""
    text, encoding = built.args
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise WeightsError(f"It encodes {describe(text)} as {describe(encoding)}.")
    translator.budget.charge(len(text))
    return text.encode("latin-1")


def _make_no_bytes(translator: Translator, built: Built) -> bytes:
    """Read bytes(), which is how Python 3 writes empty bytes; refuse it with arguments."""
    if built.args:
        raise WeightsError("It calls bytes with arguments.")
    return b""


def _make_sparse(translator: Translator, built: Built) -> SparseMatrix:
    state = translator.state(built)
    shape = read_shape(state.get("_shape", state.get("shape")))
    if len(shape) != 2:
        raise WeightsError("Its sparse matrix does not have two dimensions.")
    data, indices, starts = (translator.array(state[k]) for k in ("data", "indices", "indptr"))
    by_column = "csc" in str(built.args[0] if built.args else built.name)
    matrix = SparseMatrix(data, indices, starts, (shape[0], shape[1]), by_column)
    if not _is_sound(matrix):
        raise WeightsError("Its sparse matrix points outside itself.")
    # A few bytes declare a matrix of any size; it is charged as what it will be laid out to.
    translator.budget.charge(shape[0] * shape[1] * np.dtype(np.float64).itemsize)
    return matrix


def _is_sound(matrix: SparseMatrix) -> bool:
    across, lines = matrix.shape if matrix.by_column else matrix.shape[::-1]
    starts, indices = matrix.indptr, matrix.indices
    if any(array.ndim != 1 for array in (matrix.data, indices, starts)):
        return False
    if starts.dtype.kind not in "iu" or indices.dtype.kind not in "iu" or len(starts) != lines + 1:
        return False
    starts = starts.astype(np.int64)  # the differences of unsigned numbers would wrap around
    whole = len(matrix.data) == len(indices) == starts[-1] and starts[0] == 0
    inside = not len(indices) or (indices.min() >= 0 and indices.max() < across)
    return bool(whole and inside and (np.diff(starts) >= 0).all())


def _make_chumpy_array(translator: Translator, built: Built) -> NDArray[Any]:
    return translator.array(translator.state(built)["x"])


def _make_chumpy_selection(translator: Translator, built: Built) -> NDArray[Any]:
    """Read chumpy.reordering.Select: the entries `idxs` of `a`, in `preferred_shape`."""
    state = translator.state(built)
    source, indices = translator.array(state["a"]), translator.array(state["idxs"])
    translator.budget.charge(source.nbytes + indices.size * source.itemsize)
    chosen = np.ravel(source)[indices]
    shape = state.get("preferred_shape")
    return chosen if shape is None else np.reshape(chosen, read_shape(shape, -1))


def _make_chumpy_reshaping(translator: Translator, built: Built) -> NDArray[Any]:
    state = translator.state(built)
    source = translator.array(state["a"])
    translator.budget.charge(source.nbytes)
    return np.reshape(source, read_shape(state["newshape"], -1))


def _make_ordered(translator: Translator, built: Built) -> dict[Any, Any]:
    """Read OrderedDict([[key, value], …]), as Python 2 writes it, or OrderedDict() with items."""
    given = built.args[0] if built.args else []
    if len(built.args) > 1 or not isinstance(given, list):
        raise Damage("an OrderedDict is not made from one list")
    pairs = [(as_key(key), item) for key, item in given]
    return translator.dictionary([*pairs, *built.items])


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
