"""Write the tables of parameters into docs/api.md and docs/options.md; run it without arguments."""

from __future__ import annotations

from pathlib import Path

from handrefiner_ext.api.body import api_table
from handrefiner_ext.cli.options import options_table

DOCS = Path(__file__).parents[1] / "docs"
TABLES = {DOCS / "api.md": api_table, DOCS / "options.md": options_table}
START, END = "<!-- parameters -->\n", "<!-- end -->\n"


def with_table(page: Path) -> str:
    """Return the text of the page with the table as the schema has it."""
    head, start, rest = page.read_text("utf-8").partition(START)
    if not start:
        raise SystemExit(f"{page} needs the line {START.strip()} where the table begins.")
    return f"{head}{START}\n{TABLES[page]().strip()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    for page in TABLES:
        page.write_text(with_table(page), "utf-8")
