"""Files of the user's own stay as they are, and a resumed run keeps nothing stale.

What happened to people is played through with small pictures made here; the reported inputs
themselves are read from the folder HANDREFINER_CASES where it is there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cli_runs import names, read, refine_folder, run
from hand_scenes import BOTH, picture_with
from PIL import Image

from handrefiner_ext.cli.commands import DONE
from handrefiner_ext.files.marks import read_mark

pytestmark = pytest.mark.usefixtures("tiny_stages")
CASES = Path(os.environ.get("HANDREFINER_CASES", "nowhere"), "files")
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="needs the folder HANDREFINER_CASES")


def put(path, hands=BOTH, height=60):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture_with(hands, height)).save(path)
    return path


def put_own(path):
    """A picture of the user's own, in no relation to any other; its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (10, 200, 30)).save(path)
    return path.read_bytes()


# --- nothing of the user's is replaced


def test_a_picture_of_the_users_in_the_output_folder_is_kept_and_it_is_said(tmp_path, capsys):
    source, out = put(tmp_path / "pic.png"), tmp_path / "out"
    own = put_own(out / "pic_0.png")
    for _ in range(2):
        assert run("refine", "--input_img", source, "--out_dir", out) == DONE
        assert (out / "pic_0.png").read_bytes() == own
        assert names(out) == ["pic_0.png", "pic_png_0.png"]
        said = capsys.readouterr().out
        assert said.count("pic_0.png was not made from this picture and is kept") == 1


@pytest.mark.parametrize("ending", ["_depth.png", "_mask.png", "_overlay.png", "_hands.json"])
def test_hints_replaces_no_file_of_the_users(ending, tmp_path, capsys):
    source, out = put(tmp_path / "pic.png"), tmp_path / "out"
    own = put_own(out / f"pic{ending}.png")
    (out / f"pic{ending}.png").rename(out / f"pic{ending}")
    assert run("hints", source, "--out_dir", out) == DONE
    assert (out / f"pic{ending}").read_bytes() == own
    assert "is kept" in capsys.readouterr().out
    made = {f"pic_png{e}" for e in ("_depth.png", "_mask.png", "_overlay.png", "_hands.json")}
    assert set(names(out)) == made | {f"pic{ending}"}


def test_meshes_and_json_carry_the_mark_and_replace_only_their_own(tmp_path):
    source, out, mesh = put(tmp_path / "pic.png"), tmp_path / "out", tmp_path / "mesh"
    for _ in range(2):
        assert run("hints", source, "--out_dir", out, "--mesh_dir", mesh) == DONE
        assert names(mesh) == ["pic_hand1.glb", "pic_hand2.glb"]
    marks = {read_mark(path.read_bytes()) for path in (*out.iterdir(), *mesh.iterdir())}
    assert len(marks) == 1
    (mesh / "pic_hand2.glb").write_bytes(b"a mesh of the user's own")
    assert run("hints", source, "--out_dir", out, "--mesh_dir", mesh) == DONE
    assert (mesh / "pic_hand2.glb").read_bytes() == b"a mesh of the user's own"
    assert "pic_png_hand2.glb" in names(mesh)


def test_two_folders_with_equal_names_keep_their_results_in_one_output_folder(tmp_path, capsys):
    put(tmp_path / "A" / "00001.png")
    put(tmp_path / "B" / "00001.png", ("left half",))
    both = tmp_path / "both"
    assert refine_folder(tmp_path / "A", both) == DONE
    first = (both / "00001_0.png").read_bytes()
    for _ in range(2):
        assert refine_folder(tmp_path / "B", both) == DONE
        assert names(both) == ["00001_0.png", "00001_png_0.png"]
        assert (both / "00001_0.png").read_bytes() == first
    assert "00001_0.png was not made from this picture and is kept" in capsys.readouterr().out
    assert refine_folder(tmp_path / "A", both) == DONE
    assert names(both) == ["00001_0.png", "00001_png_0.png"]


def test_a_folder_that_was_moved_and_a_picture_that_was_edited_take_their_old_names(tmp_path):
    put(tmp_path / "A" / "a.png")
    out = tmp_path / "out"
    assert refine_folder(tmp_path / "A", out) == DONE
    (tmp_path / "A").rename(tmp_path / "moved")
    assert refine_folder(tmp_path / "moved", out) == DONE  # another place, the same content
    put(tmp_path / "moved" / "a.png", (), 40)
    assert refine_folder(tmp_path / "moved", out) == DONE  # the same place, other content
    assert names(out) == ["a_0.png"]
    assert read(out / "a_0.png").shape[0] == 40


def test_the_drawn_mask_of_the_command_is_never_replaced(tmp_path, capsys):
    source, folder = put(tmp_path / "1.png"), tmp_path / "c"
    folder.mkdir()
    Image.new("L", (120, 60), 255).save(folder / "1_mask.png")
    own = (folder / "1_mask.png").read_bytes()
    command = ("refine", "--input_img", source, "--out_dir", folder, "--mask_dir", folder)
    drawn = ("--mask", "drawn", "--drawn_mask", folder / "1_mask.png")
    assert run(*command, *drawn) == DONE
    assert (folder / "1_mask.png").read_bytes() == own
    assert "1_mask.png was not made from this picture and is kept" in capsys.readouterr().out
    # Also where it is a mask that an earlier run of the same picture wrote.
    shutil.copy(folder / "1_png_mask.png", folder / "1_mask.png")
    own = (folder / "1_mask.png").read_bytes()
    assert run(*command, *drawn) == DONE
    assert (folder / "1_mask.png").read_bytes() == own


