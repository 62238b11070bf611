"""Without a console, with a full one, and on Windows: the command works or says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import names, run
from hand_scenes import BOTH, picture_with
from PIL import Image

from handrefiner_ext.cli.commands import DONE, FAILED, main

EXAMPLE = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


def start(code, *arguments, **streams):
    """A process that runs `code` with the command line's `main` and `arguments` at hand."""
    whole = f"import sys\nfrom handrefiner_ext.cli import main\narguments = sys.argv[1:]\n{code}"
    given = [str(argument) for argument in arguments]
    return subprocess.run([sys.executable, "-c", whole, *given], timeout=300, **streams)


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the package alone is installed")
@pytest.mark.parametrize(
    "code",
    [
        "sys.stdout = sys.stderr = None",
        "sys.stderr.close(); sys.stdout.close()",
    ],
)
def test_without_a_console_it_works_all_the_same(code, tmp_path):
    command = ("refine", "--input_img", EXAMPLE, "--out_dir", tmp_path)
    done = start(f"{code}\nimport os\nos._exit(main(arguments))", *command)
    assert done.returncode == DONE
    assert names(tmp_path) == [f"{EXAMPLE.stem}_0.png"]


@pytest.mark.skipif(os.name == "nt", reason="streams are closed by a POSIX shell")
def test_with_closed_descriptors_it_works_all_the_same(tmp_path):
    Image.fromarray(picture_with(())).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "handrefiner_ext", "refine", "--input_dir", str(tmp_path)]
    line = '"$@" --out_dir "$0" >&- 2>&- <&-'
    done = subprocess.run(["sh", "-c", line, str(tmp_path / "out"), *command], timeout=300)
    assert done.returncode == DONE
    assert names(tmp_path / "out") == ["a_0.png"]


def test_the_streams_of_a_caller_are_given_back(monkeypatch):
    for stdout, stderr in ((None, None), (sys.stdout, None)):
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", stderr)
        assert main(["refine"]) == 2
        assert (sys.stdout, sys.stderr) == (stdout, stderr)


@needs_full
def test_a_full_stdout_is_a_sentence_that_names_it(tmp_path):
    Image.fromarray(picture_with(())).save(tmp_path / "a.png")
    command = ["hints", tmp_path / "a.png", "--out_dir", tmp_path / "out"]
    with open("/dev/full", "w") as full:
        done = start("sys.exit(main(arguments))", *command, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == FAILED
    said = done.stderr.decode().splitlines()
    assert said == ["handrefiner: stdout cannot be written to: No space left on device."]


@needs_full
def test_a_full_log_is_a_sentence_that_names_it(tmp_path, tiny_stages, capsys):
    Image.fromarray(picture_with(BOTH)).save(tmp_path / "a.png")
    command = ("refine", "--input_img", tmp_path / "a.png", "--out_dir", tmp_path / "out")
    assert run(*command, "--log_json", "/dev/full") == FAILED
    assert "/dev/full cannot be written: No space left on device." in capsys.readouterr().err


def test_a_console_that_lacks_letters_shows_question_marks(tmp_path):
    """As cp1252, the console of Western Windows, lacks Chinese ones."""
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "手 é.png")
    command = ["hints", tmp_path / "手 é.png", "--out_dir", tmp_path / "out"]
    done = start(
        "sys.exit(main(arguments))",
        *command,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    )
    assert done.returncode == DONE, done.stderr
    assert "? é.png: no hands" in done.stdout.decode("cp1252")
    assert "手 é_hands.json" in names(tmp_path / "out")
