"""Without a console, with a full one, and on Windows: the command works or says what is wrong."""

from __future__ import annotations

import ast
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
from handrefiner_ext.errors import PictureError
from handrefiner_ext.files.naming import OutputKind, plan
from handrefiner_ext.pictures import disk, write_atomically

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
        pytest.param("sys.stderr.close(); sys.stdout.close()", marks=pytest.mark.slow),
    ],
)
def test_without_a_console_it_works_all_the_same(code, tmp_path):
    picture = tmp_path / "a.png"
    Image.open(EXAMPLE).resize((256, 256)).save(picture)
    command = ("refine", "--input_img", picture, "--out_dir", tmp_path / "out")
    done = start(f"{code}\nimport os\nos._exit(main(arguments))", *command)
    assert done.returncode == DONE
    assert names(tmp_path / "out") == ["a_0.png"]


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
@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_help_that_nobody_can_read_is_a_failure(asked):
    with open("/dev/full", "w") as full:
        done = start("sys.exit(main(arguments))", asked, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == FAILED
    assert b"No space left on device" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="such names are not possible there")
def test_names_that_a_terminal_would_obey_are_escaped(tmp_path, capsys):
    wild = "a\x1b[31mb\nc"
    Image.fromarray(picture_with(())).save(tmp_path / f"{wild}.png")
    (tmp_path / f"{wild}.jpg").write_bytes(b"no picture")
    pictures = [tmp_path / f"{wild}.{suffix}" for suffix in ("png", "jpg")]
    assert run("hints", *pictures, "--out_dir", tmp_path / "out") == FAILED
    said = capsys.readouterr()
    assert said.out.count(r"a\x1b[31mb\nc.png") == 1
    assert r"a\x1b[31mb\nc.jpg is not a picture" in said.err
    assert "\x1b" not in said.out


@pytest.mark.parametrize("option", ["--jobs", "--n_iter", "--seed", "--quality"])
def test_a_number_of_thousands_of_digits_is_wrong_usage(option, tmp_path, capsys):
    words = ["--input_img", tmp_path / "a.png", "--out_dir", tmp_path / "out", option, "1" * 5000]
    assert run("refine", *words) == 2
    assert len(capsys.readouterr().err) < 500


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a device")
def test_a_device_in_place_of_a_pose_is_a_sentence(tmp_path, capsys):
    Image.fromarray(picture_with(())).save(tmp_path / "a.png")
    words = ["--input_img", tmp_path / "a.png", "--out_dir", tmp_path / "out"]
    assert run("refine", *words, "--pose_file", "/dev/null") == FAILED
    assert "/dev/null is a device or a pipe" in capsys.readouterr().err


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


# --- Windows


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("C:\\short\\a.png", "C:\\short\\a.png"),
        ("C:\\" + "a" * 250 + "\\b.png", "\\\\?\\C:\\" + "a" * 250 + "\\b.png"),
        ("C:/x/../" + "a" * 250 + "/b.png", "\\\\?\\C:\\" + "a" * 250 + "\\b.png"),
        ("\\\\server\\share\\" + "a" * 250, "\\\\?\\UNC\\server\\share\\" + "a" * 250),
        ("\\\\?\\C:\\" + "a" * 250, "\\\\?\\C:\\" + "a" * 250),
    ],
)
def test_long_paths_take_the_prefix_that_windows_wants(path, expected):
    assert disk.lengthen(path) == expected


def test_a_path_of_more_than_260_characters_is_worked_on(tmp_path, tiny_stages):
    deep = tmp_path.joinpath(*["folder" * 10] * 5)
    assert len(str(deep)) > 260
    disk.usable(deep / "in").mkdir(parents=True)
    Image.fromarray(picture_with(BOTH)).save(disk.usable(deep / "in" / "a.png"))
    command = ("refine", "--input_img", deep / "in" / "a.png", "--out_dir", deep / "out")
    for more in ((), ("--resume",)):
        assert run(*command, *more) == DONE
    assert names(disk.usable(deep / "out")) == ["a_0.png"]


@pytest.mark.parametrize("name", ["CON", "con.png", "Aux.x.jpg", "COM1", "lpt9.tar.gz", "nul .png"])
def test_names_of_devices_are_known(name):
    assert disk.is_reserved(name)


@pytest.mark.parametrize("name", ["CONSOLE.png", "a.con", "COM.png", "_CON.png", "CON_0.png", ""])
def test_other_names_are_no_devices(name):
    assert not disk.is_reserved(name)


@pytest.mark.parametrize("name", ["CON.png", "con.x.png", "aux.1.2.png", "nul.png"])
def test_no_output_has_the_name_of_a_device(name, tmp_path):
    (job,) = plan(
        [tmp_path / name], [OutputKind(tmp_path / "out", e) for e in ("_0.png", "_mask.png")]
    )
    for ending in ("_0.png", "_mask.png"):
        assert not disk.is_reserved(job.stem + ending)


def lock(monkeypatch, times):
    """A file that another program holds open for so many tries, as on Windows; the waits."""
    replace, waits, left = Path.replace, [], [times]

    def held(path, target):
        if left[0]:
            left[0] -= 1
            raise PermissionError(13, "The process cannot access the file")
        return replace(path, target)

    monkeypatch.setattr(disk, "IS_WINDOWS", True)
    monkeypatch.setattr(Path, "replace", held)
    monkeypatch.setattr(disk.time, "sleep", waits.append)
    return waits


def test_a_file_that_a_viewer_holds_is_replaced_when_it_lets_go(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"old")
    waits = lock(monkeypatch, 3)
    write_atomically(tmp_path / "a.png", b"new")
    assert (tmp_path / "a.png").read_bytes() == b"new"
    assert waits == sorted(waits)
    assert len(waits) == 3
    assert names(tmp_path) == ["a.png"]


def test_a_file_that_stays_locked_is_a_sentence_and_stays_whole(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"old")
    waits = lock(monkeypatch, 99)
    with pytest.raises(PictureError, match="Close it where it is open"):
        write_atomically(tmp_path / "a.png", b"new")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert names(tmp_path) == ["a.png"]
    assert 1 < sum(waits) < 5


def test_processes_are_started_by_spawn_everywhere():
    """Windows knows no fork, and a fork after threads may hang anywhere."""
    package = Path(disk.__file__).parents[1]
    pools, contexts = 0, []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("os.fork", "multiprocessing.Process", "multiprocessing.Pool")
                if called.endswith("get_context"):
                    contexts.append(ast.literal_eval(node.args[0]))
                if called.endswith("ProcessPoolExecutor"):
                    pools += 1
                    assert any(keyword.arg == "mp_context" for keyword in node.keywords), path
                if called == "context.Process":
                    pools += 1
    assert pools == len(contexts) >= 1
    assert set(contexts) == {"spawn"}
