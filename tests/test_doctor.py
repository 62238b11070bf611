"""`handrefiner doctor` says what a report needs and nothing personal, and finds what fails."""

from __future__ import annotations

import getpass
import socket

import numpy as np
import pytest
from cli_runs import run
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handrefiner_ext.files.diagnosis import pick_lines, section_of_log, without_names, without_paths

PRIVATE = "SECRET"
LOG = f"""Loading weights from /home/{PRIVATE}/sd/model.safetensors
HandRefiner: C:\\Users\\{PRIVATE}\\out put\\1.png: 2 hands
Traceback (most recent call last):
  File "/home/{PRIVATE}/sd/extensions/other/x.py", line 3, in f
    raise ValueError
ValueError: of another extension
Traceback (most recent call last):
  File "/home/{PRIVATE}/sd/extensions/handrefiner/handrefiner_ext/x.py", line 7, in g
    raise KeyError
KeyError: 'ours'
done
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/home/joe/sd/x.ckpt is damaged", "…/x.ckpt is damaged"),
        (r"C:\Users\Joe Doe\sd\x.ckpt is damaged", "…/x.ckpt is damaged"),
        ("C:/Users/joe/x.ckpt", "…/x.ckpt"),
        (r"\\server\share\x.png", "…/x.png"),
        ('File "/home/joe/my files/a.py", line 3', 'File "…/a.py", line 3'),
        ("~/models/x.ckpt and ../up/y.ckpt", "…/x.ckpt and …/y.ckpt"),
        ("http://joe:pw@10.0.0.7:7860/sdapi?k=v failed", "http://… failed"),
        ("a ratio of 1/2, and/or 3 / 4", "a ratio of 1/2, and/or 3 / 4"),
        ("models_dir=/data/joe/models", "models_dir=…/models"),
    ],
)
def test_of_a_path_only_its_last_part_is_left(text, said):
    assert without_paths(text) == said


def test_names_of_the_user_and_the_machine_are_replaced(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "joe.doe")
    monkeypatch.setattr(socket, "gethostname", lambda: "JOES-PC")
    assert (
        without_names("Joe.Doe at joes-pc, not joe.doerr") == "<user> at <machine>, not joe.doerr"
    )


def test_only_lines_and_tracebacks_about_handrefiner_are_taken_from_a_log():
    _, (_, *lines, _) = section_of_log(pick_lines(LOG))
    assert lines[0] == "HandRefiner: …/1.png: 2 hands"
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "KeyError: 'ours'"
    assert len(lines) == 5
    assert PRIVATE not in "".join(lines)


@pytest.fixture
def picture(tmp_path):
    """A picture with the parameters that the WebUI writes, the prompt among them."""
    place = tmp_path / "made.png"
    info = PngInfo()
    info.add_text(
        "parameters",
        f"{PRIVATE}\nSteps: 20, Size: 64x64, HandRefiner: 0.1.0, HandRefiner strength: 0.7, "
        f'HandRefiner prompt: "{PRIVATE}, a hand", HandRefiner mask: silhouette, Version: 1.10',
    )
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(place, pnginfo=info)
    return place


def test_the_report_has_versions_backends_parameters_and_nothing_personal(
    picture, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    log = tmp_path / "log.txt"
    log.write_text(LOG)
    words = ("--input_img", picture, "--log", log, "--models_dir", tmp_path)
    assert run("doctor", *words) == 0
    said = capsys.readouterr().out
    for expected in (
        *("handrefiner 0.", "numpy ", "- detector litert: ", "- backend draft: can be used"),
        *("- HandRefiner strength: 0.7", "- HandRefiner mask: silhouette", "KeyError: 'ours'"),
        "control_sd15_inpaint_depth_hand_fp16.safetensors: not here",
    ):
        assert expected in said
    assert PRIVATE not in said
    assert str(tmp_path) not in said
    assert "prompt" not in said


def test_the_check_repaints_a_hand_and_keeps_the_pictures(tmp_path, capsys):
    assert run("doctor", "--try", "--backend", "draft", "--out_dir", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "1 found where there is 1" in said
    assert "All steps did what they should" in said
    before, after = (
        np.asarray(Image.open(tmp_path / "out" / f"doctor_{name}.png"))
        for name in ("before", "after")
    )
    assert (before != after).any()


def test_a_check_that_cannot_run_says_why_and_fails(tmp_path, capsys):
    words = ("--try", "--backend", "diffusers", "--checkpoint", tmp_path / "gone.ckpt")
    assert run("doctor", *words) == 1
    said = capsys.readouterr().out
    assert "- FAILED: " in said
    assert str(tmp_path) not in said


def test_a_check_replaces_no_file_of_the_users(tmp_path, capsys):
    mine = tmp_path / "doctor_after.png"
    mine.write_bytes(b"mine")
    assert run("doctor", "--try", "--backend", "draft", "--out_dir", tmp_path) == 1
    assert "holds doctor_after.png already" in capsys.readouterr().err
    assert mine.read_bytes() == b"mine"
