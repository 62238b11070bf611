"""A contributor adds a model in one file: the guide's example, installed as a package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handrefiner_ext.errors import BackendUnavailable, UnknownBackend
from handrefiner_ext.registry import Registry

GUIDE = Path(__file__).parents[1] / "docs" / "reconstructors.md"
GROUP = "handrefiner.reconstructors"

pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="the guide is not installed here")


def example(language):
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text("utf-8"), re.M | re.S)
    return block


def entry_points_of(toml):
    """The guide's table as pip writes it into entry_points.txt."""
    return toml.replace("[project.entry-points.", "[").replace('"', "")


def install(folder, module, points):
    """A distribution as pip leaves one behind: the module and its dist-info."""
    folder.mkdir(exist_ok=True)
    (folder / "my_hands.py").write_text(module)
    info = folder / "my_hands-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-hands\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    return folder


@pytest.fixture
def installed(tmp_path):
    return install(tmp_path / "site", example("python"), entry_points_of(example("toml")))


def run(folder, *command):
    """A fresh interpreter that has the distribution on its path."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )


def test_the_example_of_the_guide_reconstructs_a_hand(installed, tmp_path):
    picture = GUIDE.parents[1] / "examples" / "badly_drawn_hand.png"
    command = ("-m", "handrefiner_ext", "hints", str(picture), "--out_dir", str(tmp_path / "out"))
    done = run(installed, *command, "--mesh", "flat_hand")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out" / "badly_drawn_hand_hands.json").read_text())
    assert "flat_hand" in json.dumps(written)
    assert (tmp_path / "out" / "badly_drawn_hand_depth.png").exists()


def test_it_is_a_choice_of_every_surface_before_it_is_imported(installed):
    code = (
        "import sys; from handrefiner_ext.registry import RECONSTRUCTORS;"
        "from handrefiner_ext.cli.options import options_table;"
        "from handrefiner_ext.params import RefineParams;"
        "assert RefineParams(mesh='flat_hand').mesh == 'flat_hand';"
        "assert 'flat_hand' in options_table();"
        "assert RECONSTRUCTORS.names()[-1] == 'flat_hand', RECONSTRUCTORS.names();"
        "assert 'my_hands' not in sys.modules;"
        "assert RECONSTRUCTORS.build('flat_hand').name == 'flat_hand'"
    )
    done = run(installed, "-c", code)
    assert done.returncode == 0, done.stderr


def registry_with(folder, monkeypatch, **where):
    monkeypatch.syspath_prepend(str(folder))
    return Registry("mesh", plugins=GROUP, **where)


def test_a_plugin_takes_no_name_that_is_ours(tmp_path, monkeypatch, caplog):
    points = f"[{GROUP}]\nopen_hand = my_hands:A\nauto = my_hands:A\nNo Word = my_hands:A\n"
    folder = install(tmp_path / "site", "class A: pass", points)
    registry = registry_with(folder, monkeypatch, open_hand="handrefiner_ext.errors:UsageError")
    assert "my_hands:A" not in registry.where.values()
    assert len(caplog.records) == 3


def test_a_plugin_that_cannot_be_imported_is_a_sentence(tmp_path, monkeypatch):
    folder = install(tmp_path / "site", "import no_such_package", f"[{GROUP}]\nx = my_hands:A\n")
    registry = registry_with(folder, monkeypatch)
    with pytest.raises(BackendUnavailable, match=r"no_such_package.*update or uninstall"):
        registry.build("x")
    with pytest.raises(UnknownBackend, match="choose one of auto, x"):
        registry.build("y")


def test_extras_of_an_entry_point_are_no_part_of_its_place(tmp_path, monkeypatch):
    folder = install(tmp_path / "site", "class A: pass", f"[{GROUP}]\nx = my_hands:A [torch]\n")
    assert registry_with(folder, monkeypatch).where["x"] == "my_hands:A"
