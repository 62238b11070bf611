"""Fixtures that several test files share."""

from __future__ import annotations

import pytest
from hand_scenes import BOTH, make_stages, picture_with
from hypothesis import settings
from PIL import Image

from handrefiner_ext import pipeline

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("handrefiner", deadline=None)
settings.load_profile("handrefiner")


@pytest.fixture
def tiny_stages(monkeypatch):
    """Tiny stages instead of networks; a test may replace one of them."""
    held = {}
    monkeypatch.setattr(pipeline, "build_stages", lambda params, home=None: make_stages(**held))
    return held


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
