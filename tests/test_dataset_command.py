"""`handrefiner dataset`: what it writes, and that nothing but the seed decides it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from handrefiner_ext.cli import main
from handrefiner_ext.dataset import Options, make_samples, workers
from handrefiner_ext.dataset.workers import AHEAD, map_in_order
from handrefiner_ext.dataset.writing import Work

SMALL = ["--size", "96", "--seed", "4", "--malformed", "0.4", "--drafts", "0.2"]


def run(folder: Path, *more: str, count: int = 4) -> Path:
    assert main(["dataset", "--count", str(count), "--out_dir", str(folder), *SMALL, *more]) == 0
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A set that one process made."""
    return run(tmp_path_factory.mktemp("set") / "one", "--jobs", "1")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_the_set_is_the_same_with_one_process_and_with_two(one, tmp_path):
    assert len(digests(one)) == 1 + 3 * 4
    assert digests(run(tmp_path / "two", "--jobs", "2")) == digests(one)


class Deadly:
    """A worker in whose process one scene dies: every time, or only the first."""

    def __init__(self, work: Work, number: int, folder: Path, times: int) -> None:
        self.work, self.number, self.folder, self.times = work, number, folder, times

    def __call__(self, number: int):
        if number == self.number:
            tries = len(list(self.folder.iterdir()))
            if tries < self.times:
                (self.folder / str(tries)).touch()
                os._exit(9)
        return self.work(number)


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """A function that lets a scene die so many times."""
    (tmp_path / "tries").mkdir()

    def plant(number: int, times: int) -> None:
        def with_death(work: Work, *more):
            return map_in_order(Deadly(work, number, tmp_path / "tries", times), *more)

        monkeypatch.setattr(workers, "map_in_order", with_death)

    return plant


def test_a_scene_whose_process_dies_once_is_made_by_another(one, tmp_path, deadly):
    deadly(1, times=1)
    assert digests(run(tmp_path / "set", "--jobs", "2")) == digests(one)


@pytest.mark.parametrize("more", [(), ("--shards", "2")])
def test_a_scene_that_kills_its_process_again_costs_that_scene(one, tmp_path, deadly, capsys, more):
    deadly(1, times=9)
    arguments = ["--count", "4", "--out_dir", str(tmp_path / "set"), *SMALL, "--jobs", "2", *more]
    assert main(["dataset", *arguments]) == 1
    said = capsys.readouterr()
    assert "Scene 1 was not rendered: its process ended with code 9" in said.err
    assert "3 pictures of 4 scenes" in said.out
    if not more:
        lines = (one / "metadata.jsonl").read_text().splitlines()
        assert (tmp_path / "set" / "metadata.jsonl").read_text().splitlines() == [
            *lines[:1],
            *lines[2:],
        ]


def fail(number: int):
    raise KeyError(number)


def test_an_error_in_a_process_reaches_the_caller():
    with pytest.raises(KeyError):
        list(map_in_order(fail, range(5), 2, lambda number, how: None))


def square(number: int) -> int:
    return number * number


def test_results_come_in_order_and_few_wait():
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    results = map_in_order(square, items(), 2, lambda number, how: -1)
    for number in range(50):
        assert next(results) == number * number
        assert len(taken) <= number + 2 + AHEAD * 2
    assert list(results) == []


