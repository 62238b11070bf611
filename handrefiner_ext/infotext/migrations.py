"""What changed from version to version: the tables by which older pictures and files are read.

A picture names the version that made it, and leaves out what was that version's default. A WebUI's
`ui-config.json` holds the defaults of the version that wrote it. Whoever changes a default, a label
or a word of a choice adds a row here; `tests/test_migrations.py` compares the tables with what each
version knew, and fails where a row is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field
from typing import Any

from handrefiner_ext import __version__

Value = bool | int | float | str
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
FIRST = "0.1.0"
"""The version that wrote a `ui-config.json` in which none is named."""
LONGEST_NUMBER = 64
"""Characters; a picture in base64 is longer."""
QUALITY = "quality"
"""Stands in what is said of the hands only where two versions of a hand were compared."""


@dataclass(frozen=True)
class Change:
    """How a parameter differed from today in the versions up to and including `until`.

    label, default: None where they were as in the next version. choices: old words -> new ones.
    unless: a text that only later development versions, which bore the same number, wrote about a
    picture's hands.
    """

    name: str
    until: str
    label: str | None = None
    default: Value | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    unless: str | None = None


CHANGES: tuple[Change, ...] = (
    # Off, as long as nothing could tell a well drawn hand from a bad one.
    Change("keep_best", until="0.1.0", default=False, unless=QUALITY),
    # Two of the three that are always in view got the names that people look for; in pictures they
    # keep the old ones (`Knob.key`).
    Change("keep_best", until="0.2.0", label="Keep best"),
    Change("candidates", until="0.2.0", label="Candidates"),
)


@dataclass(frozen=True)
class Past:
    """A parameter as an older version knew it.

    default: in that version's words. choices: those words -> today's.
    """

    label: str
    default: Value
    choices: Mapping[str, str]

    def translate(self, text: str) -> str:
        """Return today's word for a choice; any other text as it is."""
        return self.choices.get(text, text)

    @property
    def meant(self) -> Value:
        """The default in today's words."""
        return self.translate(self.default) if isinstance(self.default, str) else self.default


def as_of(f: Field[Any], version: object, said: str = "") -> Past:
    """Return a parameter as `version` knew it; an unknown or later version counts as today's.

    Arguments:
        said: what the picture says about its hands; empty for a file.
    """
    label: str = f.metadata["knob"].label
    default: Value = f.default  # type: ignore[assignment]  # every parameter has one
    choices: dict[str, str] = {}
    for change in sorted(CHANGES, key=lambda c: parse_version(c.until), reverse=True):
        applies = change.name == f.name and parse_version(version) <= parse_version(change.until)
        if not applies or (change.unless is not None and change.unless in said):
            continue
        label = label if change.label is None else change.label
        default = default if change.default is None else change.default
        later = {old: choices.get(new, new) for old, new in change.choices.items()}
        choices = {**choices, **later}
    return Past(label, default, choices)


def today(f: Field[Any]) -> Past:
    """Return a parameter as it is now, also where this version's number is still the last one's."""
    return Past(f.metadata["knob"].label, f.default, {})  # type: ignore[arg-type]


def parse_version(version: object) -> tuple[int, ...]:
    """Return a version as numbers that can be compared; an unknown one counts as this one."""
    found = VERSION.match(str(version)) or VERSION.match(__version__)
    return tuple(map(int, found.groups())) if found else ()


MASK_PLACE = 36
"""Where 0.1.0 took the mask drawn by hand among a request's arguments; a number is there now."""


def is_mask(value: object) -> bool:
    """Return whether a value at `MASK_PLACE` is a picture, as 0.1.0 took it: base64 or a sketch."""
    if isinstance(value, str):
        return len(value) > LONGEST_NUMBER
    return isinstance(value, Mapping)


# --- hands were numbered otherwise

SEPARATOR = "[SEP]"
TOLD = re.compile(r"(?:^|; )(\d+) (?:left|right)(?: assumed)? (?:refined|kept)")
"""The number of a hand that was repainted or kept, in what is said of the hands."""


def read_chosen(hands: str, said: str) -> tuple[int, ...]:
    """Return the hands that `hands` names, if the picture counted only these; else nothing.

    Up to 0.1.0 the second and third hand, if only they were repainted, were 1 and 2 to the other
    parameters. Later development versions under that number counted as today; what they said
    about the hands shows it.
    """
    words = [word.strip() for word in hands.split(",")]
    if not all(word.isascii() and word.isdigit() and word.strip("0") for word in words):
        return ()
    chosen = tuple(sorted({int(word) for word in words}))
    told = {int(number) for number in TOLD.findall(said)}
    return () if told and told <= set(chosen) else chosen


def renumber_order(order: str, chosen: tuple[int, ...]) -> str:
    """Return "2,1" among the chosen hands 2 and 3 as "3,2"."""
    words = [word.strip() for word in order.split(",")]
    if not all(word.isdigit() and 1 <= int(word) <= len(chosen) for word in words):
        return order
    return ",".join(str(chosen[int(word) - 1]) for word in words)


def renumber_parts(prompt: str, chosen: tuple[int, ...]) -> str:
    """Return a prompt whose parts stand at the numbers of the chosen hands.

    "a [SEP] b" for the hands 2 and 3 becomes "a [SEP] a [SEP] b": the first is left alone.
    """
    parts = [part.strip() for part in prompt.split(SEPARATOR)]
    if len(parts) == 1:
        return prompt
    places = [sum(n < number for n in chosen) for number in range(1, max(chosen) + 1)]
    return f" {SEPARATOR} ".join(parts[min(place, len(parts) - 1)] for place in places)


@dataclass(frozen=True)
class Renumbering:
    """A parameter that up to `until` counted only the hands that were chosen by number."""

    name: str
    until: str
    rewrite: Callable[[str, tuple[int, ...]], str]


RENUMBERINGS: tuple[Renumbering, ...] = (
    Renumbering("occlusion_order", "0.1.0", renumber_order),
    Renumbering("prompt", "0.1.0", renumber_parts),
    Renumbering("negative_prompt", "0.1.0", renumber_parts),
)


def renumber(name: str, value: str, version: object, hands: str, said: str) -> str:
    """Return a text with the numbers that its hands have today.

    Arguments:
        hands: the picture's choice of hands.
        said: what it says about its hands.
    """
    for row in RENUMBERINGS:
        if row.name == name and parse_version(version) <= parse_version(row.until):
            chosen = read_chosen(hands, said)
            return row.rewrite(value, chosen) if chosen and value else value
    return value
