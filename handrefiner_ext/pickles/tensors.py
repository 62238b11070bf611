"""Tensors of old checkpoints (.ckpt, .bin, .pt, .pth) whose other content torch refuses to load.

Training checkpoints hold optimizers, callbacks and loggers, which `torch.load(weights_only=True)`
refuses. Here they stay notes that are never read. Both of torch's formats are read: zip archives
(torch 1.6 and later) and the older row of pickles followed by the storages. Storages are mapped
into memory, not copied, and never written to.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles.bounds import (
    BAD_CONTENT,
    Budget,
    Damage,
    Source,
    explain,
    open_source,
    read_shape,
)
from handrefiner_ext.pickles.machine import Built, Machine, Name, Persistent, describe

if TYPE_CHECKING:
    import torch

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
"""torch.save before 1.6 wrote both at the head of every file."""
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""The header of a file in a zip archive: signature, lengths of the name and the extra field."""
ALIGNED = 16
"""Numbers are mapped from the file only if they begin at a multiple of this many bytes."""
NESTED = 8
"""Deepest nesting of parameters within parameters."""
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""Storage class -> element type of torch."""
REBUILDERS = frozenset(Name("torch._utils", f"_rebuild_tensor{v}") for v in ("", "_v2"))
LARGEST_PICKLE = 64 * 2**20
"""Bytes of an archive's pickle, which holds names and shapes only; SDXL's has under a million."""

Taken = TypeVar("Taken")
Storages = Callable[[str, int], NDArray[np.uint8]]
"""Takes a storage's key and its length in bytes, returns its bytes."""


@dataclass(frozen=True)
class StorageReference:
    """Where the numbers of a tensor are. dtype: torch's name of their type.

    is_view: a part of another storage, which torch wrote before 0.4.
    """

    dtype: str
    key: str
    count: int
    is_view: bool


def read_tensors(path: Path, without: Container[str] = ()) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint by name, those of its `state_dict` if it has one.

    without: names to skip, so that they take no memory.
    Nothing else in the file is read, and nothing is called. Raises WeightsError.
    """
    return read_checkpoint(path, lambda content, reader: _gather(content, reader, without))


def read_checkpoint(path: Path, take: Callable[[Any, TensorReader], Taken]) -> Taken:
    """Return what `take` makes of a checkpoint's content, in which every object is a note.

    Raises WeightsError with the file's name.
    """
    budget = Budget(path.stat().st_size)
    try:
        if zipfile.is_zipfile(path):
            content, storages = _open_archive(path, budget)
        else:
            content, storages = _open_legacy(path, budget)
        return take(content, TensorReader(storages, budget))
    except WeightsError as error:
        raise WeightsError(f"{path} is refused. {error}") from error
    except (*BAD_CONTENT, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path} is not an intact checkpoint: {explain(error)}. Download it again."
        ) from error


def _gather(content: Any, reader: TensorReader, without: Container[str]) -> dict[str, torch.Tensor]:
    entries = read_entries(content)
    inner = entries.get("state_dict")
    entries = entries if inner is None else read_entries(inner)
    wanted = {k: v for k, v in entries.items() if isinstance(k, str) and k not in without}
    read = {key: reader.read(value) for key, value in wanted.items()}
    tensors = {key: tensor for key, tensor in read.items() if tensor is not None}
    if not tensors:
        raise WeightsError("It holds no tensors; it is another kind of file.")
    return tensors


def read_entries(value: Any) -> Mapping[Any, Any]:
    """Return the items of a dictionary, or of a note of one such as an OrderedDict."""
    if isinstance(value, dict):
        return value
    return dict(value.items) if isinstance(value, Built) else {}


class TensorReader:
    """Turns notes of torch's rebuilding functions into tensors, and anything else into None."""

    def __init__(self, storages: Storages, budget: Budget) -> None:
        self.storages = storages
        self.budget = budget
        self._flat: dict[StorageReference, torch.Tensor] = {}

    def read(self, value: Any, depth: int = 0) -> torch.Tensor | None:
        if not isinstance(value, Built) or depth > NESTED or not value.args:
            return None
        if value.name in REBUILDERS:
            return self._rebuild(*value.args[:4])
        if value.name.module == "torch._utils" and value.name.name.startswith("_rebuild_parameter"):
            return self.read(value.args[0], depth + 1)
        return None

    def _rebuild(self, storage: Any, offset: Any, size: Any, stride: Any) -> torch.Tensor:
        """Return a view of its storage; WeightsError if it would reach outside.

        A view may not have more numbers than its storage: with strides of 0 a few bytes would
        become a matrix of any size as soon as somebody copies it.
        """
        reference = read_reference(storage)
        if reference.is_view:
            raise WeightsError("A tensor's storage is a part of another, which is not read.")
        sizes, strides, (start,) = read_shape(size), read_shape(stride), read_shape((offset,))
        if len(sizes) != len(strides):
            raise Damage("a tensor has an impossible shape")
        last = start + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
        numbers = prod(sizes)
        if numbers and (last >= reference.count or numbers > reference.count):
            raise WeightsError("A tensor reaches outside its storage.")
        flat = self._storage(reference)
        self.budget.charge(numbers * flat.element_size())  # it may be copied by who asked for it
        return flat.as_strided(sizes, strides, start)

    def _storage(self, reference: StorageReference) -> torch.Tensor:
        import torch

        if reference not in self._flat:
            dtype: torch.dtype = getattr(torch, reference.dtype)
            content = self.storages(reference.key, reference.count * dtype.itemsize)
            empty = torch.zeros(0, dtype=dtype)
            flat = torch.from_numpy(content).view(dtype) if len(content) else empty
            self._flat[reference] = flat
        return self._flat[reference]


