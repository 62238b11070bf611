"""The command line: exit codes and sentences where something goes wrong."""

from __future__ import annotations

import os

import cv2
import pytest
from cli_runs import names, refine_folder, run
from hand_scenes import BrightDetector

from handrefiner_ext.cli.commands import DONE, FAILED, STOPPED, WRONG_USAGE, main

pytestmark = pytest.mark.usefixtures("tiny_stages")


def test_a_broken_picture_costs_no_other(pictures, tmp_path, capsys):
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (pictures / "empty.webp").write_bytes(b"")
    (pictures / "cut.jpg").write_bytes((pictures / "one.jpg").read_bytes()[:300])
    assert refine_folder(pictures, tmp_path / "out") == FAILED
    assert names(tmp_path / "out") == ["both_0.png", "none_0.png", "one_0.png"]
    errors = [line for line in capsys.readouterr().err.splitlines() if "handrefiner:" in line]
    assert len(errors) == 3
    assert any("empty.webp is empty." in line for line in errors)


def test_a_missing_picture_costs_no_other(pictures, tmp_path, capsys):
    arguments = (pictures / "both.png", pictures / "gone.png", pictures / "x*.png")
    assert run("hints", *arguments, "--out_dir", tmp_path / "out") == FAILED
    assert len(names(tmp_path / "out")) == 4
    error = capsys.readouterr().err
    assert "gone.png does not exist." in error
    assert "x*.png does not exist." in error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "needs more memory than there is"),
        (cv2.error("bad argument"), "could not be worked on: OpenCV says 'bad argument'"),
    ],
)
def test_a_picture_too_large_or_too_odd_costs_no_other(
    pictures, tmp_path, capsys, tiny_stages, error, sentence
):
    class Hungry(BrightDetector):
        def detect(self, image, params):
            if image.mean() < 127:
                raise error
            return super().detect(image, params)

    tiny_stages["detector"] = Hungry()
    assert refine_folder(pictures, tmp_path / "out") == FAILED
    assert "both_0.png" in names(tmp_path / "out")
    assert f"none.png {sentence}" in capsys.readouterr().err


def test_what_was_finished_before_a_stop_stays(pictures, tmp_path, capsys, tiny_stages):
    class Stopped(BrightDetector):
        def detect(self, image, params):
            if image.mean() < 127:
                raise KeyboardInterrupt
            return super().detect(image, params)

    tiny_stages["detector"] = Stopped()
    assert refine_folder(pictures, tmp_path / "out") == STOPPED
    assert names(tmp_path / "out") == ["both_0.png"]
    assert "Stopped." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["refine", "--input_img", "{t}/gone.png", "--out_dir", "{t}/o"],
            "gone.png does not exist.",
        ),
        (["refine", "--input_dir", "{t}/gone", "--out_dir", "{t}/o"], "gone does not exist."),
        (["refine", "--input_img", "{t}/in", "--out_dir", "{t}/o"], "is a folder, not a picture."),
        (
            ["refine", "--input_dir", "{t}/f", "--out_dir", "{t}/o"],
            "is not a folder; use --input_img",
        ),
        (["refine", "--input_dir", "{t}/in", "--out_dir", "{t}/f"], "cannot be written to"),
        (["refine", "--input_dir", "{t}/in", "--out_dir", "{t}/f/o"], "cannot be written to"),
        (["hints", "{t}/in", "--out_dir", "{t}/o", "--mesh_dir", "{t}/f"], "cannot be written to"),
        (
            ["hints", "{t}/in", "--out_dir", "{t}/o", "--mask", "drawn", "--drawn_mask", "{t}/x"],
            "x does not exist.",
        ),
    ],
)
def test_a_path_that_does_not_serve_is_exit_code_1_and_a_sentence(
    pictures, tmp_path, capsys, arguments, sentence
):
    (tmp_path / "f").write_text("a file")
    assert main([a.format(t=tmp_path) for a in arguments]) == FAILED
    error = capsys.readouterr().err
    assert sentence in error
    assert error.endswith(".\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "COMMAND"),
        (["paint"], "invalid choice"),
        (["refine", "--out_dir", "o"], "one of them is required"),
        (["refine", "--input_img", "a", "--input_dir", "b", "--out_dir", "o"], "both were given"),
        (["refine", "--input_img", "a.png"], "--out_dir"),
        (["hints", "--out_dir", "o"], "IMAGE"),
        (["refine", "--input_img", "a", "--out_dir", "o", "--nonsense", "1"], "--nonsense"),
        (["refine", "--input_img", "a", "--out_dir", "o", "--strength", "2"], "from 0 to 1."),
        (["refine", "--input_img", "a", "--out_dir", "o", "--seed", "-2"], "seed = '-2'"),
        (
            ["refine", "--input_img", "a", "--out_dir", "o", "--keep_best", "maybe"],
            "true or false.",
        ),
        (
            ["refine", "--input_img", "a", "--out_dir", "o", "--backend", "magic"],
            "one of draft, diffusers.",
        ),
        (["refine", "--input_img", "a", "--out_dir", "o", "--boxes", "1,2,3"], "boxes = '1,2,3'"),
        (["hints", "a", "--out_dir", "o", "--occlusion_order", "1,1"], "occlusion_order = '1,1'"),
        (["hints", "a", "--out_dir", "o", "--mask", "drawn"], "needs --drawn_mask"),
        (["hints", "a", "--out_dir", "o", "--drawn_mask", "m.png"], "add one of them."),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_sentence(
    tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == WRONG_USAGE
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert error.startswith("handrefiner")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--keep_best"], ["--keep_best", "TRUE"], ["--keep_best", "1"]])
def test_a_switch_is_given_bare_or_with_a_word(pictures, tmp_path, capsys, tiny_stages, words):
    tiny_stages["detector"] = BrightDetector(blind_again=True)
    arguments = ("--input_img", pictures / "both.png", "--out_dir", tmp_path / "out", *words)
    assert run("refine", *arguments) == DONE
    assert "The original was kept: no such hand is seen" in capsys.readouterr().out


def test_an_order_that_one_picture_cannot_have_costs_no_other(pictures, tmp_path, capsys):
    assert refine_folder(pictures, tmp_path / "out", "--occlusion_order", "2,1") == FAILED
    assert names(tmp_path / "out") == ["both_0.png", "none_0.png"]
    assert "names hand 2" in capsys.readouterr().err


def test_a_folder_that_may_not_be_read_is_a_sentence(pictures, tmp_path, capsys, monkeypatch):
    def forbid(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", forbid)
    assert refine_folder(pictures, tmp_path / "out") == FAILED
    assert (
        capsys.readouterr().err == f"handrefiner: {pictures} cannot be used: Permission denied.\n"
    )


def test_a_name_too_long_for_any_file_is_a_sentence(tmp_path, capsys):
    arguments = ("--input_img", tmp_path / ("x" * 5000), "--out_dir", tmp_path / "out")
    assert run("refine", *arguments) == FAILED
    assert capsys.readouterr().err.count("\n") == 1


def test_links_in_a_ring_are_passed_over_or_do_not_exist(pictures, tmp_path, capsys):
    try:
        (pictures / "ring.png").symlink_to(pictures / "ring.png")
    except OSError:
        pytest.skip("no links can be made here")
    assert refine_folder(pictures, tmp_path / "out") == DONE
    assert run("hints", pictures / "ring.png", "--out_dir", tmp_path / "out") == FAILED
    assert "ring.png" in capsys.readouterr().err
