"""Fixtures that several test files share."""

from __future__ import annotations

import textwrap
from collections import Counter

import pytest
from detect_pictures import drawn
from hand_scenes import BOTH, hold_tiny_backends, make_stages, picture_with
from hypothesis import settings
from PIL import Image

from handrefiner_ext import stages
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.files import run

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("fast", deadline=None, max_examples=25)
settings.register_profile("slow", deadline=None, max_examples=200)
settings.load_profile("fast")


NEEDS = {
    "slow": "--slow",
    "torch": 'pip install -e ".[torch]"',
    "diffusers": 'pip install -e ".[diffusion]"',
    "mediapipe": 'pip install -e ".[mediapipe]"',
    "ray": 'pip install -e ".[cluster]"',
    "pyarrow": 'pip install -e ".[cluster]"',
    "pyrender": 'pip install -e ".[pyrender]"',
    "HANDREFINER_": "pictures or a WebUI that a variable HANDREFINER_... names",
}
"""A word in the reason of a skipped test -> what runs it."""


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_configure(config):
    if config.getoption("--slow"):
        settings.load_profile("slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow") or "slow" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow; --slow runs it"))


def pytest_terminal_summary(terminalreporter):
    """Say in one line what was skipped and what runs it, instead of in a line for each reason."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())]
    if not reasons:
        return
    ways = Counter(
        next((way for word, way in NEEDS.items() if word in reason), f"other: {reason}")
        for reason in reasons
    )
    told = "; ".join(f"{count} ({way})" for way, count in ways.most_common())
    terminalreporter.write_line(f"skipped {len(reasons)}: {told}. See CONTRIBUTING.md, or -rs.")


@pytest.fixture
def tiny_stages(monkeypatch):
    """Tiny stages instead of networks; a test may replace one of them."""
    held = {}

    def build(params, home):
        return make_stages(**held)

    monkeypatch.setattr(stages, "build_stages", build)
    monkeypatch.setattr(run, "build_stages", build)
    return held


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch, tmp_path_factory):
    """Backends that one test has built are not those of the next; no gestures are the user's."""
    none = tmp_path_factory.getbasetemp() / "no" / "gestures.json"
    monkeypatch.setenv("HANDREFINER_GESTURES", str(none))
    monkeypatch.setattr(stages.CACHE, "_kept", {})


@pytest.fixture
def pictures(tmp_path):
    """A folder with three pictures, two hands, one hand and none, and other files."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(picture_with(BOTH)).save(folder / "both.png")
    Image.fromarray(picture_with(("left half",))).save(folder / "one.jpg", quality=98)
    Image.fromarray(picture_with(())).save(folder / "none.png")
    (folder / "test.json").write_text("{}")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def webui(tmp_path, monkeypatch):
    """The stand-in of a WebUI, just started, with tiny backends and its page built."""
    from stand_in import WebUI

    hold_tiny_backends(monkeypatch)
    started = WebUI(tmp_path)
    started.build_page()
    return started


DEADLY = """
    import os, signal
    from handrefiner_ext.mesh.open_hand import OpenHandReconstructor

    class Deadly(OpenHandReconstructor):
        name = "deadly"

        def reconstruct(self, image, hand, params):
            if image.shape[0] == 224:
                os.kill(os.getpid(), signal.SIGSEGV)
            return super().reconstruct(image, hand, params)
"""


@pytest.fixture
def deadly(tmp_path):
    """A folder for PYTHONPATH with the reconstructor `deadly`, as pip would install it."""
    from test_reconstructor_plugins import install

    points = "[handrefiner.reconstructors]\ndeadly = my_hands:Deadly\n"
    return install(tmp_path / "site", textwrap.dedent(DEADLY), points)


@pytest.fixture(scope="module")
def detector():
    return LitertDetector()


@pytest.fixture(scope="module")
def close_up():
    """A rendered picture that one hand fills."""
    return drawn(6, 400, 400, (200.0, 200.0, 260.0))
