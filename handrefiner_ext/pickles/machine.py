"""A pickle machine that reads every data opcode, calls nothing, and notes what would be called.

Opcodes and their arguments are those of the standard library's `pickletools`, which describes the
format (protocols 0 to 5) and executes nothing.
"""

from __future__ import annotations

import codecs
import pickletools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles.bounds import (
    LONGEST_NAME,
    LONGEST_NUMBER,
    OPERATIONS,
    SHOWN,
    Budget,
    Damage,
    Source,
    printable,
)

BAD_ESCAPE = re.compile(rb"\\(?:[^'\"abfnrtvx0-7\n]|x(?![0-9a-fA-F]{2})|[4-7][0-7]{2})", re.DOTALL)
"""A backslash with what must not follow it, once pairs of backslashes are taken out."""
MEMO_NUMBERS = 2**32
PLAIN_INTEGERS = 2**60
"""Python's hash of an integer is its remainder by 2^61 - 1: only smaller ones never collide."""


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
    """A dictionary's key whose own hash or comparison could take for ever."""

    key: Any


def describe(value: Any) -> str:
    """Name a value of a file in a few characters, however large or hostile it is."""
    if isinstance(value, Name):
        return printable(f"{value.module[:SHOWN]}.{value.name[:SHOWN]}")
    if isinstance(value, Built):
        return f"an object of {describe(value.name)}"
    if isinstance(value, str):
        return f"'{printable(value)}'"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length():,} bits"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"a {type(value).__name__}"


