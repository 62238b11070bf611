"""The command line with the real embedded backends on real pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run, unmarked
from PIL import Image

PICTURES = Path(
    os.environ.get("HANDREFINER_IMAGES", Path(__file__).parents[2] / "shared" / "images")
)
pytestmark = pytest.mark.skipif(
    not (PICTURES / "1.jpg").exists(),
    reason=f"no test pictures 1.jpg to 5.jpg in {PICTURES}; HANDREFINER_IMAGES names their folder",
)
NAMES = ("1", "2", "3", "4", "5")


def run_as_process(*arguments):
    command = [sys.executable, "-m", "handrefiner_ext", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def read(path):
    with Image.open(path) as opened:
        return np.array(opened)


@pytest.fixture(scope="module")
def hints(tmp_path_factory):
    out = tmp_path_factory.mktemp("hints")
    sources = [PICTURES / f"{name}.jpg" for name in NAMES]
    done = run_as_process("hints", *sources, "--out_dir", out, "--mesh_dir", out)
    assert done.returncode == 0, done.stderr
    return out


ALL = ("--keep_best", "False")
"""So that every hand is repainted, whatever the judge thinks of it."""


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    out = tmp_path_factory.mktemp("refined")
    folders = ("--out_dir", out, "--depth_dir", out / "depth", "--mask_dir", out / "mask")
    assert run("refine", "--input_dir", PICTURES, *folders, *ALL) == 0
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_hand_of_the_papers_pictures_is_found_with_a_close_fit(hints, name):
    said = json.loads((hints / f"{name}_hands.json").read_text("utf-8"))
    assert (said["width"], said["height"]) == (512, 512)
    assert said["hands"]
    for hand in said["hands"]:
        assert hand["handedness"] in ("left", "right")
        assert hand["reprojection_error"] < 0.12
        landmarks, joints = np.array(hand["landmarks"]), np.array(hand["joints_2d"])
        assert landmarks.shape == joints.shape == (21, 2)
        size = np.ptp(landmarks, axis=0).max()
        distance = np.linalg.norm(landmarks - joints, axis=1).mean() / size
        assert distance < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_the_maps_lie_where_the_hands_are(hints, name):
    depth, mask = read(hints / f"{name}_depth.png"), read(hints / f"{name}_mask.png")
    assert depth.shape == mask.shape == (512, 512)
    assert depth.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[depth > 0] == 255).all()
    assert depth[depth > 0].min() >= 51
    assert depth.max() == 255
    said = json.loads((hints / f"{name}_hands.json").read_text("utf-8"))
    for hand in said["hands"]:
        x0, y0, x1, y1 = hand["box"]
        beside_a_head = name == "4"  # whose hand is held up to the man's collar
        assert (mask[y0:y1, x0:x1] == 255).mean() >= (0.8 if beside_a_head else 1.0)
        assert (depth[y0:y1, x0:x1] > 0).mean() > 0.2


@pytest.mark.parametrize("name", NAMES)
def test_the_mesh_has_the_length_of_a_hand_and_stands_upright(hints, name):
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.load(hints / f"{name}_hand1.glb", force="mesh")
    assert 0.1 < np.linalg.norm(np.ptp(mesh.vertices, axis=0)) < 0.35
    assert mesh.volume > 0
    said = json.loads((hints / f"{name}_hands.json").read_text("utf-8"))["hands"][0]
    joints = np.array(said["joints_2d"])
    wrist_to_tips = joints[[8, 12, 16, 20]].mean(axis=0) - joints[0]
    upwards = mesh.vertices[np.linalg.norm(mesh.vertices, axis=1).argmax(), 1]
    if abs(wrist_to_tips[1]) > 2 * abs(wrist_to_tips[0]):
        assert np.sign(upwards) == -np.sign(wrist_to_tips[1])


@pytest.mark.parametrize("name", NAMES)
def test_hands_are_repainted_and_nothing_else_is_touched(refined, name):
    before, after = read(PICTURES / f"{name}.jpg"), read(refined / f"{name}_0.png")
    mask = read(refined / "mask" / f"{name}_mask.png") == 255
    changed = (before != after).any(axis=2)
    assert changed.any()
    assert not changed[~mask].any()


def test_a_mirrored_picture_has_the_other_hand(hints, tmp_path):
    for name in ("1", "3"):
        with Image.open(PICTURES / f"{name}.jpg") as opened:
            opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / f"{name}.png")
    assert run("hints", tmp_path, "--out_dir", tmp_path) == 0
    for name in ("1", "3"):
        straight, mirrored = (
            json.loads((folder / f"{name}_hands.json").read_text("utf-8"))["hands"][0]["handedness"]
            for folder in (hints, tmp_path)
        )
        assert {straight, mirrored} == {"left", "right"}


def test_a_black_picture_is_copied_and_its_maps_are_black(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "black.png")
    out = tmp_path / "out"
    folders = ("--out_dir", out, "--depth_dir", out, "--mask_dir", out)
    assert run("refine", "--input_img", tmp_path / "black.png", *folders) == 0
    assert unmarked(out / "black_0.png") == (tmp_path / "black.png").read_bytes()
    assert not read(out / "black_depth.png").any()
    assert not read(out / "black_mask.png").any()


def test_a_run_says_the_same_twice(refined, tmp_path):
    assert run("refine", "--input_img", PICTURES / "1.jpg", "--out_dir", tmp_path, *ALL) == 0
    assert (tmp_path / "1_0.png").read_bytes() == (refined / "1_0.png").read_bytes()
