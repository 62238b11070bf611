"""The schema of parameters as data, with all that a client needs to build a form."""

from __future__ import annotations

import json
from dataclasses import Field, fields
from typing import Any

from handrefiner_ext.api.arguments import DRAWN_MASK, NAMES
from handrefiner_ext.params import WEBUI, Knob, RefineParams, fields_of, format_number

JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
DRAWN_MASK_HELP = (
    "A mask drawn by hand, of the picture's size: PNG or JPEG as base64, white may be repainted. "
    "It counts where mask is drawn or union."
)


def describe_parameters() -> list[dict[str, Any]]:
    """Every parameter; `position` is its place among a script's arguments, None where it has none.

    The positions come first, in their order.
    """
    shown = fields_of(WEBUI)
    hidden = [f for f in fields(RefineParams) if f.name not in NAMES]
    drawn_mask = {
        **dict.fromkeys(("default", "minimum", "maximum", "step", "choices")),
        "name": DRAWN_MASK,
        "type": "string",
        "label": "Drawn mask",
        "help": DRAWN_MASK_HELP,
        "position": NAMES.index(DRAWN_MASK),
    }
    return [*map(_describe, shown), drawn_mask, *map(_describe, hidden)]


def _describe(f: Field[Any]) -> dict[str, Any]:
    knob: Knob = f.metadata["knob"]
    kind: Any = type(f.default)
    return {
        "name": f.name,
        "type": JSON_TYPES[kind],
        "default": f.default,
        "minimum": None if knob.ge is None else kind(knob.ge),
        "maximum": None if knob.le is None else kind(knob.le),
        "step": None if knob.step is None else kind(knob.step),
        "choices": None if knob.choices is None else list(knob.choices),
        "label": knob.label,
        "help": knob.help,
        "position": NAMES.index(f.name) if f.name in NAMES else None,
    }


def api_table() -> str:
    """All parameters as a Markdown table, for the documentation."""
    rows = ["| position | name | default | allowed | what it does |", "|---|---|---|---|---|"]
    for said in describe_parameters():
        position = "" if said["position"] is None else said["position"]
        default = json.dumps(said["default"])
        rows.append(
            f"| {position} | `{said['name']}` | `{default}` | {_allowed(said)} | {said['help']} |"
        )
    return "\n".join(rows) + "\n"


def _allowed(said: dict[str, Any]) -> str:
    if said["choices"] is not None:
        return ", ".join(said["choices"])
    if said["minimum"] is None:
        return str(said["type"])
    return f"{said['type']}, {format_number(said['minimum'])} to {format_number(said['maximum'])}"
