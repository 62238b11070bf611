"""Whole torch modules (`torch.save(model, ...)`), of which only plain values and tensors are read.

Such a file names the classes of its modules and what each of them holds. Nothing is built from it:
whoever wants the module builds one by their own code and fills it with these tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles.machine import Built, Name
from handrefiner_ext.pickles.tensors import TensorReader, read_checkpoint, read_entries

if TYPE_CHECKING:
    import torch

DEEPEST, MOST_MODULES, MOST_PARTS = 32, 20_000, 100_000
"""Bounds on a tree of modules, and on the parts of a plain value, which may hold itself."""


@dataclass(frozen=True)
class ModuleContent:
    """What a pickled module holds.

    kind: its class. attributes: its plain values (numbers, texts, lists and dictionaries of them).
    tensors: parameters and buffers by the names that `state_dict` gives them. beside: the plain
    values beside the module in the file.
    """

    kind: Name
    attributes: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    beside: Mapping[str, Any]


def read_module(path: Path, keys: Sequence[str]) -> ModuleContent:
    """Return the module under the first of `keys` that the file has. Raises WeightsError."""

    def take(content: Any, reader: TensorReader) -> ModuleContent:
        entries = read_entries(content)
        for key in keys:
            module = entries.get(key)
            if isinstance(module, Built):
                state = read_entries(module.state)
                tensors: dict[str, torch.Tensor] = {}
                _gather(module, "", reader, tensors)
                plain = {k: v for k, v in state.items() if isinstance(k, str) and k[:1] != "_"}
                return ModuleContent(module.name, _keep_plain(plain), tensors, _keep_plain(entries))
        raise WeightsError("It holds no whole network; it is another kind of file.")

    return read_checkpoint(path, take)


def _gather(
    module: Any, prefix: str, reader: TensorReader, tensors: dict[str, torch.Tensor]
) -> None:
    """Add the tensors of a module and of those in it; the names are those of `state_dict`."""
    waiting = [(module, prefix, 0)]
    for _ in range(MOST_MODULES):
        if not waiting:
            return
        module, prefix, depth = waiting.pop()
        state = read_entries(module.state) if isinstance(module, Built) else {}
        skipped = _read_set(state.get("_non_persistent_buffers_set"))
        for held in ("_parameters", "_buffers"):
            for name, value in read_entries(state.get(held)).items():
                tensor = reader.read(value)
                if tensor is not None and name not in skipped:
                    tensors[f"{prefix}{name}"] = tensor
        if depth < DEEPEST:
            inside = read_entries(state.get("_modules")).items()
            waiting += [(part, f"{prefix}{name}.", depth + 1) for name, part in inside]
    raise WeightsError("It holds more modules than any network has.")


def _read_set(value: Any) -> list[Any]:
    """Return the members of a note of a set, which holds them as a list in its call."""
    members = value.args[0] if isinstance(value, Built) and value.args else None
    return members if isinstance(members, list) else []


def _keep_plain(entries: Mapping[Any, Any]) -> dict[str, Any]:
    """Return those entries that hold nothing but plain values."""
    return {
        key: value for key, value in entries.items() if isinstance(key, str) and is_plain(value)
    }


def is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, texts, lists and dictionaries alone."""
    waiting = [value]
    for _ in range(MOST_PARTS):
        if not waiting:
            return True
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, (list, tuple)):
            waiting += part
        elif not (part is None or isinstance(part, (str, int, float))):
            return False
    return False