class Machine:
    """Reads one pickle from `stream` and leaves the stream at the pickle's end.

    allowed: which globals the file may name (None = any).
    """

    def __init__(
        self, stream: IO[bytes] | Source, budget: Budget, allowed: Callable[[Name], bool] | None
    ) -> None:
        self.stream = stream
        self.budget = budget
        self.allowed = allowed
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return what the pickle holds, with `Built` in place of every object."""
        stream, budget = self.stream, self.budget
        while budget.operations > 0:
            budget.operations -= 1
            code = stream.read(1)
            if code == STOP:
                return self.stack.pop()
            if code not in TABLE:
                raise Damage("it does not hold a whole pickle")
            read_argument, perform = TABLE[code]
            perform(self, read_argument(stream) if read_argument else None)
        raise WeightsError(
            f"It has more than {OPERATIONS:,} pickle operations; no file of weights needs so "
            "many, so it is not read."
        )

    def pop_to_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items, self.stack[mark:] = self.stack[mark:], []
        return items

    def name(self, module: Any, name: Any) -> Name:
        """Return the global if the file may name it, else raise WeightsError."""
        found = Name(_expect(module, str), _expect(name, str))
        too_long = len(module) + len(name) > LONGEST_NAME
        if too_long or (self.allowed is not None and not self.allowed(found)):
            raise WeightsError(
                f"It names {describe(found)}, which does not belong in a file of weights; nothing "
                "from it was run. Get the file from its official source."
            )
        return found


def _read_old_string(stream: IO[bytes]) -> str:
    """Read a quoted text of protocol 0, in which each byte is a letter (latin-1)."""
    line = stream.readline().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Damage("a text has no quotes")
    if BAD_ESCAPE.search(line[1:-1].replace(rb"\\", b"__")):
        raise Damage("a text has an unknown escape sequence")  # of which Python would warn
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")  # type: ignore[attr-defined, no-any-return]


def _read_line(stream: IO[bytes]) -> str:
    return stream.readline().rstrip(b"\n").decode("utf-8")


def _read_global(stream: IO[bytes]) -> tuple[str, str]:
    return _read_line(stream), _read_line(stream)


def _read_decimal(stream: IO[bytes]) -> int:
    """Read a line of digits; int() takes quadratic time, and some Pythons set it no limit."""
    line = stream.readline().strip()
    if len(line) > LONGEST_NUMBER:
        raise Damage("a number has too many digits")
    return bool(int(line)) if line in (b"00", b"01") else int(line.rstrip(b"L"))


def as_key(value: Any) -> Any:
    """Return a key that a dictionary can hash and compare cheaply."""
    if isinstance(value, int):
        return value if abs(value) < PLAIN_INTEGERS else OddKey(value)
    return value if isinstance(value, (str, bytes, float, Name, type(None))) else OddKey(value)


def _put_items(target: Any, flat: list[Any]) -> None:
    pairs = [(as_key(k), v) for k, v in zip(flat[::2], flat[1::2], strict=True)]
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
        raise Damage("its parts are put together in a way that no file of weights is")
    return value


def _push(machine: Machine, value: Any) -> None:
    if isinstance(value, (str, bytes, bytearray)) and len(value) > SHOWN:
        machine.budget.charge(sys.getsizeof(value))
    machine.stack.append(value)


def _push_fresh(make: Callable[[], Any], machine: Machine, _: Any) -> None:
    machine.stack.append(make())


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


def _short_tuple(length: int, machine: Machine, _: Any) -> None:
    if len(machine.stack) < length:
        raise Damage("a tuple needs more items than there are")
    items, machine.stack[-length:] = tuple(machine.stack[-length:]), []
    machine.stack.append(items)


def _put(machine: Machine, number: int) -> None:
    if not 0 <= number < MEMO_NUMBERS:
        raise Damage("a memo number is out of range")
    machine.memo[number] = machine.stack[-1]


def _memoize(machine: Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _get(machine: Machine, number: int) -> None:
    machine.stack.append(machine.memo[number])


def _global(machine: Machine, both: tuple[str, str]) -> None:
    machine.stack.append(machine.name(*both))


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.name(module, name))


def _call(machine: Machine, _: Any) -> None:
    args, name = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(Built(_expect(name, Name), _expect(args, tuple)))


def _call_with_keywords(machine: Machine, _: Any) -> None:
    if machine.stack.pop():
        raise Damage("an object is made with keywords")
    _call(machine, None)


def _instance(machine: Machine, both: tuple[str, str]) -> None:
    args = tuple(machine.pop_to_mark())
    machine.stack.append(Built(machine.name(*both), args))


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


def _refuse(code: str, machine: Machine, _: Any) -> None:
    raise WeightsError(f"It uses the pickle operation {code}, which no file of weights needs.")


Step = Callable[[Machine, Any], None]
LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
STEPS: dict[str, Step] = {
    **dict.fromkeys(LITERALS, _push),
    **{"NONE": partial(_push_fresh, lambda: None), "EMPTY_TUPLE": partial(_push_fresh, tuple)},
    **{"NEWTRUE": partial(_push_fresh, lambda: True)},
    **{"NEWFALSE": partial(_push_fresh, lambda: False)},
    **{"EMPTY_LIST": partial(_push_fresh, list), "EMPTY_SET": partial(_push_fresh, list)},
    **{"EMPTY_DICT": partial(_push_fresh, dict)},
    **{"PROTO": _nothing, "FRAME": _nothing, "MARK": _mark, "POP": _pop, "DUP": _duplicate},
    **{"APPEND": _append, "APPENDS": _appends, "ADDITEMS": _appends},
    **{"POP_MARK": _pop_mark},
    **{"SETITEM": _set_item, "SETITEMS": _set_items, "DICT": _dict, "LIST": _list},
    **{"TUPLE": _tuple, "FROZENSET": _tuple},
    **{f"TUPLE{length}": partial(_short_tuple, length) for length in (1, 2, 3)},
    **{"PUT": _put, "BINPUT": _put, "LONG_BINPUT": _put, "MEMOIZE": _memoize},
    **{"GET": _get, "BINGET": _get, "LONG_BINGET": _get},
    **{"GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _call, "NEWOBJ": _call},
    **{"NEWOBJ_EX": _call_with_keywords, "INST": _instance, "OBJ": _object, "BUILD": _build},
    **{"PERSID": _persistent, "BINPERSID": _persistent},
}
READERS: dict[str, Callable[[Any], Any]] = {
    **{"STRING": _read_old_string, "PERSID": _read_line},
    **dict.fromkeys(("GLOBAL", "INST"), _read_global),
    **dict.fromkeys(("INT", "LONG", "PUT", "GET"), _read_decimal),
}
"""Readers in place of pickletools' own, which warn of bad escapes and set numbers no limit."""
STOP = b"."
TABLE: dict[bytes, tuple[Callable[[Any], Any] | None, Step]] = {
    opcode.code.encode("latin-1"): (
        READERS.get(opcode.name) or (opcode.arg.reader if opcode.arg else None),
        STEPS.get(opcode.name) or partial(_refuse, opcode.name),
    )
    for opcode in pickletools.opcodes
}
