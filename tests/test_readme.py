"""The README says what the code does, and its examples run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from handrefiner_ext.cli.commands import build_parser
from handrefiner_ext.cli.options import options_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- options:begin -->", "<!-- options:end -->"

pytestmark = pytest.mark.skipif(not README.exists(), reason="the README is not installed here")


def text():
    return README.read_text(encoding="utf-8")


def blocks(language=""):
    return re.findall(rf"^```{language}\n(.*?)^```", text(), flags=re.MULTILINE | re.DOTALL)


def test_options_are_those_of_the_schema():
    assert BEGIN in text(), f"{README} needs a line {BEGIN}"
    table = text().partition(BEGIN)[2].partition(END)[0].strip()
    assert table == options_table().strip()


def test_every_command_line_is_understood():
    lines = [line for block in blocks() for line in block.splitlines()]
    commands = [
        shlex.split(line, comments=True) for line in lines if line.startswith("handrefiner")
    ]
    assert len(commands) >= 3
    for command in commands:
        build_parser().parse_args(command[1:])


def test_the_python_example_runs(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    exec(compile(example, str(README), "exec"), {})
    assert (tmp_path / "refined.png").stat().st_size > 0


def test_every_file_that_it_names_exists():
    linked = re.findall(r"\]\(((?!https?:)[^)#]+)\)", text())
    assert linked
    missing = [name for name in linked if not (ROOT / name).exists()]
    assert not missing
