"""Writes the table of parameters into docs/api.md: python tools/write_api_docs.py"""

from __future__ import annotations

from pathlib import Path

from handrefiner_ext.api.schema import api_table

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
START, END = "<!-- parameters -->\n", "<!-- end -->\n"


def with_table(text: str) -> str:
    """The page with the table as the schema has it."""
    head, _, rest = text.partition(START)
    return f"{head}{START}\n{api_table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
