"""A pickle machine that reads every data opcode, calls nothing, and notes what would be called.

Opcodes and their arguments are those of the standard library's `pickletools`, which describes the
format (protocols 0 to 5) and executes nothing.
"""

from __future__ import annotations

import codecs
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from handrefiner_ext.errors import WeightsError


@dataclass(frozen=True)
class Name:
    """A global that a file names; it is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Built:
    """What calling `name` with `args` would have made, and what would have been put into it."""

    name: Name
    args: tuple[Any, ...]
    state: Any = None
    items: list[tuple[Any, Any]] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to something stored outside the pickle, such as a tensor's storage."""

    identity: Any


@dataclass(frozen=True, eq=False)
class OddKey:
    """A dictionary's key that is no plain value; hashing it could take for ever."""

    key: Any


OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
FRESH: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
PLAIN_KEYS = (str, bytes, int, float, Name, type(None))
BAD_CONTENT = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError),
    *(struct.error, RecursionError, MemoryError),
)
"""What reading a broken or hostile stream can raise."""


@dataclass(frozen=True)
class Limits:
    """operations: the most opcodes to read. allowed: which globals may be named (None = any)."""

    operations: int = 4_000_000
    allowed: Callable[[Name], bool] | None = None


class Machine:
    """Reads one pickle from `stream` and leaves the stream at the pickle's end."""

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        self.stream = stream
        self.limits = limits
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return what the pickle holds, with `Built` in place of every object."""
        for _ in range(self.limits.operations):
            code, argument = self._read_operation()
            if code == "STOP":
                return self.stack.pop()
            self._perform(code, argument)
        raise WeightsError(
            f"It has more than {self.limits.operations:,} pickle operations; no file of weights "
            "needs so many, so it is not read."
        )

    def _read_operation(self) -> tuple[str, Any]:
        code = self.stream.read(1)
        if not code:
            raise ValueError("the pickle ends before its end mark")
        opcode = OPCODES[code[0]]
        if opcode.name == "STRING":
            return opcode.name, _read_old_string(self.stream)
        argument = None if opcode.arg is None else opcode.arg.reader(self.stream)
        return opcode.name, argument

    def _perform(self, code: str, argument: Any) -> None:
        if code in LITERALS:
            self.stack.append(argument)
        elif code in CONSTANTS:
            self.stack.append(CONSTANTS[code])
        elif code in FRESH:
            self.stack.append(FRESH[code]())
        elif code in STEPS:
            STEPS[code](self, argument)
        else:
            raise WeightsError(
                f"It uses the pickle operation {code}, which no file of weights needs."
            )

    def pop_to_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items, self.stack[mark:] = self.stack[mark:], []
        return items

    def name(self, module: Any, name: Any) -> Name:
        """Return the global if the file may name it, else raise WeightsError."""
        found = Name(str(module), str(name))
        if self.limits.allowed is not None and not self.limits.allowed(found):
            raise WeightsError(
                f"It names {found}, which is no part of a file of weights; nothing from it was "
                "run. Get the file from its official source."
            )
        return found


def _read_old_string(stream: IO[bytes]) -> str:
    """Read a quoted text of protocol 0, in which each byte is a letter (latin-1)."""
    line = stream.readline().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a text has no quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")  # type: ignore[attr-defined, no-any-return]


def _key(value: Any) -> Any:
    return value if isinstance(value, PLAIN_KEYS) else OddKey(value)


def _put_items(target: Any, flat: list[Any]) -> None:
    pairs = [(_key(k), v) for k, v in zip(flat[::2], flat[1::2], strict=True)]
    if isinstance(target, dict):
        target.update(pairs)
    else:
        _expect(target, Built).items.extend(pairs)


def _put_values(target: Any, values: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(values)
    else:
        _expect(target, Built).values.extend(values)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{kind.__name__} expected, {type(value).__name__} found")
    return value


def _mark(machine: Machine, _: Any) -> None:
    machine.marks.append(len(machine.stack))


def _pop(machine: Machine, _: Any) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _pop_mark(machine: Machine, _: Any) -> None:
    machine.pop_to_mark()


def _duplicate(machine: Machine, _: Any) -> None:
    machine.stack.append(machine.stack[-1])


def _append(machine: Machine, _: Any) -> None:
    value = machine.stack.pop()
    _put_values(machine.stack[-1], [value])


def _appends(machine: Machine, _: Any) -> None:
    values = machine.pop_to_mark()
    _put_values(machine.stack[-1], values)


def _set_item(machine: Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _put_items(machine.stack[-1], [key, value])


def _set_items(machine: Machine, _: Any) -> None:
    flat = machine.pop_to_mark()
    _put_items(machine.stack[-1], flat)


def _list(machine: Machine, _: Any) -> None:
    machine.stack.append(machine.pop_to_mark())


def _tuple(machine: Machine, _: Any) -> None:
    machine.stack.append(tuple(machine.pop_to_mark()))


def _dict(machine: Machine, _: Any) -> None:
    made: dict[Any, Any] = {}
    _put_items(made, machine.pop_to_mark())
    machine.stack.append(made)


def _short_tuple(length: int) -> Callable[[Machine, Any], None]:
    def build(machine: Machine, _: Any) -> None:
        if len(machine.stack) < length:
            raise ValueError("a tuple wants more than there is")
        items, machine.stack[-length:] = tuple(machine.stack[-length:]), []
        machine.stack.append(items)

    return build


def _put(machine: Machine, number: Any) -> None:
    machine.memo[int(number)] = machine.stack[-1]


def _memoize(machine: Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _get(machine: Machine, number: Any) -> None:
    machine.stack.append(machine.memo[int(number)])


def _global(machine: Machine, both: Any) -> None:
    module, _, name = both.partition(" ")
    machine.stack.append(machine.name(module, name))


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.name(_expect(module, str), _expect(name, str)))


def _call(machine: Machine, _: Any) -> None:
    args, name = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(Built(_expect(name, Name), _expect(args, tuple)))


def _call_with_keywords(machine: Machine, _: Any) -> None:
    keywords = machine.stack.pop()
    if keywords:
        raise ValueError("an object is made with keywords")
    _call(machine, None)


def _instance(machine: Machine, both: Any) -> None:
    module, _, name = both.partition(" ")
    args = tuple(machine.pop_to_mark())
    machine.stack.append(Built(machine.name(module, name), args))


def _object(machine: Machine, _: Any) -> None:
    name, *args = machine.pop_to_mark()
    machine.stack.append(Built(_expect(name, Name), tuple(args)))


def _build(machine: Machine, _: Any) -> None:
    state = machine.stack.pop()
    _expect(machine.stack[-1], Built).state = state


def _persistent(machine: Machine, identity: Any) -> None:
    machine.stack.append(Persistent(machine.stack.pop() if identity is None else identity))


def _nothing(machine: Machine, _: Any) -> None:
    """Do nothing: PROTO and FRAME only announce what follows."""


STEPS: dict[str, Callable[[Machine, Any], None]] = {
    **{"PROTO": _nothing, "FRAME": _nothing, "MARK": _mark, "POP": _pop, "DUP": _duplicate},
    **{"APPEND": _append, "APPENDS": _appends, "ADDITEMS": _appends},
    **{"POP_MARK": _pop_mark},
    **{"SETITEM": _set_item, "SETITEMS": _set_items, "DICT": _dict, "LIST": _list},
    **{"TUPLE": _tuple, "FROZENSET": _tuple},
    **{f"TUPLE{length}": _short_tuple(length) for length in (1, 2, 3)},
    **{"PUT": _put, "BINPUT": _put, "LONG_BINPUT": _put, "MEMOIZE": _memoize},
    **{"GET": _get, "BINGET": _get, "LONG_BINGET": _get},
    **{"GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _call, "NEWOBJ": _call},
    **{"NEWOBJ_EX": _call_with_keywords, "INST": _instance, "OBJ": _object, "BUILD": _build},
    **{"PERSID": _persistent, "BINPERSID": _persistent},
}
