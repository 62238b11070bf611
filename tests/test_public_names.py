"""Every name that users depend on is still there: recorded before the modules moved.

Additions are allowed, removals are not: a new spelling stands beside the old one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from public_names import EXAMPLE, ROOT, collect

pytest.importorskip("fastapi")

GOLDEN = Path(__file__).parent / "golden" / "public_names.json"
PROJECT = ROOT / "pyproject.toml"
pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="the package alone is installed")


def find_missing(recorded, found, place=""):
    """Every recorded name that is not found any more, with its place."""
    if isinstance(recorded, dict):
        gone = [f"{place}/{key}" for key in recorded if key not in found]
        kept = [key for key in recorded if key in found]
        return gone + [m for k in kept for m in find_missing(recorded[k], found[k], f"{place}/{k}")]
    if isinstance(recorded, list):
        return [f"{place}/{name}" for name in recorded if name not in found]
    return [] if recorded == found else [f"{place}: {recorded!r} became {found!r}"]


@pytest.fixture(scope="module")
def recorded():
    return json.loads(GOLDEN.read_text("utf-8"))


@pytest.fixture(scope="module")
def found():
    return collect()


def test_no_public_name_is_missing(recorded, found):
    assert find_missing(recorded, found) == []


def test_positions_of_arguments_are_only_appended_to(recorded, found):
    before, now = recorded["positions"], found["positions"]
    for names in (before, now):  # the schema's parameters, then the pictures
        cut = names.index("drawn_mask")
        names[:] = [names[:cut], names[cut:]]
    for old, new in zip(before, now, strict=True):
        assert new[: len(old)] == old


def test_a_missing_name_is_found(recorded):
    poorer = json.loads(json.dumps(recorded))
    poorer["options"]["handrefiner refine"].remove("--eval")
    del poorer["log_json"]["hands"]
    poorer["infotext"]["strength"] = "HandRefiner weight"
    assert find_missing(recorded, poorer) == [
        "/infotext/strength: 'HandRefiner strength' became 'HandRefiner weight'",
        "/log_json/hands",
        "/options/handrefiner refine/--eval",
    ]


def test_the_command_and_the_plugins_have_their_entry_points():
    scripts = PROJECT.read_text("utf-8").partition("[project.scripts]")[2]
    assert 'handrefiner = "handrefiner_ext.cli:main"' in scripts
    registry = (ROOT / "handrefiner_ext" / "registry.py").read_text("utf-8")
    assert 'plugins="handrefiner.reconstructors"' in registry


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "handrefiner_ext", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"handrefiner \d+\.\d+\.\d+\S*\n", done.stdout)