def read_reference(value: Any) -> StorageReference:
    """Read ('storage', class, key, device, count[, view]), torch's name for a storage."""
    identity = value.identity if isinstance(value, Persistent) else None
    if not isinstance(identity, tuple) or len(identity) not in (5, 6):
        raise WeightsError("A tensor has no storage.")
    kind, name, key, _, count = identity[:5]
    element = STORAGES.get(name.name) if isinstance(name, Name) else None
    if kind != "storage" or element is None:
        raise WeightsError(f"A tensor's storage is {describe(name)}, which is not read.")
    if not isinstance(key, str):
        raise Damage("a storage has no name")
    (numbers,) = read_shape((count,))
    return StorageReference(element, key, numbers, any(identity[5:]))


def _open_archive(path: Path, budget: Budget) -> tuple[Any, Storages]:
    """Return the pickle of a zip archive, and a function that maps its storages into memory."""
    with zipfile.ZipFile(path) as archive:
        places = {info.filename: info for info in archive.infolist()}
        heads = [name for name in places if name.rpartition("/")[2] == "data.pkl"]
        if len(heads) != 1 or len(places) != len(archive.infolist()):
            raise WeightsError("Its archive is not one that torch writes.")
        folder = heads[0][: -len("data.pkl")]
        order = places.get(folder + "byteorder")
        if order is not None and _read_member(archive, order, len(b"little")) != b"little":
            raise WeightsError("It was written on a big-endian machine, which is not read.")
        head = _read_member(archive, places[heads[0]], LARGEST_PICKLE)
    content = Machine(io.BytesIO(head), budget, None).run()
    view = map_file(path, budget)

    def read(key: str, length: int) -> NDArray[np.uint8]:
        info = places.get(f"{folder}data/{key}")
        if info is None:
            raise WeightsError(f"It has no storage {describe(key)}.")
        _check_stored(info)
        if info.file_size < length:
            raise WeightsError(
                f"Storage {describe(key)} has {info.file_size} bytes, not {describe(length)}."
            )
        return view(_content_offset(path, info), length)

    return content, read


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """Return the content of a member, at most `most` bytes."""
    _check_stored(info)
    if info.file_size > LARGEST_PICKLE:
        raise WeightsError("Its archive has a member that is too large.")
    with archive.open(info) as stream:
        return stream.read(most)


