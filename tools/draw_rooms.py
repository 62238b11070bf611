"""Draw which room of the package imports which, for docs/architecture.md.

`python tools/write_tables.py` writes the drawing there, as a Mermaid flowchart, which GitHub shows
as a picture. An arrow that follows from two others is left out.
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "handrefiner_ext"
FOUNDATION = "errors, topology, registry, knobs, params, infotext, types, protocols, report"
"""Modules at the top that nearly every room imports; drawn as one box."""
FOUND = "foundation"
Arrows = dict[str, set[str]]
"""Room -> the rooms that it imports."""


def list_rooms() -> dict[str, list[Path]]:
    """Return every room with its files; a module at the top is a room of one file."""
    rooms: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if not name.startswith("__"):
            rooms.setdefault(FOUND if name in FOUNDATION.split(", ") else name, []).append(path)
    return rooms


def read_arrows(rooms: dict[str, list[Path]]) -> Arrows:
    """Return what each room imports, apart from itself."""
    arrows: Arrows = {room: set() for room in rooms}
    for room, paths in rooms.items():
        for path in paths:
            for name in _imported(ast.parse(path.read_text("utf-8"))):
                other = FOUND if name in FOUNDATION.split(", ") else name
                if other in rooms and other != room:
                    arrows[room].add(other)
    return arrows


def reduce(arrows: Arrows) -> Arrows:
    """Return the arrows without those that a longer way replaces."""
    reach: Arrows = {}

    def walk(room: str) -> set[str]:
        if room not in reach:
            reach[room] = set().union(*({other} | walk(other) for other in arrows[room]))
        return reach[room]

    return {
        room: {o for o in others if not any(o in walk(between) for between in others - {o})}
        for room, others in arrows.items()
    }


def rooms_chart() -> str:
    """Return the flowchart, from what users start down to what everything stands on."""
    rooms = list_rooms()
    lines = ["```mermaid", "flowchart TD", f'  {FOUND}["{FOUNDATION}"]']
    for room, others in sorted(reduce(read_arrows(rooms)).items()):
        lines += [f"  {room} --> {other}" for other in sorted(others)]
    return "\n".join([*lines, "```"])


def _imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "handrefiner_ext":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "handrefiner_ext."
        ):
            names.add((node.module or "").split(".")[1])
    return names
