"""The schema of parameters as data, with all that a client needs to build a form."""

from __future__ import annotations

import json
from dataclasses import Field, dataclass, fields
from typing import Any

from handrefiner_ext.api.body import DRAWN_MASK, NAMES
from handrefiner_ext.knobs import WEBUI, Knob, format_number
from handrefiner_ext.params import RefineParams, fields_of
from handrefiner_ext.report import told

JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
DRAWN_MASK_HELP = (
    "A mask drawn by hand, of the picture's size: PNG or JPEG as base64, white may be repainted. "
    "It counts where mask is drawn or union."
)


@dataclass(frozen=True)
class ParameterReport:
    """One parameter."""

    name: str = told("Key in requests.")
    type: str = told("boolean, integer, number or string.")
    default: Any = told("Value where none is given.")
    minimum: float | None = told("Least value.")
    maximum: float | None = told("Greatest value.")
    step: float | None = told("A sensible step of a slider.")
    choices: list[str] | None = told("The values that are possible, where they are few.")
    label: str = told("Short name for people.")
    help: str = told("What it does.")
    position: int | None = told("Place in alwayson_scripts args; none for /hints and /refine only.")


@dataclass(frozen=True)
class SchemaReport:
    """Every parameter, and what a request may hold."""

    parameters: list[ParameterReport] = told("Those with a position first, in that order.")
    max_body_bytes: int = told("Longest body of a request.")
    max_pixels: int = told("Largest picture.")


def describe_parameters() -> list[ParameterReport]:
    """Return every parameter; those that have a position come first, in that order."""
    shown = fields_of(WEBUI)
    hidden = [f for f in fields(RefineParams) if f.name not in NAMES]
    drawn_mask = ParameterReport(
        DRAWN_MASK,
        "string",
        *(None, None, None, None, None),
        label="Drawn mask",
        help=DRAWN_MASK_HELP,
        position=NAMES.index(DRAWN_MASK),
    )
    return [*map(_describe, shown), drawn_mask, *map(_describe, hidden)]


def _describe(f: Field[Any]) -> ParameterReport:
    knob: Knob = f.metadata["knob"]
    kind: Any = type(f.default)
    return ParameterReport(
        name=f.name,
        type=JSON_TYPES[kind],
        default=f.default,
        minimum=None if knob.ge is None else kind(knob.ge),
        maximum=None if knob.le is None else kind(knob.le),
        step=None if knob.step is None else kind(knob.step),
        choices=None if knob.choices is None else list(knob.choices),
        label=knob.label,
        help=knob.help,
        position=NAMES.index(f.name) if f.name in NAMES else None,
    )


def api_table() -> str:
    """Return all parameters as a Markdown table, for the documentation."""
    rows = ["| position | name | default | allowed | what it does |", "|---|---|---|---|---|"]
    for said in describe_parameters():
        position = "" if said.position is None else said.position
        default = json.dumps(said.default)
        rows.append(
            f"| {position} | `{said.name}` | `{default}` | {_allowed(said)} | {said.help} |"
        )
    return "\n".join(rows) + "\n"


def _allowed(said: ParameterReport) -> str:
    if said.choices is not None:
        return ", ".join(said.choices)
    if said.minimum is None or said.maximum is None:
        return said.type
    return f"{said.type}, {format_number(said.minimum)} to {format_number(said.maximum)}"
