"""Tensors of old checkpoints (.ckpt, .bin, .pt, .pth) whose other content torch refuses to load.

Training checkpoints hold optimizers, callbacks and loggers, which `torch.load(weights_only=True)`
refuses. Here they stay notes that are never read. Both of torch's formats are read: zip archives
(torch 1.6 and later) and the older row of pickles followed by the storages. Storages are mapped
into memory, not copied, and never written to.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles.machine import BAD_CONTENT, Built, Limits, Machine, Name, Persistent

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

Storages = Callable[[str, int], NDArray[np.uint8]]
"""Takes a storage's key and its length in bytes, returns its bytes."""


def read_tensors(path: Path, without: Container[str] = ()) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint by name, those of its `state_dict` if it has one.

    without: names to skip, so that they take no memory.
    Nothing else in the file is read, and nothing is called. Raises WeightsError.
    """
    try:
        if zipfile.is_zipfile(path):
            content, storages = _open_archive(path)
        else:
            content, storages = _open_legacy(path)
        return _gather(content, storages, without)
    except WeightsError as error:
        raise WeightsError(f"{path} is refused. {error}") from error
    except (*BAD_CONTENT, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise WeightsError(f"{path} is no intact checkpoint ({error}); get it anew.") from error


def _gather(content: Any, storages: Storages, without: Container[str]) -> dict[str, torch.Tensor]:
    entries = _entries(content)
    inner = entries.get("state_dict")
    entries = entries if inner is None else _entries(inner)
    reader = TensorReader(storages)
    wanted = {k: v for k, v in entries.items() if isinstance(k, str) and k not in without}
    read = {key: reader.read(value) for key, value in wanted.items()}
    tensors = {key: tensor for key, tensor in read.items() if tensor is not None}
    if not tensors:
        raise WeightsError("It holds no tensors; it is another kind of file.")
    return tensors


def _entries(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, dict):
        return value
    return dict(value.items) if isinstance(value, Built) else {}


class TensorReader:
    """Turns notes of torch's rebuilding functions into tensors, and anything else into None."""

    def __init__(self, storages: Storages) -> None:
        self.storages = storages

    def read(self, value: Any, depth: int = 0) -> torch.Tensor | None:
        if not isinstance(value, Built) or depth > NESTED or not value.args:
            return None
        if str(value.name) in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return self._rebuild(*value.args[:4])
        if value.name.module == "torch._utils" and value.name.name.startswith("_rebuild_parameter"):
            return self.read(value.args[0], depth + 1)
        return None

    def _rebuild(self, storage: Any, offset: Any, size: Any, stride: Any) -> torch.Tensor:
        """Return a view of its storage; WeightsError if it would reach outside."""
        flat = self._storage(storage)
        sizes, strides = [tuple(int(n) for n in row) for row in (size, stride)]
        if len(sizes) != len(strides) or int(offset) < 0 or min((0, *sizes, *strides)) < 0:
            raise WeightsError("A tensor has an impossible shape.")
        last = int(offset) + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
        if 0 not in sizes and last >= flat.numel():
            raise WeightsError("A tensor reaches outside its storage.")
        return flat.as_strided(sizes, strides, int(offset))

    def _storage(self, reference: Any) -> torch.Tensor:
        import torch

        if not isinstance(reference, Persistent) or not isinstance(reference.identity, tuple):
            raise WeightsError("A tensor has no storage.")
        kind, name, key, _, count, *view = reference.identity
        element = STORAGES.get(name.name) if isinstance(name, Name) else None
        if kind != "storage" or element is None or any(view):
            raise WeightsError(f"A tensor's storage is a {name}, which is not read.")
        dtype: torch.dtype = getattr(torch, element)
        content = self.storages(str(key), int(count) * dtype.itemsize)
        if not len(content):
            return torch.zeros(0, dtype=dtype)
        return torch.from_numpy(content).view(dtype)


