"""The command line's options as the documentation shows them."""

from __future__ import annotations

from handrefiner_ext.params import CLI, Knob, fields_of


def options_table() -> str:
    """The command line's options as a Markdown table, for the README."""
    rows = ["| option | default | allowed | what it does |", "|---|---|---|---|"]
    for f in fields_of(CLI):
        k: Knob = f.metadata["knob"]
        default = str(f.default).lower() if isinstance(f.default, bool) else f.default
        allowed = k.describe_allowed(type(f.default))
        rows.append(
            f"| `--{f.name}` | {default if default != '' else 'empty'} | {allowed} | "
            f"{k.help_on(CLI)} |"
        )
    return "\n".join(rows) + "\n"
