"""The README and the pages of docs/ say what the code does, and their examples run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from handrefiner_ext.cli.commands import build_parser

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "models" / "README.md",
    *sorted(DOCS.glob("*.md")),
]
SCREEN_LINES = 40
"""Lines of Markdown that a reader sees without scrolling, with the two pictures among them."""

pytestmark = pytest.mark.skipif(not README.exists(), reason="the README is not installed here")
on_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def text(page=README):
    return page.read_text(encoding="utf-8")


def blocks(page, *languages):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), flags=re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


def commands_of(page):
    """Every command line of the program in the page's fenced and indented blocks."""
    lines = "".join(blocks(page, "", "bash")).replace("\\\n", " ").splitlines()
    lines += [
        line.strip() for line in text(page).splitlines() if line.startswith("    handrefiner")
    ]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("handrefiner ")]


def test_tables_and_the_picture_of_the_rooms_are_those_of_the_code(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import write_tables

    for page in write_tables.TABLES:
        assert write_tables.with_table(page) == text(page), "run: python tools/write_tables.py"


def test_its_first_screen_has_both_pictures_and_the_installation_in_the_webui():
    screen = "\n".join(text().splitlines()[:SCREEN_LINES])
    assert re.findall(r"!\[.*\]\((.*)\)", screen) == [
        "docs/images/before_depth_after.png",
        "docs/images/webui_panel_txt2img.png",
    ]
    assert "## Install in AUTOMATIC1111" in screen
    assert "Install from URL" in screen
    assert "No real Stable Diffusion or hand ControlNet weights have been run" in screen


@on_every_page
def test_every_command_line_is_understood(page):
    commands = commands_of(page)
    assert len(commands) >= 8 or page != README
    for command in commands:
        build_parser().parse_args(command[1:])


def test_its_python_example_runs(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(README, "python")
    exec(compile(example, str(README), "exec"), {})
    assert (tmp_path / "refined.png").stat().st_size > 0


@on_every_page
def test_every_file_that_it_names_exists(page):
    linked = re.findall(r"\]\(((?!https?:)[^)#]+)\)", text(page))
    missing = [name for name in linked if not (page.parent / name).exists()]
    assert not missing


def test_the_index_names_every_page():
    named = re.findall(r"\]\(([^)#]+)\)", text(DOCS / "README.md"))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= set(named)


def test_the_way_of_a_picture_passes_files_and_functions_that_exist():
    package = ROOT / "handrefiner_ext"
    way = text(DOCS / "architecture.md").partition("## One picture")[2]
    count = 0
    for row in way.splitlines():
        steps = re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`(?: `([a-z_]+)`)?", row)
        count += len(steps)
        for name, function in steps:
            beside = package / Path(steps[0][0]).parent / name  # in the folder of the row's first
            path = package / name if (package / name).exists() else beside
            assert f"def {function}(" in text(path) or not function, (name, function)
    assert count >= 25