def _open_archive(path: Path) -> tuple[Any, Storages]:
    """Return the pickle of a zip archive, and a function that maps its storages into memory."""
    with zipfile.ZipFile(path) as archive:
        places = {info.filename: info for info in archive.infolist()}
        heads = [name for name in places if name.rpartition("/")[2] == "data.pkl"]
        if len(heads) != 1 or len(places) != len(archive.infolist()):
            raise WeightsError("Its archive is not one that torch writes.")
        folder = heads[0][: -len("data.pkl")]
        order = places.get(folder + "byteorder")
        if order is not None and archive.read(order)[:6] != b"little":
            raise WeightsError("It was written on a big-endian machine, which is not read.")
        _check_stored(places[heads[0]])
        with archive.open(heads[0]) as stream:
            content = Machine(stream, Limits()).run()

    def read(key: str, length: int) -> NDArray[np.uint8]:
        info = places[f"{folder}data/{key}"]
        _check_stored(info)
        if info.file_size < length:
            raise WeightsError(f"Storage {key} has {info.file_size} bytes, not {length}.")
        return _map(path, _content_offset(path, info), length)

    return content, read


def _check_stored(info: zipfile.ZipInfo) -> None:
    """Refuse compressed members: torch never writes them, and they can hide a bomb."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise WeightsError("Its archive is compressed, which torch never writes.")


def _content_offset(path: Path, info: zipfile.ZipInfo) -> int:
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        signature, name, extra = LOCAL_HEADER.unpack(stream.read(LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise WeightsError("Its archive is damaged.")
    return info.header_offset + LOCAL_HEADER.size + int(name) + int(extra)


def _map(path: Path, offset: int, length: int) -> NDArray[np.uint8]:
    """Map bytes of the file; writing to them changes memory only."""
    if offset < 0 or offset + length > path.stat().st_size:
        raise WeightsError("It is shorter than its own list of contents says.")
    if not length:
        return np.zeros(0, dtype=np.uint8)
    if offset % ALIGNED:
        return np.fromfile(path, dtype=np.uint8, count=length, offset=offset)
    return np.memmap(path, dtype=np.uint8, mode="c", offset=offset, shape=(length,))


def _open_legacy(path: Path) -> tuple[Any, Storages]:
    """Read five pickles in a row (magic, protocol, machine, content, keys); storages follow."""
    with path.open("rb") as stream:
        if Machine(stream, Limits(16)).run() != LEGACY_MAGIC:
            raise WeightsError("It does not begin as torch's files do.")
        if Machine(stream, Limits(16)).run() != LEGACY_PROTOCOL:
            raise WeightsError("It is of an unknown version of torch's format.")
        if Machine(stream, Limits(100)).run().get("little_endian") is not True:
            raise WeightsError("It was written on a big-endian machine, which is not read.")
        content = Machine(stream, Limits()).run()
        keys = Machine(stream, Limits()).run()
        places = _list_storages(stream, keys, _element_sizes(content))

    def read(key: str, length: int) -> NDArray[np.uint8]:
        offset, there = places[key]
        if there < length:
            raise WeightsError(f"Storage {key} has {there} bytes, not {length}.")
        return _map(path, offset, length)

    return content, read


def _element_sizes(content: Any) -> dict[str, int]:
    """Return the bytes per element of every storage that the content names."""
    sizes: dict[str, int] = {}
    waiting: list[Any] = [content]
    seen: dict[int, Any] = {}  # holds what it has seen, so that no identity is given twice
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (str, bytes, int, float, Name)):
            continue
        seen[id(value)] = value
        if isinstance(value, Persistent):
            _, name, key, *_ = value.identity
            sizes[str(key)] = _element_size(name)
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


def _element_size(name: Any) -> int:
    import torch

    element = STORAGES.get(name.name) if isinstance(name, Name) else None
    if element is None:
        raise WeightsError(f"It has a storage of {name}, which is not read.")
    dtype: torch.dtype = getattr(torch, element)
    return int(dtype.itemsize)


def _list_storages(
    stream: IO[bytes], keys: Any, sizes: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Return key -> (offset in the file, length in bytes); a count of elements precedes each."""
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        length = count * sizes[str(key)]
        if count < 0:
            raise WeightsError("A storage has an impossible length.")
        places[str(key)] = (stream.tell(), length)
        stream.seek(length, 1)
    return places
