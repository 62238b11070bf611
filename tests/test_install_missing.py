"""Without a package of ours everything still loads, and says what to do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handrefiner_ext.errors import how_to_install

HIDE = """
import importlib.abc, json, sys
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
DETECTORS = {"ai_edge_litert", "mediapipe"}


def run_without(hidden, code):
    """What `code` prints as JSON in an interpreter that lacks the packages."""
    done = subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden=hidden) + code],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "hidden",
    [DETECTORS, {"trimesh", "embreex", "scipy", "pyrender", "tqdm", "torch", "OpenGL"}],
    ids=["no detector", "nothing optional"],
)
def test_everything_loads(hidden):
    said = run_without(
        hidden,
        "import handrefiner_ext.pipeline, handrefiner_ext.api.body, handrefiner_ext.infotext\n"
        "import handrefiner_ext.pictures.overlay\n"
        "import handrefiner_ext.api.worker\n"
        "print(json.dumps('loaded'))",
    )
    assert said == "loaded"


@pytest.fixture(scope="module")
def without_detectors():
    """What is said on building the stages, and the list of backends."""
    return run_without(
        DETECTORS,
        "from handrefiner_ext.api.worker import Services, Worker\n"
        "from handrefiner_ext.errors import BackendUnavailable\n"
        "from handrefiner_ext.params import RefineParams\n"
        "from handrefiner_ext.stages import build_stages\n"
        "from handrefiner_ext.types import ModelHome\n"
        "try: build_stages(RefineParams(), ModelHome())\n"
        "except BackendUnavailable as error: said = str(error)\n"
        "print(json.dumps([said, Worker(Services()).list_backends()]))",
    )


def test_without_any_detector_one_sentence_names_both_and_what_to_run(without_detectors):
    said, _ = without_detectors
    assert "litert" in said
    assert "mediapipe" in said
    assert "pip install" in said


def test_the_list_of_backends_says_why_each_cannot_be_used(without_detectors):
    _, said = without_detectors
    assert "handrefiner weights download" in said["detector"].pop("yolo")
    assert all("pip install" in reason for reason in said["detector"].values())
    assert said["mesh"]["open_hand"] is None
    assert said["renderer"]["raster"] is None
    assert said["backend"]["draft"] is None
    reason = said["backend"]["diffusers"]
    assert reason is None or '".[diffusion]"' in reason


def test_every_extra_that_a_message_names_can_be_installed_as_it_says():
    package = Path(__file__).parents[1] / "handrefiner_ext"
    sources = [path.read_text("utf-8") for path in package.rglob("*.py")]
    named = {extra for text in sources for extra in re.findall(r"how_to_install\('(\w+)'\)", text)}
    assert {"torch", "diffusion", "cluster", "pyrender"} <= named
    settings = (package.parent / "pyproject.toml").read_text("utf-8")
    for extra in named:
        (packages,) = re.findall(rf"^{extra} = \[(.*)\]", settings, flags=re.MULTILINE)
        said = how_to_install(extra)
        assert said == f"pip install {packages}" or f'pip install -e ".[{extra}]" in /' in said
