"""Fixtures that several test files share."""

from __future__ import annotations

import pytest
from hand_scenes import BOTH, make_stages, picture_with
from hypothesis import settings
from PIL import Image

from handrefiner_ext import stages
from handrefiner_ext.files import run

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("handrefiner", deadline=None)
settings.load_profile("handrefiner")


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
def nothing_kept(monkeypatch):
    """Backends that one test has built are not those of the next."""
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
