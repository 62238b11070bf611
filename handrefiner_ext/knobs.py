"""Describe one parameter to every surface: its words, its limits, and how to parse its value.

The parameters themselves are in `params`.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import Any

from handrefiner_ext.errors import InvalidParameter, show

TRUE_WORDS = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
LONGEST_TEXT = 1_000_000
"""Characters of a value; a pose of 64 hands has 130,000."""

CLI, WEBUI, URL, DIFFUSERS = "cli", "webui", "url", "diffusers"
"""Surfaces: the command line, everything inside the WebUI (panel, API, infotext, XYZ), and what the
command line offers only with --url or --backend diffusers."""


@dataclass(frozen=True)
class Knob:
    """Everything a surface needs to show one parameter.

    cli_note: what only the command line adds to the help. in_draft: what the backend `draft` does
    with it, to complete "The draft backend …"; empty where the parameter has its full effect.
    main: the one that most people change: first after the switch, and always in the infotext.
    key: its name in the infotext, where that is not the label: what older versions wrote and other
    programs read stays when a label changes.
    """

    label: str
    help: str
    surfaces: tuple[str, ...] = (CLI, WEBUI)
    ge: float | None = None
    le: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None
    cli_note: str = ""
    in_draft: str = ""
    main: bool = False
    key: str = ""

    def help_on(self, surface: str) -> str:
        """Return the help text; on the command line with its notes, because `draft` runs there."""
        if surface != CLI:
            return self.help
        draft = f"The draft backend {self.in_draft}." if self.in_draft else ""
        return " ".join(filter(None, (self.help, self.cli_note, draft)))

    def describe_allowed(self, kind: type) -> str:
        """Return the allowed values in words, for messages and help texts."""
        if self.choices is not None:
            return "one of " + ", ".join(self.choices)
        if kind is bool:
            return "true or false"
        noun = {int: "a whole number", float: "a number", str: "text"}[kind]
        limits = [format_number(limit) for limit in (self.ge, self.le) if limit is not None]
        return f"{noun} from {' to '.join(limits)}" if limits else noun


def format_number(number: float) -> str:
    """Return a number as people write it: 4294967295, not 4.29497e+09, and 1, not 1.0."""
    return f"{number:.12g}"


def knob(default: bool | int | float | str, label: str, help: str, **limits: Any) -> Any:
    """Return a dataclass field whose metadata holds its `Knob`."""
    return field(default=default, metadata={"knob": Knob(label, help, **limits)})


def span(least: float, greatest: float, step: float) -> dict[str, float]:
    """Return the limits of a number, and a sensible step of a slider."""
    return {"ge": least, "le": greatest, "step": step}


def coerce(f: Field[Any], value: object) -> bool | int | float | str:
    """Return `value`, text or already typed, as the field's own type.

    Raises InvalidParameter, which names the value and the allowed ones.
    """
    knob_, kind = f.metadata["knob"], type(f.default)
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise InvalidParameter(
            f"{f.name} has {len(value)} characters; at most {LONGEST_TEXT} are possible."
        )
    try:
        result = parse_bool(value) if kind is bool else _parse_number_or_text(kind, value)
    except (TypeError, ValueError, OverflowError):
        result = None
    if result is None or not _is_allowed(knob_, result):
        raise InvalidParameter(
            f"{f.name} = {show(value)} is not possible; it must be {knob_.describe_allowed(kind)}."
        )
    return result


def parse_bool(value: object) -> bool | None:
    """Read a switch, as text or already typed; None where it is neither true nor false."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    return True if word in TRUE_WORDS else False if word in FALSE_WORDS else None


def _parse_number_or_text(kind: type, value: object) -> int | float | str | None:
    if isinstance(value, bool):
        return None
    if kind is str:
        return value.strip() if isinstance(value, str) else None
    number = float(value)  # type: ignore[arg-type]  # TypeError is caught by the caller
    if kind is float:
        return number
    return int(number) if number == int(number) else None


def _is_allowed(knob_: Knob, value: bool | int | float | str) -> bool:
    if knob_.choices is not None:
        return value in knob_.choices
    if knob_.ge is None or isinstance(value, str):
        return True
    return knob_.ge <= value <= (knob_.le if knob_.le is not None else float("inf"))
