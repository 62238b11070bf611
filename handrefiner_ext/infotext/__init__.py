"""Write parameters as the host's infotext ("key: value, key: value"), and read them back.

The host quotes values with commas, colons and line ends itself, but splits "512x768" in two, drops
a pair of quotation marks and loses empty values; text is escaped here so that none of it happens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import Field
from typing import Any

from handrefiner_ext import __version__
from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.infotext.migrations import Past, Value, as_of, renumber
from handrefiner_ext.knobs import WEBUI, Knob, coerce
from handrefiner_ext.params import MAIN, RefineParams, fields_of

MARK = "HandRefiner"
"""The key that marks a picture as made with HandRefiner; its value is our version."""
SWITCH = "enabled"
"""The parameter that `MARK` stands for."""
REPORT = f"{MARK} hands"
"""The key of what happened to the picture's hands."""
EMPTY = '""'
ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
SIZE = re.compile(r"\d+x\d+")
STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')

HANDS = next(f for f in fields_of(WEBUI) if f.name == "hands")


def key_of(f: Field[Any]) -> str:
    """Return the infotext key of a parameter: our name and its key or label in lower case."""
    knob: Knob = f.metadata["knob"]
    return _key(knob.key or knob.label)


def written_fields() -> tuple[Field[Any], ...]:
    """Return the parameters that have a key of their own."""
    return tuple(f for f in fields_of(WEBUI) if f.name != SWITCH)


def to_infotext(params: RefineParams) -> dict[str, str]:
    """Return our version, the main parameter, and every other value that is not the default."""
    values = {f: getattr(params, f.name) for f in written_fields()}
    return {MARK: __version__} | {
        key_of(f): _write(value) for f, value in values.items() if value != f.default or f == MAIN
    }


def restore(f: Field[Any], infotext: Mapping[str, object]) -> Value | None:
    """Return the value that pasting `infotext` gives a parameter; None to leave it as it is.

    A picture made with HandRefiner that does not mention a parameter was made with the default of
    the version that it names.
    """
    version, said = infotext.get(MARK), str(infotext.get(REPORT, ""))
    if f.name == SWITCH:
        return True if version else None
    past = as_of(f, version, said)
    if _key_in(f, past) not in infotext:
        return coerce(f, past.meant) if version else None
    raw = _read(f, infotext)
    if raw is None:
        return None
    chosen = str(_read(HANDS, infotext) or HANDS.default)
    value = renumber(f.name, past.translate(raw), version, chosen, said)
    try:
        return coerce(f, value)
    except InvalidParameter:
        return None


def _read(f: Field[Any], infotext: Mapping[str, object]) -> str | None:
    """Return what a picture says of a parameter, under the name that it had then."""
    raw = infotext.get(_key_in(f, as_of(f, infotext.get(MARK))))
    if not isinstance(raw, str):
        return None
    return _unescape(raw) if isinstance(f.default, str) else raw


def _key_in(f: Field[Any], past: Past) -> str:
    """Return the infotext key of a parameter in pictures of an older version."""
    knob: Knob = f.metadata["knob"]
    return _key(knob.key or past.label)


def _key(label: str) -> str:
    return f"{MARK} {label.lower()}"


def _write(value: Value) -> str:
    return _escape(_pack(value)) if isinstance(value, str) else str(value)


def _pack(text: str) -> str:
    """Return JSON, such as a pose, without spaces between its parts; other text as it is."""
    if not text.startswith("{"):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return STRING_OR_SPACE.sub(lambda found: found[1] or "", text)


def _escape(text: str) -> str:
    """Return the text as one printable line that the host leaves alone."""
    if not text:
        return EMPTY
    safe = ESCAPE.sub(lambda found: _code("\\") + found[0][1:], text)
    safe = "".join(c if c.isprintable() else _code(c) for c in safe)
    if safe.startswith('"') or SIZE.fullmatch(safe):
        safe = _code(safe[0]) + safe[1:]
    return safe


def _unescape(text: str) -> str:
    if text == EMPTY:
        return ""
    return ESCAPE.sub(_decode, text)


def _decode(found: re.Match[str]) -> str:
    number = int(found[1] or found[2], 16)
    return chr(number) if number <= 0x10FFFF else found[0]


def _code(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