def test_the_folder_is_what_datasets_reads(one):
    folder = one
    lines = (folder / "metadata.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 4
    for number, line in enumerate(map(json.loads, lines)):
        options = Options(size=96, malformed=0.4, drafts=0.2)
        (sample,) = make_samples(4, number, options)
        image = np.asarray(PillowImage.open(folder / line["file_name"]))
        np.testing.assert_array_equal(image, sample.image)
        control = np.asarray(PillowImage.open(folder / line["conditioning_image_file_name"]))
        np.testing.assert_array_equal(control, sample.maps.control)
        mask = np.asarray(PillowImage.open(folder / line["mask_file_name"]))
        np.testing.assert_array_equal(mask > 0, sample.maps.mask)
        assert line["text"] == sample.prompt
        assert len(line["hands"]) == len(sample.hands)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """The same set in shards."""
    folder = run(tmp_path_factory.mktemp("shards") / "some", "--jobs", "1", "--shards", "3")
    return sorted(folder.iterdir())


def test_no_place_and_no_date_is_written(shards):
    for archive in shards:
        assert str(archive.parent.parent).encode() not in archive.read_bytes()
        with tarfile.open(archive) as tar:
            assert {entry.mtime for entry in tar} == {0}


def test_shards_hold_the_same_pictures_as_the_folder(one, shards):
    folder = one
    assert [path.name for path in shards] == [f"shard-0000{k}.tar" for k in range(3)]
    found = {}
    for path in shards:
        with tarfile.open(path) as tar:
            for entry in tar:
                found[entry.name] = tar.extractfile(entry).read()
    endings = {"png", "control.png", "mask.png", "txt", "json"}
    assert set(found) == {f"{k:06d}.{ending}" for k in range(4) for ending in endings}
    for k in range(4):
        assert found[f"{k:06d}.png"] == (folder / "images" / f"{k:06d}.png").read_bytes()
        assert json.load(io.BytesIO(found[f"{k:06d}.json"]))["number"] == k


def test_twins_are_two_pictures_of_a_scene(tmp_path):
    folder = tmp_path / "set"
    arguments = ["--count", "2", "--size", "96", "--twins", "--jobs", "1", "--out_dir", str(folder)]
    assert main(["dataset", *arguments]) == 0
    lines = [
        json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()
    ]
    assert [line["malformed"] for line in lines] == [False, True, False, True]
    assert [line["number"] for line in lines] == [0, 0, 1, 1]


def test_backgrounds_come_from_a_folder_of_ones_own(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "green.png"), np.full((64, 80, 3), (0, 255, 0), np.uint8))
    folder = run(
        tmp_path / "set", "--backgrounds", str(pictures), "--styles", "toon", "--jobs", "1"
    )
    for path in (folder / "images").iterdir():
        image = np.asarray(PillowImage.open(path)).astype(int)
        green = (image[..., 1] > 150) & (image[..., 0] < 90) & (image[..., 2] < 90)
        assert green.mean() > 0.2


def test_a_background_that_cannot_be_read_makes_way_for_another(tmp_path, caplog):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "broken.png").write_bytes(b"no picture")
    cv2.imwrite(str(pictures / "green.png"), np.full((64, 80, 3), (0, 255, 0), np.uint8))
    more = ["--backgrounds", str(pictures), "--styles", "toon", "--jobs", "1"]
    run(tmp_path / "set", *more)
    assert "broken.png" in caplog.text
    assert "Another background is taken." in caplog.text
    (pictures / "green.png").unlink()
    where = ["--count", "1", "--size", "64", "--out_dir", str(tmp_path / "none")]
    assert main(["dataset", *where, *more]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", "0"], "--count = '0'"),
        (["--count", "2", "--shards", "3"], "--shards 3 is more than --count 2"),
        (["--count", "2", "--malformed", "1.5"], "--malformed = '1.5'"),
        (["--count", "2", "--styles", "oil"], "'oil' is not one of"),
        (["--count", "2", "--twins", "--malformed", "0.5"], "leave out --malformed"),
        (["--count", "2", "--size", "5000"], "at most 2048"),
        (["--count", "2", "--jobs", "none"], "--jobs: 'none' is not possible"),
    ],
)
def test_wrong_usage_is_answered_with_a_sentence(tmp_path, capsys, arguments, words):
    assert main(["dataset", *arguments, "--out_dir", str(tmp_path / "set")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.png").write_bytes(b"mine")
    assert main(["dataset", "--count", "1", "--out_dir", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_the_help_needs_no_numpy():
    code = (
        "import sys; from handrefiner_ext.cli import main\n"
        "try: main(['dataset', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'numpy' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_ray_makes_the_same_set(one, tmp_path):
    pytest.importorskip("ray")
    assert digests(run(tmp_path / "ray", "--engine", "ray", "--jobs", "1")) == digests(one)