def _check_stored(info: zipfile.ZipInfo) -> None:
    """Refuse compressed members: torch never writes them, and they can hide a bomb."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise WeightsError("Its archive is compressed, which torch never does.")


def _content_offset(path: Path, info: zipfile.ZipInfo) -> int:
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        signature, name, extra = LOCAL_HEADER.unpack(stream.read(LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise Damage("its archive's headers do not agree")
    return info.header_offset + LOCAL_HEADER.size + int(name) + int(extra)


def map_file(path: Path, budget: Budget) -> Callable[[int, int], NDArray[np.uint8]]:
    """Return a function of offset and length that maps bytes of the file.

    Writing to them changes memory only. One map serves all, because each holds a file open.
    """
    whole: NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="c"))

    def view(offset: int, length: int) -> NDArray[np.uint8]:
        if offset < 0 or offset + length > len(whole):
            raise Damage("it is shorter than its own list of contents says")
        part: NDArray[np.uint8] = whole[offset : offset + length]
        if offset % ALIGNED:
            budget.charge(length)
            return np.array(part)
        return part

    return view


def _open_legacy(path: Path, budget: Budget) -> tuple[Any, Storages]:
    """Read five pickles in a row (magic, protocol, machine, content, keys); storages follow."""
    with open_source(path) as stream:
        if not _is_number(Machine(stream, budget, None).run(), LEGACY_MAGIC):
            raise WeightsError("It does not begin as torch's files do.")
        if not _is_number(Machine(stream, budget, None).run(), LEGACY_PROTOCOL):
            raise WeightsError("It is of an unknown version of torch's format.")
        machine = Machine(stream, budget, None).run()
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise WeightsError("It was written on a big-endian machine, which is not read.")
        content = Machine(stream, budget, None).run()
        keys = Machine(stream, budget, None).run()
        places = _list_storages(stream, keys, _element_sizes(content))
    view = map_file(path, budget)

    def read(key: str, length: int) -> NDArray[np.uint8]:
        offset, there = places.get(key, (0, -1))
        if there < length:
            raise WeightsError(
                f"Storage {describe(key)} has {max(there, 0)} bytes, not {describe(length)}."
            )
        return view(offset, length)

    return content, read


def _is_number(value: Any, number: int) -> bool:
    return isinstance(value, int) and value == number


def _element_sizes(content: Any) -> dict[str, int]:
    """Return the bytes per element of every storage that the content names."""
    import torch

    sizes: dict[str, int] = {}
    waiting: list[Any] = [content]
    seen: dict[int, Any] = {}  # holds what it has seen, so that no identity is given twice
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (str, bytes, int, float, Name)):
            continue
        seen[id(value)] = value
        if isinstance(value, Persistent):
            reference = read_reference(value)
            dtype: torch.dtype = getattr(torch, reference.dtype)
            sizes[reference.key] = int(dtype.itemsize)
        waiting += _inside(value)
    return sizes


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, Built):
        return [value.args, value.state, value.values, [item for _, item in value.items]]
    return []


def _list_storages(
    stream: Source, keys: Any, sizes: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Return key -> (offset in the file, length in bytes); a count of elements precedes each."""
    if not isinstance(keys, list):
        raise Damage("it has no list of storages")
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        if not isinstance(key, str) or key not in sizes:
            raise Damage("it lists a storage that no tensor uses")
        (count,) = struct.unpack("<q", stream.read(8))
        if count < 0:
            raise Damage("a storage has an impossible length")
        places[key] = (stream.tell(), count * sizes[key])
        stream.seek(count * sizes[key], 1)
    return places