def test_candidates_replace_nothing_of_the_users(tmp_path):
    source, out, tried = put(tmp_path / "a.png"), tmp_path / "out", tmp_path / "tried"
    own = put_own(tried / "a_0_candidate2.png")
    more = ("--candidates", 2, "--candidates_dir", tried)
    assert run("refine", "--input_img", source, "--out_dir", out, *more) == DONE
    assert (tried / "a_0_candidate2.png").read_bytes() == own


@needs_cases
def test_the_reported_files_stay(tmp_path, request):
    script = (CASES / "overwrites.sh").read_text()
    assert "own.png" in script
    own = (CASES / "own.png").read_bytes()
    images = CASES.parents[1] / "images"
    for folder in ("out", "c", "d"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out" / "pic_0.png").write_bytes(own)
    (tmp_path / "d" / "1_mask.png").write_bytes(own)
    for name in ("pic.jpg", "1.jpg"):
        shutil.copy(images / "1.jpg", tmp_path / name)
    out = ("--out_dir", tmp_path / "out")
    assert run("refine", "--input_img", tmp_path / "pic.jpg", *out) == DONE
    assert run("hints", tmp_path / "1.jpg", "--out_dir", tmp_path / "d") == DONE
    assert (tmp_path / "out" / "pic_0.png").read_bytes() == own
    assert (tmp_path / "d" / "1_mask.png").read_bytes() == own


# --- a resumed run


def test_resume_does_a_picture_again_that_was_replaced_by_another(tmp_path, capsys):
    put(tmp_path / "in" / "x.png")
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    assert refine_folder(tmp_path / "in", out) == DONE
    assert refine_folder(tmp_path / "in", out, "--resume") == DONE
    assert capsys.readouterr().out.count("finished by an earlier run") == 1
    put(tmp_path / "in" / "x.png", ("left half",))
    assert refine_folder(tmp_path / "in", out, "--resume") == DONE
    assert "finished by an earlier run" not in capsys.readouterr().out
    assert refine_folder(tmp_path / "in", fresh) == DONE
    assert (out / "x_0.png").read_bytes() == (fresh / "x_0.png").read_bytes()


def test_resume_does_a_picture_again_whose_drawn_mask_has_changed(tmp_path):
    put(tmp_path / "in" / "x.png")
    mask = np.zeros((60, 120), dtype=np.uint8)
    mask[:, :60] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    more = ("--mask", "drawn", "--drawn_mask", tmp_path / "mask.png", "--resume")
    assert refine_folder(tmp_path / "in", tmp_path / "out", *more) == DONE
    before = read(tmp_path / "out" / "x_0.png")
    Image.fromarray(mask[:, ::-1]).save(tmp_path / "mask.png")
    assert refine_folder(tmp_path / "in", tmp_path / "out", *more) == DONE
    assert not np.array_equal(read(tmp_path / "out" / "x_0.png"), before)


def test_resume_does_an_unchanged_copy_again_where_other_parameters_are_asked_for(tmp_path, capsys):
    put(tmp_path / "in" / "x.png", ())
    assert refine_folder(tmp_path / "in", tmp_path / "out") == DONE
    assert refine_folder(tmp_path / "in", tmp_path / "out", "--resume", "--tiles", "on") == DONE
    assert "finished by an earlier run" not in capsys.readouterr().out


# --- names that are not UTF-8


def copy_with_bad_names(folder):
    """Two pictures whose names old archives wrote in another encoding."""
    folder.mkdir()
    source = put(folder / "plain.png")
    bad = os.fsencode(folder)
    try:
        for name in (b"\x8e\xe8.png", b"m\x8e\xe8.png"):
            shutil.copy(source, os.path.join(bad, name))
    except OSError:
        pytest.skip("this file system takes no names that are not UTF-8")


def test_names_that_are_not_utf_8_are_done_and_logged(tmp_path, capsys):
    copy_with_bad_names(tmp_path / "in")
    log, out = tmp_path / "log.jsonl", tmp_path / "out"
    assert refine_folder(tmp_path / "in", out, "--log_json", log) == DONE
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [Path(line["img"]).name for line in lines] == ["m��.png", "plain.png", "��.png"]
    assert len(names(out)) == 3
    assert refine_folder(tmp_path / "in", out, "--log_json", log, "--resume") == DONE
    assert run("hints", tmp_path / "in", "--out_dir", tmp_path / "hints") == DONE


def test_a_name_that_is_not_ascii_is_logged_in_a_locale_without_utf_8(tmp_path):
    put(tmp_path / "in" / "手.png", ())
    command = ["refine", "--input_dir", "in", "--out_dir", "out", "--log_json", "log.jsonl"]
    c_locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "handrefiner_ext", *command],
        cwd=tmp_path,
        env=os.environ | c_locale,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "log.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["img"] == os.path.join("in", "手.png")
    assert names(tmp_path / "out") == ["手_0.png"]


@needs_cases
def test_the_reported_archive_is_done_and_logged(tmp_path):
    with tarfile.open(CASES / "bad_name.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    log = tmp_path / "log.jsonl"
    assert refine_folder(tmp_path / "in", tmp_path / "out", "--log_json", log) == DONE
    assert len(log.read_text("utf-8").splitlines()) == len(names(tmp_path / "out")) == 4
