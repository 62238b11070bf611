"""Results under the name and in the format of the input, folders mirrored, pictures replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_runs import names, read, refine_folder, run
from hand_scenes import BOTH, picture_with
from PIL import Image

from handrefiner_ext.cli.commands import DONE, FAILED, WRONG_USAGE
from handrefiner_ext.errors import PictureError
from handrefiner_ext.files import beside
from handrefiner_ext.files.marks import read_mark
from handrefiner_ext.files.sources import list_pictures
from handrefiner_ext.pictures import load_picture
from handrefiner_ext.pictures.metadata import read_text

pytestmark = pytest.mark.usefixtures("tiny_stages")
PARAMETERS = "a woman waving, ü\nSteps: 20"


@pytest.fixture
def folder(tmp_path):
    """Pictures of the three formats that are written, one of another, and two in folders inside."""
    place = tmp_path / "in"
    (place / "sub" / "deep").mkdir(parents=True)
    image = Image.fromarray(picture_with(BOTH, 200, 400))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
    image.save(place / "a.jpg", quality=80, exif=exif)
    image.save(place / "b.webp", quality=80, exif=exif)
    image.save(place / "c.png")
    image.save(place / "d.bmp")
    image.save(place / "sub" / "a.jpg", quality=80)
    Image.fromarray(picture_with((), 200, 400)).save(place / "sub" / "deep" / "none.jpg")
    return place


def tree(place):
    found = (path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    return sorted(found)


def test_keep_writes_the_name_and_the_format_of_the_input(folder, tmp_path, capsys):
    out = tmp_path / "out"
    for _ in range(2):
        assert refine_folder(folder, out, "--name", "keep", "--keep_best", "false") == DONE
        assert names(out) == ["a.jpg", "b.webp", "c.png", "d.png"]
    assert refine_folder(folder, out, "--name", "keep", "--keep_best", "false", "--resume") == DONE
    assert capsys.readouterr().out.count("finished by an earlier run") == 4
    for name, kind in (("a.jpg", "JPEG"), ("b.webp", "WEBP"), ("c.png", "PNG")):
        with Image.open(out / name) as saved:
            assert saved.format == kind
        texts = {c.keyword: read_text(c) for c in load_picture(out / name).metadata if c.keyword}
        assert name == "c.png" or texts["parameters"] == PARAMETERS
        assert read_mark((out / name).read_bytes()).source == name
        assert "handrefiner" not in texts or name == "c.png"
        apart = abs(read(out / name).astype(int) - read(out / "c.png")).mean()
        assert apart < 20  # of noise that was compressed twice
    with Image.open(folder / "a.jpg") as before, Image.open(out / "a.jpg") as after:
        assert before.quantization == after.quantization


def test_keep_copies_what_needs_no_repair_byte_for_byte_but_for_the_mark(folder, tmp_path):
    out, source = tmp_path / "out", folder / "sub" / "deep" / "none.jpg"
    assert run("refine", "--input_img", source, "--out_dir", out, "--name", "keep") == DONE
    before, after = source.read_bytes(), (out / "none.jpg").read_bytes()
    added = len(after) - len(before)
    assert 100 < added < 600
    start = next(at for at in range(len(before)) if before[at] != after[at])
    assert after[:start] + after[start + added :] == before
    np.testing.assert_array_equal(read(out / "none.jpg"), read(source))


def test_several_outputs_are_numbered_in_the_format_of_the_input(folder, tmp_path):
    out = tmp_path / "out"
    assert refine_folder(folder, out, "--name", "keep", "--num_samples", 2) == DONE
    endings = {"a": "jpg", "b": "webp", "c": "png", "d": "png"}
    assert names(out) == [f"{stem}_{n}.{end}" for stem, end in endings.items() for n in (0, 1)]


def test_quality_is_used_and_needs_a_format_that_has_one(folder, tmp_path, capsys):
    sizes = []
    for quality in (20, 95):
        out = tmp_path / f"q{quality}"
        assert refine_folder(folder, out, "--name", "keep", "--quality", quality) == DONE
        sizes.append([(out / name).stat().st_size for name in ("a.jpg", "b.webp")])
    assert all(small < large for small, large in zip(*sizes, strict=True))
    assert refine_folder(folder, tmp_path / "x", "--quality", 50) == WRONG_USAGE
    assert refine_folder(folder, tmp_path / "x", "--name", "keep", "--quality", 0) == WRONG_USAGE
    assert "must be from 1 to 100" in capsys.readouterr().err


def test_an_own_jpeg_in_the_way_is_kept(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    Image.new("RGB", (9, 9)).save(out / "a.jpg")
    own = (out / "a.jpg").read_bytes()
    assert refine_folder(folder, out, "--name", "keep") == DONE
    assert (out / "a.jpg").read_bytes() == own
    assert "a_jpg.jpg" in names(out)
    # Beside its source, a result never takes the source's own name.
    before = {name: (folder / name).read_bytes() for name in names(folder) if "." in name}
    assert refine_folder(folder, folder, "--name", "keep") == DONE
    assert all((folder / name).read_bytes() == data for name, data in before.items())


@pytest.mark.parametrize("inside", [False, True])
def test_recursive_mirrors_the_folders(inside, folder, tmp_path, capsys):
    out = folder / "out" if inside else tmp_path / "out"
    maps = ("--mask_dir", out / "masks", "--candidates_dir", out / "tried", "--candidates", 2)
    for _ in range(2):
        assert refine_folder(folder, out, "--recursive", "--name", "keep", *maps) == DONE
    made = [name for name in tree(out) if not name.startswith(("masks", "tried"))]
    assert made == ["a.jpg", "b.webp", "c.png", "d.png", "sub/a.jpg", "sub/deep/none.jpg"]
    assert "sub/deep/none_mask.png" in tree(out / "masks")
    assert "sub/a_0_candidate2.png" in tree(out / "tried")
    assert "folder" not in capsys.readouterr().out.splitlines()[0]


def test_hints_goes_into_folders_too(folder, tmp_path):
    assert run("hints", folder, "--out_dir", tmp_path / "out", "--recursive") == DONE
    made = [name for name in tree(tmp_path / "out") if name.endswith("_hands.json")]
    assert "a_hands.json" in made
    assert "sub/a_hands.json" in made
    assert "sub/deep/none_hands.json" in made


def test_a_folder_of_masks_is_mirrored_too(folder, tmp_path):
    mask = Image.fromarray(np.full((200, 400), 255, np.uint8))
    for name in ("a.png", "b.png", "c.png", "d.png", "sub/a.png"):
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        mask.save(tmp_path / "masks" / name)
    more = ("--recursive", "--mask", "drawn", "--drawn_mask", tmp_path / "masks")
    assert refine_folder(folder, tmp_path / "out", *more) == FAILED  # none.jpg has no mask
    assert "sub/a_0.png" in tree(tmp_path / "out")


def test_a_folder_of_masks_is_listed_again_only_where_it_has_changed(tmp_path, monkeypatch):
    for name in ("A.png", "b_mask.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    listed = []

    def find_mask(source):
        return beside.find_beside(tmp_path, source, beside.MASK_ENDINGS, "mask")

    monkeypatch.setattr(
        beside, "list_pictures", lambda folder: listed.append(folder) or list_pictures(folder)
    )
    for _ in range(3):
        assert find_mask(Path("x/b.jpg")).name == "b_mask.png"
    assert listed == [tmp_path]
    with pytest.raises(PictureError, match=r"name it c\.png or c_mask\.png"):
        find_mask(Path("c.jpg"))
    with pytest.raises(PictureError, match=r"deep holds no mask for c\.jpg; name it c\.png"):
        beside.find_beside(tmp_path / "deep", Path("c.jpg"), beside.MASK_ENDINGS, "mask")
    Image.new("L", (4, 4)).save(tmp_path / "c.png")
    assert find_mask(Path("c.jpg")).name == "c.png"


def test_in_place_replaces_what_was_repainted_and_keeps_what_it_was(folder, tmp_path, capsys):
    (folder / "d.bmp").unlink()
    before = {name: (folder / name).read_bytes() for name in tree(folder)}
    backup = tmp_path / "backup"
    command = ("refine", "--input_dir", folder, "--in_place", "--backup_dir", backup)
    more = ("--recursive", "--keep_best", "false")
    assert run(*command, *more) == DONE
    assert tree(folder) == sorted(before)
    assert (folder / "sub/deep/none.jpg").read_bytes() == before["sub/deep/none.jpg"]
    for name in ("a.jpg", "b.webp", "c.png", "sub/a.jpg"):
        assert (folder / name).read_bytes() != before[name]
        assert (backup / name).read_bytes() == before[name]
    assert tree(backup) == ["a.jpg", "b.webp", "c.png", "sub/a.jpg"]
    after = {name: (folder / name).read_bytes() for name in tree(folder)}
    assert run(*command, *more) == DONE
    assert {name: (folder / name).read_bytes() for name in tree(folder)} == after
    assert "Skipping 4 outputs of earlier runs." in capsys.readouterr().out
    # Another picture of the same name is kept beside the first.
    Image.fromarray(picture_with(BOTH, 100, 200)).save(folder / "c.png")
    assert run(*command, *more) == DONE
    assert (backup / "c.png").read_bytes() == before["c.png"]
    assert (backup / "c_2.png").exists()


def test_in_place_leaves_a_format_that_is_not_written(folder, tmp_path, capsys):
    before = (folder / "d.bmp").read_bytes()
    command = (
        "refine",
        "--input_img",
        folder / "d.bmp",
        "--in_place",
        "--backup_dir",
        tmp_path / "b",
    )
    assert run(*command, "--keep_best", "false") == FAILED
    assert "Pictures cannot be written as '.bmp'" in capsys.readouterr().err
    assert (folder / "d.bmp").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Give --out_dir, or --in_place with --backup_dir."),
        (("--in_place",), "--in_place needs --backup_dir"),
        (("--backup_dir", "b"), "--backup_dir is for --in_place"),
        (("--in_place", "--backup_dir", "b", "--out_dir", "o"), "leave out it or --out_dir"),
        (("--in_place", "--backup_dir", "b", "--n_iter", "2"), "one output of each picture"),
        (("--in_place", "--backup_dir", "in"), "--backup_dir must not be --input_dir"),
        (("--out_dir", "o", "--engine", "ray", "--recursive"), "--recursive does not work with"),
    ],
)
def test_what_contradicts_itself_is_wrong_usage(options, said, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    before = tree(folder.parent)
    assert run("refine", "--input_dir", "in", *options) == WRONG_USAGE
    assert said in capsys.readouterr().err
    assert tree(folder.parent) == before
