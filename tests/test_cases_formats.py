"""What is passed over in a folder is said; formats that need another package are read with it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_runs import names, read, refine_folder, run
from hand_scenes import BOTH, picture_with
from PIL import Image

from handrefiner_ext.cli.commands import DONE, FAILED
from handrefiner_ext.errors import PictureError, how_to_install
from handrefiner_ext.pictures import load_picture
from handrefiner_ext.pictures.decode import list_formats

pytestmark = pytest.mark.usefixtures("tiny_stages")
CASES = Path(os.environ.get("HANDREFINER_CASES", "nowhere"), "files")
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(64)
JXL = b"\xff\x0a" + bytes(64)
NO_HEIF = importlib.util.find_spec("pillow_heif") is None
NO_JXL = importlib.util.find_spec("pillow_jxl") is None
without_heif = pytest.mark.skipif(not NO_HEIF, reason="pillow-heif is installed")
with_heif = pytest.mark.skipif(NO_HEIF, reason=f"needs {how_to_install('heif')}")
with_jxl = pytest.mark.skipif(NO_JXL, reason=f"needs {how_to_install('jxl')}")


def fill(folder, *others):
    folder.mkdir()
    Image.fromarray(picture_with(BOTH)).save(folder / "a.png")
    for name in others:
        (folder / name).write_bytes(b"x")
    return folder


def test_dot_files_are_no_pictures_and_it_is_said(tmp_path, capsys):
    folder = fill(tmp_path / "in", "._a.png", "._b.jpg", ".DS_Store", "notes.txt")
    assert refine_folder(folder, tmp_path / "out") == DONE
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "Skipping 2 hidden files (._a.png, ._b.jpg)."
    assert said.err == ""
    assert names(tmp_path / "out") == ["a_0.png"]


@pytest.mark.skipif(not CASES.is_dir(), reason="needs the folder HANDREFINER_CASES")
def test_the_reported_dot_file_fails_nothing(tmp_path, capsys):
    folder = fill(tmp_path / "in")
    shutil.copy(CASES / "dot_1.jpg", folder / "._1.jpg")
    assert run("hints", folder, "--out_dir", tmp_path / "out") == DONE
    assert "Skipping 1 hidden file (._1.jpg)." in capsys.readouterr().out


@without_heif
def test_formats_that_are_not_read_and_folders_are_said_in_one_line(tmp_path, capsys):
    folder = fill(tmp_path / "in", "b.HEIC", "c.heic", "d.tga", "e.jp2", "f.ppm", "text.csv")
    fill(folder / "sub")
    assert refine_folder(folder, tmp_path / "out") == DONE
    assert capsys.readouterr().out.splitlines()[0] == (
        f"Skipping 2 .heic files (run {how_to_install('heif')} to read them), 1 .jp2 file (save "
        "them as PNG, JPEG or WebP), 1 .ppm file (save them as PNG, JPEG or WebP), 1 .tga file "
        "(save them as PNG, JPEG or WebP), 1 folder (sub)."
    )


@without_heif
@pytest.mark.parametrize("command", ["hints", "refine"])
def test_a_folder_of_heic_alone_fails_and_says_what_would_read_it(command, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.HEIC").write_bytes(HEIC)
    place = (tmp_path / "in",) if command == "hints" else ("--input_dir", tmp_path / "in")
    assert run(command, *place, "--out_dir", tmp_path / "out") == FAILED
    said = capsys.readouterr().err
    assert "holds no picture that can be read" in said
    assert how_to_install("heif") in said


def test_a_folder_without_pictures_is_no_failure(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    assert refine_folder(tmp_path / "in", tmp_path / "out") == DONE
    assert "There are no pictures to work on." in capsys.readouterr().out


def test_a_folder_that_cannot_be_read_costs_no_other(tmp_path, capsys):
    folder, other = fill(tmp_path / "in"), tmp_path / "other"
    other.mkdir()
    (other / "a.tga").write_bytes(b"x")
    assert run("hints", folder, other, "--out_dir", tmp_path / "out") == DONE
    assert f"{other} holds no picture that can be read" in capsys.readouterr().out
    assert "a_hands.json" in names(tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(HEIC, how_to_install("heif"), marks=without_heif),
        pytest.param(
            JXL,
            how_to_install("jxl"),
            marks=pytest.mark.skipif(not NO_JXL, reason="pillow-jxl-plugin is installed"),
        ),
    ],
)
def test_a_picture_that_another_package_reads_says_which(data, said, tmp_path):
    (tmp_path / "a.png").write_bytes(data)  # whatever its name
    with pytest.raises(
        PictureError, match=r"^a\.png is a (HEIC or AVIF|JPEG XL) picture; run"
    ) as e:
        load_picture(tmp_path / "a.png")
    assert said in str(e.value)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        pytest.param("HEIF", "heic", marks=with_heif),
        pytest.param("JXL", "jxl", marks=with_jxl),
        pytest.param(
            "AVIF",
            "avif",
            marks=pytest.mark.skipif("AVIF" not in list_formats(), reason="needs Pillow 11.3"),
        ),
    ],
)
def test_what_another_package_reads_is_worked_on_like_any_picture(kind, ending, tmp_path):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / f"a.{ending}"
    pixels = picture_with(BOTH)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    Image.fromarray(pixels).save(source, kind, quality=95, exif=exif.tobytes())
    assert refine_folder(tmp_path / "in", tmp_path / "out") == DONE
    assert names(tmp_path / "out") == ["a_0.png"]
    result, loaded = read(tmp_path / "out" / "a_0.png"), load_picture(source)
    assert result.shape == pixels.shape
    assert abs(loaded.image.astype(int) - pixels).mean() < 25  # a lossy file of noise
    assert any(chunk.kind == b"eXIf" for chunk in loaded.metadata)
    broken = source.read_bytes()[:200]
    source.write_bytes(broken)
    with pytest.raises(PictureError, match=rf"a\.{ending} "):
        load_picture(source)


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("kind", [pytest.param("HEIF", marks=with_heif)])
def test_a_heic_of_a_phone_stands_upright(kind, orientation, tmp_path):
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.heic", kind, exif=exif.tobytes())
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif.tobytes(), quality=95)
    heic, jpeg = (load_picture(tmp_path / name).image for name in ("a.heic", "a.jpg"))
    assert heic.shape == jpeg.shape
    assert abs(heic.astype(int) - jpeg).mean() < 8
