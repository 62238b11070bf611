"""Write what the docs take from the code: tables of parameters, and a picture of the rooms."""

from __future__ import annotations

from pathlib import Path

from draw_rooms import rooms_chart

from handrefiner_ext.api.body import api_table
from handrefiner_ext.cli.options import options_table

DOCS = Path(__file__).parents[1] / "docs"
TABLES = {
    DOCS / "api.md": api_table,
    DOCS / "options.md": options_table,
    DOCS / "architecture.md": rooms_chart,
}
START, END = "<!-- generated -->\n", "<!-- end -->\n"


def with_table(page: Path) -> str:
    """Return the text of the page with what the code says now between the two marks."""
    head, start, rest = page.read_text("utf-8").partition(START)
    if not start:
        raise SystemExit(f"{page} needs the line {START.strip()} where the table begins.")
    return f"{head}{START}\n{TABLES[page]().strip()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    for page in TABLES:
        page.write_text(with_table(page), "utf-8")
