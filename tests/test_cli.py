"""The command line: files, and what is said about them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_runs import names, read, refine_folder, run, unmarked
from hand_scenes import BrightDetector, PlateReconstructor, make_stages
from PIL import Image

from handrefiner_ext import __version__, pipeline
from handrefiner_ext.cli.commands import DONE, FAILED, main
from handrefiner_ext.knobs import CLI
from handrefiner_ext.params import RefineParams, fields_of
from handrefiner_ext.pictures import encode_png
from handrefiner_ext.types import HandMesh

pytestmark = pytest.mark.usefixtures("tiny_stages")


# --- hints


def test_hints_write_four_files_for_each_picture(pictures, tmp_path):
    out = tmp_path / "out"
    sources = [pictures / name for name in ("both.png", "one.jpg", "none.png")]
    assert run("hints", *sources, "--out_dir", out) == DONE
    endings = ("depth.png", "hands.json", "mask.png", "overlay.png")
    assert names(out) == sorted(f"{s.stem}_{ending}" for s in sources for ending in endings)
    for source in sources:
        height, width = read(source).shape[:2]
        assert read(out / f"{source.stem}_depth.png").shape == (height, width)
        assert read(out / f"{source.stem}_mask.png").shape == (height, width)
        assert set(np.unique(read(out / f"{source.stem}_mask.png"))) <= {0, 255}
        assert read(out / f"{source.stem}_overlay.png").shape == (height, width, 3)


def test_the_json_says_what_the_pipeline_found(pictures, tmp_path, tiny_stages):
    tiny_stages["reconstructor"] = PlateReconstructor(refuses="left")
    source = pictures / "both.png"
    image = read(source)
    image[0, 0] = 255
    Image.fromarray(image).save(source)
    assert run("hints", source, "--out_dir", tmp_path, "--padding_bbox", 3) == DONE
    said = json.loads((tmp_path / "both_hands.json").read_text("utf-8"))
    assert (said["image"], said["width"], said["height"]) == ("both.png", 120, 60)
    assert set(said) == {"image", "width", "height", "hands", "skipped", "handrefiner"}
    found = BrightDetector().detect(image, None).hands
    (hand,) = said["hands"]
    keys = ("number", "handedness", "assumed", "score", "box", "landmarks", "joints_2d")
    assert tuple(hand) == (*keys, "reprojection_error", "mesh", "gesture")
    assert (hand["number"], hand["assumed"]) == (1, False)
    assert (hand["handedness"], hand["score"], hand["mesh"]) == ("right", 0.8, "plate")
    assert hand["box"] == list(found[0].box)
    np.testing.assert_allclose(hand["landmarks"], found[0].landmarks, atol=1e-3)
    np.testing.assert_allclose(hand["joints_2d"], found[0].landmarks, atol=1e-3)
    assert [set(s) for s in said["skipped"]] == [{"number", "box", "reason"}] * 2
    assert [s["number"] for s in said["skipped"]] == [None, 2]
    assert [s["reason"] for s in said["skipped"]] == [
        "Too bright in its corner, 255 of 255.",
        "No plausible hand fits.",
    ]


def test_the_json_has_every_hand_from_left_to_right(pictures, tmp_path):
    assert run("hints", pictures / "both.png", "--out_dir", tmp_path) == DONE
    said = json.loads((tmp_path / "both_hands.json").read_text("utf-8"))
    assert [hand["handedness"] for hand in said["hands"]] == ["right", "left"]
    assert said["skipped"] == []


def test_meshes_are_written_upright_and_in_metres(pictures, tmp_path):
    import trimesh

    out, meshes = tmp_path / "out", tmp_path / "meshes"
    assert run("hints", pictures / "both.png", "--out_dir", out, "--mesh_dir", meshes) == DONE
    assert names(meshes) == ["both_hand1.glb", "both_hand2.glb"]
    hints = pipeline.hints(read(pictures / "both.png"), RefineParams(), make_stages())
    for number, mesh in enumerate(hints.meshes, start=1):
        assert isinstance(mesh, HandMesh)
        loaded = trimesh.load(meshes / f"both_hand{number}.glb", force="mesh")
        np.testing.assert_allclose(loaded.vertices, mesh.vertices * (1, -1, -1), atol=1e-6)
        original = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert loaded.volume == pytest.approx(original.volume, rel=1e-4)


def test_hints_take_folders_and_wildcards(pictures, tmp_path):
    assert run("hints", pictures, "--out_dir", tmp_path / "a") == DONE
    assert run("hints", pictures / "*.png", pictures, "--out_dir", tmp_path / "b") == DONE
    assert len(names(tmp_path / "a")) == 12
    assert names(tmp_path / "a") == names(tmp_path / "b")


# --- refine


def test_refine_writes_one_picture_for_each_and_passes_other_files_over(pictures, tmp_path):
    assert refine_folder(pictures, tmp_path / "out") == DONE
    assert names(tmp_path / "out") == ["both_0.png", "none_0.png", "one_0.png"]


def test_only_masked_pixels_change(pictures, tmp_path):
    out, depth, mask = (tmp_path / name for name in ("out", "depth", "mask"))
    more = ("--depth_dir", depth, "--mask_dir", mask, "--padding_bbox", 2)
    assert refine_folder(pictures, out, *more) == DONE
    for stem, ending in (("both", "png"), ("one", "jpg"), ("none", "png")):
        source, result = read(pictures / f"{stem}.{ending}"), read(out / f"{stem}_0.png")
        may_change = read(mask / f"{stem}_mask.png") == 255
        np.testing.assert_array_equal((source != result).any(axis=2) & ~may_change, False)
        assert may_change[read(depth / f"{stem}_depth.png") > 0].all()
        assert (result[may_change] == (0, 255, 0)).all()
        assert may_change.any() == (stem != "none")


def test_a_picture_without_hands_is_copied_byte_for_byte_but_for_our_mark(pictures, tmp_path):
    assert run("refine", "--input_img", pictures / "none.png", "--out_dir", tmp_path) == DONE
    assert unmarked(tmp_path / "none_0.png") == (pictures / "none.png").read_bytes()


def test_depth_and_mask_are_written_for_a_picture_without_hands_too(pictures, tmp_path):
    more = ("--depth_dir", tmp_path, "--mask_dir", tmp_path)
    assert run("refine", "--input_img", pictures / "none.png", "--out_dir", tmp_path, *more) == DONE
    assert not read(tmp_path / "none_depth.png").any()
    assert not read(tmp_path / "none_mask.png").any()


def test_the_input_folder_may_be_the_output_folder(pictures):
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    more = ("--depth_dir", pictures, "--mask_dir", pictures)
    for _ in range(3):
        assert refine_folder(pictures, pictures, *more) == DONE
        endings = ("0", "depth", "mask")
        outputs = [f"{stem}_{ending}.png" for stem in ("both", "one", "none") for ending in endings]
        assert names(pictures) == sorted([*before, *outputs])
    assert before.items() <= {path.name: path.read_bytes() for path in pictures.iterdir()}.items()


def test_an_unchanged_copy_beside_its_source_differs_by_its_mark_alone(pictures):
    assert run("refine", "--input_img", pictures / "none.png", "--out_dir", pictures) == DONE
    copy = (pictures / "none_0.png").read_bytes()
    source = (pictures / "none.png").read_bytes()
    added = len(copy) - len(source)
    assert copy[:33] + copy[33 + added :] == source


def test_pictures_of_one_name_do_not_overwrite_each_other(pictures, tmp_path):
    shutil.copy(pictures / "one.jpg", pictures / "both.jpg")
    assert refine_folder(pictures, tmp_path) == DONE
    assert {"both_0.png", "both_png_0.png"} <= set(names(tmp_path))
    np.testing.assert_array_equal(
        read(tmp_path / "both_0.png").shape, read(pictures / "both.jpg").shape
    )
    green = [(read(tmp_path / f"both{s}_0.png") == (0, 255, 0)).all(axis=2) for s in ("", "_png")]
    assert green[0].sum() < green[1].sum()


def test_a_refined_picture_can_be_refined_again_and_again(pictures, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert refine_folder(pictures, one) == DONE
    for _ in range(2):
        assert refine_folder(one, two) == DONE
        assert names(two) == ["both_0_0.png", "none_0_0.png", "one_0_0.png"]


def test_a_copy_of_a_copy_is_replaced_by_the_next_run(pictures, tmp_path):
    assert run("refine", "--input_img", pictures / "none.png", "--out_dir", pictures) == DONE
    for _ in range(2):
        arguments = ("--input_img", pictures / "none_0.png", "--out_dir", tmp_path / "out")
        assert run("refine", *arguments) == DONE
        assert names(tmp_path / "out") == ["none_0_0.png"]


@pytest.mark.parametrize("folder", [False, True])
def test_the_mask_drawn_by_hand_decides(pictures, tmp_path, folder):
    drawn = np.zeros((60, 120), dtype=np.uint8)
    drawn[20:40, 20:40] = 255
    masks = tmp_path / "masks"
    masks.mkdir()
    for stem in ("both", "one", "none_mask"):
        (masks / f"{stem}.png").write_bytes(encode_png(drawn))
    where = masks if folder else masks / "both.png"
    more = ("--mask", "drawn", "--drawn_mask", where, "--mask_dir", tmp_path / "out")
    assert refine_folder(pictures, tmp_path / "out", *more) == DONE
    assert read(tmp_path / "out" / "one_mask.png")[drawn > 0].all()


def test_a_picture_without_a_drawn_mask_fails_alone(pictures, tmp_path, capsys):
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "both.png").write_bytes(encode_png(np.full((60, 120), 255, dtype=np.uint8)))
    more = ("--mask", "union", "--drawn_mask", masks)
    assert refine_folder(pictures, tmp_path / "out", *more) == FAILED
    assert names(tmp_path / "out") == ["both_0.png"]
    assert (
        "holds no mask for none.png; name it none.png or none_mask.png." in capsys.readouterr().err
    )


# --- what is said


def test_each_picture_has_a_line_and_all_have_a_last_one(pictures, tmp_path, capsys, tiny_stages):
    tiny_stages["reconstructor"] = PlateReconstructor(refuses="left")
    assert refine_folder(pictures, tmp_path / "out") == DONE
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert (
        f"{pictures / 'both.png'}: 1 hand, 1 repainted -> {tmp_path / 'out' / 'both_0.png'}"
        in lines
    )
    assert f"{pictures / 'none.png'}: no hands -> {tmp_path / 'out' / 'none_0.png'}" in lines
    assert any("left alone:" in line and "No plausible hand fits." in line for line in lines)
    assert any("hand 1 (right) repainted" in line for line in lines)
    assert lines[-1] == "3 pictures, 2 hands found, 2 repainted, 0 pictures failed."
    assert "3/3" in captured.err


def test_a_single_picture_has_no_bar(pictures, tmp_path, capsys):
    assert run("refine", "--input_img", pictures / "one.jpg", "--out_dir", tmp_path / "out") == DONE
    assert capsys.readouterr().err == ""


def test_an_empty_folder_is_done_at_once(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert refine_folder(tmp_path / "in", tmp_path / "out") == DONE
    assert "There are no pictures to work on." in capsys.readouterr().out


def test_help_and_version_answer_at_once(capsys):
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "handrefiner_ext", "refine", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.perf_counter() - start < 2.0
    assert all(f"--{f.name} " in done.stdout for f in fields_of(CLI))
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"handrefiner {__version__}\n"


def test_the_version_is_that_of_the_distribution():
    project = Path(__file__).parents[1] / "pyproject.toml"
    assert f'\nversion = "{__version__}"\n' in project.read_text("utf-8")


def test_hints_pass_over_what_they_wrote_into_the_same_folder(pictures):
    for _ in range(2):
        assert run("hints", pictures, "--out_dir", pictures) == DONE
        assert len(names(pictures)) == 5 + 12
