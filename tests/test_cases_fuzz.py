"""Names, modes, masks and folders by chance: no traceback, no file of the user's is replaced."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run
from hand_scenes import BOTH, make_stages, picture_with
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from handrefiner_ext.cli.commands import DONE, FAILED, WRONG_USAGE
from handrefiner_ext.files import run as file_run

HANDS = st.sampled_from([(), BOTH, ("left half",)])
STEMS = st.sampled_from(
    [
        *("a", "A", "a_0", "a_mask", "a_png", "é", "e\u0301", "手", "._a", ".a", "con", "aux.x"),
        *("a b", "a'b", "<a>", "%41", "-x", "a_depth", "a_hands", "b" * 240, "\udc8e\udce8"),
    ]
)
ENDINGS = st.sampled_from(
    [".png", ".jpg", ".JPG", ".webp", ".bmp", ".gif", ".tif", ".heic", ".txt"]
)
MODES = st.sampled_from(["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK", "broken", "empty"])
PLACES = st.sampled_from(["", "sub", "sub/deep", ".hidden"])
KINDS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
}
FILES = st.tuples(PLACES, STEMS, ENDINGS, MODES, HANDS)
MASKS = st.sampled_from([None, "white", "black", "left", "alpha", "picture", "small", "folder"])
DEPTHS = st.sampled_from([None, None, None, "hand", "black", "deep", "small", "scene", "folder"])
MAPS = st.sampled_from(["", "out", "in"])
SWITCHES = st.sets(st.sampled_from(["--recursive", "--resume", "--eval"]))


def write(path, mode, hands):
    """A picture of the mode in the format of the name, as far as there is such a one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = KINDS.get(path.suffix.lower())
    data = b"" if mode == "empty" else b"\x89PNG\r\n\x1a\nnothing"
    if mode in ("broken", "empty") or kind is None:
        path.write_bytes(data)
        return
    pixels = picture_with(hands)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    elif mode == "LA":
        image = image.convert("L").convert("LA")
    else:
        image = image.convert(mode)
    try:
        image.save(path, kind)
    except (OSError, ValueError):  # a mode that the format does not have
        Image.fromarray(pixels).save(path, kind)


def draw_mask(folder, kind):
    mask = np.zeros((60, 120), dtype=np.uint8)
    mask[:, :60] = 255 if kind in ("left", "folder", "alpha") else 0
    if kind == "white":
        mask[:] = 255
    image = Image.fromarray(mask)
    if kind == "alpha":
        image = Image.merge("LA", [Image.new("L", image.size), image])
    elif kind == "picture":
        rng = np.random.default_rng(0)
        image = Image.fromarray(rng.integers(0, 255, (60, 120, 3), dtype=np.uint8))
    elif kind == "small":
        image = image.resize((12, 6))
    if kind == "folder":
        (folder / "masks").mkdir()
        image.save(folder / "masks" / "a.png")
        return folder / "masks"
    image.save(folder / "mask.png")
    return folder / "mask.png"


def draw_depth(folder, kind):
    grey = np.zeros((60, 120), dtype=np.uint8)
    grey[10:50, 10:50] = 0 if kind == "black" else 120
    if kind == "scene":
        grey[:] = 77
    image = Image.fromarray(grey.astype(np.uint16) * 257 if kind == "deep" else grey)
    if kind == "small":
        image = image.resize((40, 20))
    place = folder / "depths" / "a_depth.png" if kind == "folder" else folder / "depth.png"
    place.parent.mkdir(exist_ok=True)
    image.save(place)
    return place.parent if kind == "folder" else place


def snapshot(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {os.fsencode(path): path.read_bytes() for path in found}


def play(folder, given):
    """Run a command twice over a folder of the user's; what was there must be there still."""
    files, own, out_name, mask, depth, maps, switches, name, command, count = given
    source, out = folder / "in", folder / out_name
    source.mkdir()
    out.mkdir(exist_ok=True)
    for (place, stem, ending, mode, hands), target in itertools.chain(
        ((each, source) for each in files), ((each, out) for each in own)
    ):
        try:
            write(target / place / (stem + ending), mode, hands)
        except OSError:  # a name that this file system does not take
            continue
    more = [switch for switch in sorted(switches) if command == "refine" or switch == "--recursive"]
    if mask is not None:
        more += ["--mask", "drawn", "--drawn_mask", draw_mask(folder, mask)]
    if depth is not None:
        more += ["--depth_in", draw_depth(folder, depth)]
    more += [] if not maps else ["--pose_dir", folder / maps]
    if command == "refine":
        more += ["--name", name, "--num_samples", count]
        more += [] if not maps else ["--mask_dir", folder / maps, "--depth_dir", folder / maps]
        line = ["refine", "--input_dir", source, "--out_dir", out, "--keep_best", "false", *more]
    else:
        line = ["hints", source, "--out_dir", out, *more]
    before = snapshot(folder)
    for _ in range(2):
        assert run(*line) in (DONE, FAILED, WRONG_USAGE)  # and no traceback
        after = snapshot(folder)
        replaced = [path for path, data in before.items() if after.get(path) != data]
        assert replaced == []
    assert not [path for path in snapshot(folder) if b".handrefiner-" in path]


GIVEN = st.tuples(
    st.lists(FILES, min_size=1, max_size=5),
    st.lists(FILES, max_size=4),
    st.sampled_from(["in", "out"]),
    MASKS,
    DEPTHS,
    MAPS,
    SWITCHES,
    st.sampled_from(["number", "keep"]),
    st.sampled_from(["refine", "refine", "hints"]),
    st.integers(1, 2),
)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """Makes an empty folder for each example; nobody was told of a fault in the program before."""
    from handrefiner_ext import stages

    for module in (stages, file_run):
        monkeypatch.setattr(module, "build_stages", lambda params, home: make_stages())

    def make():
        assert "fault in the program" not in capsys.readouterr().err
        return Path(tempfile.mkdtemp(dir=tmp_path))

    yield make
    make()


@settings(max_examples=40, deadline=None, suppress_health_check=QUIET)
@given(given=GIVEN)
def test_nothing_of_the_users_is_replaced_whatever_they_have(folder, given):
    play(folder(), given)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=2000, deadline=None, suppress_health_check=QUIET)
@given(given=GIVEN)
def test_nothing_of_the_users_is_replaced_in_two_thousand_runs(folder, given):
    play(folder(), given)
