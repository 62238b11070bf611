"""What is the user's own is neither replaced nor lost, whatever a command names it for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cli_runs import run
from hand_scenes import BOTH, picture_with
from PIL import Image

from handrefiner_ext import pipeline
from handrefiner_ext.cli.commands import DONE, FAILED
from handrefiner_ext.detect.flow import MOST_BOXES, parse_boxes
from handrefiner_ext.errors import InvalidParameter

pytestmark = pytest.mark.usefixtures("tiny_stages")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(picture_with(BOTH, 100, 200)).save(folder / name)
    return folder


@pytest.fixture
def during_the_search(monkeypatch):
    """Registers what happens while the hands of a picture are searched for."""
    happening = []
    original = pipeline.hints

    def hints(*args, **options):
        for happens in happening:
            happens()
        return original(*args, **options)

    monkeypatch.setattr(pipeline, "hints", hints)
    return happening.append


@pytest.mark.parametrize("is_link", [False, True])
def test_a_picture_is_no_backup_of_itself(folder, tmp_path, is_link):
    before = (folder / "a.png").read_bytes()
    backup = tmp_path / "backup" if is_link else folder
    if is_link:
        backup.mkdir()
        (backup / "a.png").symlink_to(folder / "a.png")
    command = ("refine", "--input_img", folder / "a.png", "--in_place", "--backup_dir", backup)
    assert run(*command, "--keep_best", "false") == DONE
    assert (folder / "a.png").read_bytes() != before
    assert (backup / "a_2.png").read_bytes() == before


@pytest.mark.parametrize("option", ["--report", "--log_json"])
@pytest.mark.parametrize("own", ["in/a.png", "own.txt", "prompts.jsonl"])
def test_a_log_or_page_replaces_no_file_of_the_users(folder, tmp_path, capsys, option, own):
    (tmp_path / "own.txt").write_text("mine")
    (tmp_path / "prompts.jsonl").write_text('{"img": "a.png", "txt": "a hand"}\n')
    before = (tmp_path / own).read_bytes()
    code = run("refine", "--input_dir", folder, "--out_dir", tmp_path / "o", option, tmp_path / own)
    assert code == FAILED
    assert (tmp_path / own).read_bytes() == before
    assert "was not written by HandRefiner, so it is kept" in capsys.readouterr().err


def test_a_log_and_a_page_of_ours_are_replaced(folder, tmp_path):
    command = ["refine", "--input_dir", folder, "--out_dir", tmp_path / "o"]
    command += ["--report", tmp_path / "r.html", "--log_json", tmp_path / "log.jsonl"]
    for _ in range(2):
        assert run(*command) == DONE
    assert len((tmp_path / "log.jsonl").read_text("utf-8").splitlines()) == 2


@pytest.mark.parametrize("name", ["b_0.png", "b_depth.png", "b_pose.json"])
def test_a_file_that_appears_during_the_run_is_kept(
    folder, tmp_path, capsys, during_the_search, name
):
    out = tmp_path / "out"
    during_the_search(lambda: (out / name).write_bytes(b"mine"))
    command = ["refine", "--input_dir", folder, "--out_dir", out, "--depth_dir", out]
    assert run(*command, "--pose_dir", out) == FAILED
    assert (out / name).read_bytes() == b"mine"
    assert "has appeared during the run" in capsys.readouterr().err
    assert (out / "a_0.png").exists()


def test_a_picture_that_is_saved_during_the_run_stays_as_it_was_saved(
    folder, tmp_path, capsys, during_the_search
):
    during_the_search(lambda: (folder / "a.png").write_bytes(b"saved anew"))
    command = ["refine", "--input_dir", folder, "--in_place", "--backup_dir", tmp_path / "backup"]
    assert run(*command, "--keep_best", "false") == FAILED
    assert (folder / "a.png").read_bytes() == b"saved anew"
    assert "was changed while it was worked on" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_what_was_private_stays_private(folder, tmp_path):
    (folder / "a.png").chmod(0o600)
    command = ("refine", "--input_img", folder / "a.png", "--in_place")
    assert run(*command, "--backup_dir", tmp_path / "backup", "--keep_best", "false") == DONE
    for path in (folder / "a.png", tmp_path / "backup" / "a.png"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_page_is_written_in_a_locale_without_utf_8(folder, tmp_path):
    command = [sys.executable, "-m", "handrefiner_ext", "refine", "--input_dir", str(folder)]
    command += ["--out_dir", str(tmp_path / "o"), "--report", str(tmp_path / "r.html")]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, capture_output=True, env={**os.environ, **plain})
    assert done.returncode == 0, done.stderr
    assert "→" in (tmp_path / "r.html").read_text("utf-8")


def test_boxes_are_bounded():
    assert len(parse_boxes("0,0,9,9;" * MOST_BOXES)) == MOST_BOXES
    with pytest.raises(InvalidParameter, match="no more than 64"):
        parse_boxes("0,0,9,9;" * (MOST_BOXES + 1))
