"""Several pictures at a time, each in a process of its own, with the real stages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import names, refine_folder
from hand_scenes import BOTH, picture_with
from PIL import Image

from handrefiner_ext.cli.commands import FAILED, WRONG_USAGE

EXAMPLE = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"


def test_several_processes_give_what_one_gives(tmp_path):
    source, one, two = (tmp_path / name for name in ("in", "one", "two"))
    source.mkdir()
    for number, side in enumerate((256, 224)):
        Image.open(EXAMPLE).resize((side, side)).save(source / f"{number}.png")
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    log = tmp_path / "log.json"
    assert refine_folder(source, one) == FAILED
    assert refine_folder(source, two, "--jobs", 2, "--log_json", log) == FAILED
    assert names(one) == names(two) == ["0_0.png", "1_0.png"]
    for name in names(one):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert len(log.read_text().splitlines()) == 2


MISSING_MESH = (("--mesh", "graphormer", "--models_dir", "{t}"), FAILED, "MANO_RIGHT.pkl")
MISSING_WEIGHTS = (("--weights", "{t}/gone.ckpt"), WRONG_USAGE, "gone.ckpt' does not exist")


@pytest.mark.parametrize(
    ("words", "expected", "reason"),
    [MISSING_MESH, pytest.param(*MISSING_WEIGHTS, marks=pytest.mark.slow)],
)
def test_models_that_do_not_serve_stop_several_processes_too(
    words, expected, reason, tmp_path, capsys
):
    if expected == WRONG_USAGE:
        pytest.importorskip("diffusers")
    source = tmp_path / "in"
    source.mkdir()
    for number in range(2):
        shutil.copy(EXAMPLE, source / f"{number}.png")
    more = ("--jobs", 2, *(word.format(t=tmp_path) for word in words))
    assert refine_folder(source, tmp_path / "out", *more) == expected
    told = [s for s in capsys.readouterr().err.splitlines() if s.startswith("handrefiner:")]
    assert len(told) == 1  # once for the run, not once for each picture
    assert reason in told[0]
    assert names(tmp_path / "out") == []


def test_the_command_of_the_paper_runs_as_it_stands(tmp_path):
    """Apart from the weights, without which the draft paints."""
    Image.fromarray(picture_with(BOTH)).save(tmp_path / "1.png")
    command = "--input_img 1.png --out_dir output --strength 0.55 --eval True --seed 1 --n_iter 1"
    done = subprocess.run(
        [sys.executable, "-m", "handrefiner_ext", "refine", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, names(tmp_path / "output")) == (0, ["1_0.png"]), done.stderr
