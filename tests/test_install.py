"""What the WebUI runs and reads before it loads the extension: install, preload, metadata."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from configparser import ConfigParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from handrefiner_ext.detect.mediapipe import describe_obstacle

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "install.py"
pytestmark = pytest.mark.skipif(not SHIPPED.exists(), reason="the package alone is installed")


def load(name):
    spec = spec_from_file_location(f"handrefiner_{name}", ROOT / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """install.py on a pretended machine; `commands` holds what it ran."""
    monkeypatch.delenv("COMMANDLINE_ARGS", raising=False)
    monkeypatch.delenv("HANDREFINER_OFFLINE", raising=False)
    module = load("install")
    module.commands, module.absent, module.broken = [], set(), set()
    module.mediapipe = "0.10.14"
    monkeypatch.setattr(module, "TRIED", tmp_path / "tried")

    def run(command):
        module.commands.append([part for part in command if part not in module.PIP_OPTIONS][4:])
        failed = module.broken & set(command)
        if not failed and module.LITERT in command:
            module.absent.discard("ai_edge_litert")
        return not failed, "ERROR: No matching distribution found."

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "is_present", lambda name: name not in module.absent)
    monkeypatch.setattr(module, "installed_version", lambda name: module.mediapipe)
    monkeypatch.setattr(
        module, "find_obstacle", lambda: describe_obstacle(module.mediapipe, "3.20.0")
    )
    monkeypatch.setattr(module.sys, "version_info", (3, 10, 13))
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0))
    return module


def installed(machine):
    """What pip was asked for, without its constraints."""
    return [command[2:] for command in machine.commands]


@pytest.mark.parametrize("mediapipe", ["0.10.9", "0.10.14", "0.10.35", "1.2.2"])
def test_a_mediapipe_that_works_is_kept_and_litert_put_beside_it(machine, mediapipe):
    machine.absent = {"ai_edge_litert"}
    machine.mediapipe = mediapipe
    assert machine.main() == 0
    assert installed(machine) == [["ai-edge-litert>=1.4"]]


def test_where_litert_cannot_be_had_beside_mediapipe_it_is_tried_once(machine, capsys):
    machine.absent, machine.broken = {"ai_edge_litert"}, {"ai-edge-litert>=1.4"}
    assert machine.main() == 0
    assert "could not be installed" in capsys.readouterr().out
    machine.commands.clear()
    assert machine.main() == 0
    assert (machine.commands, capsys.readouterr().out) == ([], "")


def test_offline_litert_is_not_tried(machine, monkeypatch, capsys):
    machine.absent = {"ai_edge_litert"}
    monkeypatch.setenv("HANDREFINER_OFFLINE", "1")
    assert machine.main() == 0
    assert (machine.commands, capsys.readouterr().out) == ([], "")


def test_with_litert_mediapipe_is_not_missed(machine, capsys):
    machine.mediapipe = None
    assert machine.main() == 0
    assert (machine.commands, capsys.readouterr().out) == ([], "")


def test_without_a_detector_the_mediapipe_that_suits_the_host_is_installed(machine, capsys):
    machine.absent, machine.mediapipe = {"ai_edge_litert", "absl", "sounddevice"}, None
    assert machine.main() == 0
    assert installed(machine) == [
        ["mediapipe==0.10.9", "--no-deps"],
        ["absl-py", "sounddevice>=0.4.4"],
        ["ai-edge-litert>=1.4"],
    ]
    assert "installing a hand detector" in capsys.readouterr().out


@pytest.mark.parametrize("mediapipe", ["0.10.8", "0.10.18", "0.10.21"])
def test_a_mediapipe_that_does_not_work_is_left_alone_and_litert_put_beside_it(machine, mediapipe):
    machine.absent, machine.mediapipe = {"ai_edge_litert"}, mediapipe
    assert machine.main() == 0
    assert installed(machine) == [["ai-edge-litert>=1.4"]]


def test_where_that_mediapipe_does_not_exist_litert_is_installed(machine, monkeypatch):
    machine.absent, machine.mediapipe = {"ai_edge_litert"}, None
    monkeypatch.setattr(machine.sys, "version_info", (3, 12, 1))
    assert machine.main() == 0
    assert installed(machine) == [["ai-edge-litert>=1.4"]]


def test_where_mediapipe_cannot_be_had_litert_is_installed(machine, capsys):
    machine.absent, machine.mediapipe = {"ai_edge_litert"}, None
    machine.broken = {"mediapipe==0.10.9"}
    assert machine.main() == 0
    assert installed(machine)[-1] == ["ai-edge-litert>=1.4"]
    assert "could not be installed: ERROR: No matching" in capsys.readouterr().out


def test_where_nothing_can_be_had_the_webui_starts_and_the_user_is_told(machine, capsys):
    machine.absent, machine.mediapipe = {"ai_edge_litert"}, None
    machine.broken = {"mediapipe==0.10.9", "ai-edge-litert>=1.4"}
    assert machine.main() == 0
    assert 'pip install "ai-edge-litert>=1.4"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COMMANDLINE_ARGS", "--api --handrefiner-offline"),
        ("COMMANDLINE_ARGS", '--ckpt "a b" --handrefiner-offline'),
        ("HANDREFINER_OFFLINE", "1"),
    ],
)
def test_offline_nothing_is_installed_and_the_user_is_told_what_is_missing(
    machine, monkeypatch, capsys, name, value
):
    machine.absent, machine.mediapipe = {"ai_edge_litert", "cv2"}, None
    monkeypatch.setenv(name, value)
    assert machine.main() == 0
    assert machine.commands == []
    assert "opencv-python-headless>=4.8, a hand detector: missing" in capsys.readouterr().out


@pytest.fixture
def fresh(machine, monkeypatch, tmp_path):
    """A fresh WebUI beside whose extensions lies one that asks for albumentations."""
    (tmp_path / "extensions" / "sd-webui-controlnet").mkdir(parents=True)
    listed = tmp_path / "extensions" / "sd-webui-controlnet" / "requirements.txt"
    listed.write_text("fvcore\nalbumentations==1.4.3\n")
    (tmp_path / "requirements_versions.txt").write_text("Pillow==9.5.0\nnumpy==1.26.2\ntorch\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "EXTENSIONS", tmp_path / "extensions")
    machine.versions = {"numpy": "1.26.2", "mediapipe": "0.10.14"}
    monkeypatch.setattr(machine, "installed_version", lambda name: machine.versions.get(name))
    return machine


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ({}, "opencv-python-headless>=4.8"),
        ({"opencv-python": "4.11.0.86"}, "opencv-python-headless==4.11.0.86"),
        ({"opencv-contrib-python": "4.9.0.80"}, "opencv-python-headless==4.9.0.80"),
    ],
)
def test_the_opencv_that_another_extension_would_bring_is_there_before(fresh, there, wanted):
    fresh.versions |= there
    assert fresh.main() == 0
    assert installed(fresh) == [[wanted, "--no-deps"]]


@pytest.mark.parametrize(
    "there",
    [
        {"opencv-python-headless": "4.8.0.74"},
        {"albumentations": "1.4.3"},
        {"opencv-python": "5.0.0.1"},
    ],
)
def test_where_that_opencv_is_not_to_come_nothing_is_installed(fresh, there):
    fresh.versions |= there
    assert fresh.main() == 0
    assert installed(fresh) == []


def test_without_such_an_extension_no_opencv_is_added(fresh, monkeypatch, tmp_path):
    monkeypatch.setattr(fresh, "EXTENSIONS", tmp_path / "none")
    assert fresh.main() == 0
    assert installed(fresh) == []


def test_a_numpy_2_that_came_meanwhile_makes_way_for_the_webuis_own(fresh, capsys):
    fresh.versions |= {"numpy": "2.2.6", "albumentations": "1.4.3"}
    assert fresh.main() == 0
    assert installed(fresh) == [["numpy==1.26.2", "--no-deps"]]
    assert "putting numpy 1.26.2 back" in capsys.readouterr().out


@pytest.mark.parametrize("pins", ["numpy==2.2.6\n", "numpy\n", None])
def test_where_the_webui_does_not_pin_numpy_1_it_is_left_alone(fresh, tmp_path, pins):
    place = tmp_path / "requirements_versions.txt"
    place.unlink() if pins is None else place.write_text(pins)
    fresh.versions |= {"numpy": "2.2.6", "albumentations": "1.4.3"}
    assert fresh.main() == 0
    assert installed(fresh) == []


def test_offline_no_opencv_is_tried(fresh, monkeypatch):
    monkeypatch.setenv("HANDREFINER_OFFLINE", "1")
    assert fresh.main() == 0
    assert fresh.commands == []


def test_what_is_installed_is_held_and_what_is_not_is_bounded(machine, monkeypatch):
    texts = []

    def run(command):
        texts.append(Path(command[command.index("-c") + 1]).read_text("utf-8"))
        return True, ""

    monkeypatch.setattr(machine, "run", run)
    held = {"numpy": "==1.26.2", "protobuf": "==3.20.0"}
    monkeypatch.setattr(machine, "held_versions", lambda: held)
    assert machine.install("tqdm")
    assert texts[0].splitlines() == [
        "numpy==1.26.2",
        "opencv-contrib-python<5",
        "opencv-contrib-python-headless<5",
        "opencv-python<5",
        "opencv-python-headless<5",
        "protobuf==3.20.0",
    ]


def test_every_installed_package_is_held(machine):
    import numpy

    held = machine.held_versions()
    assert held["numpy"] == f"=={numpy.__version__}"
    assert {"pytest", "hypothesis"} <= set(held)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in held)


def test_a_pip_that_cannot_even_start_is_a_sentence():
    module = load("install")
    assert module.run(["/nowhere/python"])[0] is False
    succeeded, said = module.run([sys.executable, "-m", "pip", "install", "--no-index", "no-such"])
    assert not succeeded
    assert "no-such" in said or "pip" in said


def test_with_everything_there_the_script_is_silent_and_quick():
    def run():
        # Its own time, which does not grow when the machine is busy (none is told on Windows).
        start = os.times()
        done = subprocess.run(
            [sys.executable, str(SHIPPED)], capture_output=True, text=True, cwd=ROOT.parent
        )
        end = os.times()
        used = end.children_user + end.children_system
        return done, used - start.children_user - start.children_system

    if load("install").needs_detector():
        pytest.skip("no hand detector is installed here")
    done, _ = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert min(run()[1] for _ in range(3)) < 1.0


def test_the_script_asks_for_no_newer_package_than_the_project_does():
    said = (ROOT / "pyproject.toml").read_text("utf-8")
    wanted = set(re.findall(r'^  "([^";]+)', said, re.MULTILINE))
    module = load("install")
    assert {*module.BASICS.values(), module.LITERT} <= wanted


@pytest.mark.parametrize(
    ("mediapipe", "protobuf", "works"),
    [
        (None, "3.20.0", False),
        ("0.10.8", "3.20.0", False),
        ("0.10.9", "3.20.0", True),
        ("0.10.15", "3.20.0", True),
        ("0.10.18", "3.20.0", False),
        ("0.10.20", "4.24.9", False),
        ("0.10.21", "4.25.3", True),
        ("0.10.35", "3.20.0", True),
        ("1.2.2", "3.20.0", True),
        ("0.11.0rc1", None, True),
    ],
)
def test_the_versions_that_find_hands_are_known(mediapipe, protobuf, works):
    assert (describe_obstacle(mediapipe, protobuf) is None) == works


def test_the_flags_are_optional():
    parser = ArgumentParser()
    load("preload").preload(parser)
    assert vars(parser.parse_args([])) == {
        "handrefiner_models_dir": None,
        "handrefiner_offline": False,
    }
    given = parser.parse_args(["--handrefiner-offline", "--handrefiner-models-dir", "/hands"])
    assert (given.handrefiner_offline, given.handrefiner_models_dir) == (True, "/hands")


def test_the_order_names_the_class_that_there_is():
    metadata = ConfigParser()
    metadata.read(ROOT / "metadata.ini")
    (section,) = [name for name in metadata.sections() if name.startswith("callbacks/")]
    _, extension, script, category, name = section.split("/")
    assert (extension, category) == (metadata["Extension"]["Name"], "script_postprocess_image")
    tree = ast.parse((ROOT / "scripts" / script).read_text("utf-8"))
    (written,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert written.name == name
    methods = {node.name for node in written.body if isinstance(node, ast.FunctionDef)}
    assert category.removeprefix("script_") in methods
    assert metadata[section]["After"].startswith("adetailer/")
