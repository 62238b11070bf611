"""A picture that kills its process costs that picture only: real processes, really killed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from cli_runs import names, wait_until
from PIL import Image
from test_reconstructor_plugins import run

from handrefiner_ext.errors import BackendUnavailable, WeightsError
from handrefiner_ext.files.log import Report
from handrefiner_ext.files.naming import Job
from handrefiner_ext.files.tries import FOLDER, DeathRecord
from handrefiner_ext.files.workers import Crew
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import disk

EXAMPLE = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"
POSIX = os.name == "posix"
SKIP = pytest.mark.skip(reason="sends a signal")


def crash():
    ctypes.string_at(0)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(9)


WAYS = [(crash, "crashed (SIGSEGV)"), (kill, "killed (SIGKILL)"), (leave, "ended with code 9")]


def work(job, die):
    """Names say what happens: a2 dies in its second process as well, a1 in the first only."""
    (job.source.parent / "seen").open("a").write(f"{job.source.name} {os.getpid()}\n")
    tries = (job.source.parent / "seen").read_text().count(job.source.name)
    if tries <= int(job.source.stem[1:]):
        die()
    return Report(job.source, f"done in {os.getpid()}")


def start(die):
    return partial(work, die=die)


def run_crew(folder, stems, count, **options):
    die = options.pop("die", leave)
    jobs = [Job(folder / f"{stem}.png", stem) for stem in stems]
    with Crew(partial(start, die), count, **options) as crew:
        crew.prepare(len(jobs))
        return list(crew.work_through(jobs))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("die", "how", "count"),
    [
        pytest.param(*WAYS[0], 1, marks=() if POSIX else SKIP),
        pytest.param(*WAYS[2], 2),
        pytest.param(*WAYS[0], 2, marks=SLOW if POSIX else SKIP),
        *(pytest.param(*WAYS[1], count, marks=SLOW if POSIX else SKIP) for count in (1, 2)),
        pytest.param(*WAYS[2], 1, marks=SLOW),
    ],
)
def test_a_picture_that_kills_its_process_twice_fails_alone(tmp_path, count, die, how):
    reports = run_crew(tmp_path, ["a0", "b9", "c0", "d1", "e0"], count, die=die)
    failed = [report for report in reports if report.error]
    assert sorted(report.source.stem for report in reports) == ["a0", "b9", "c0", "d1", "e0"]
    assert [report.source.stem for report in failed] == ["b9"]
    assert how in failed[0].error
    assert "tried alone" in failed[0].error
    # Both that died are tried again when all others are done.
    assert {report.source.stem for report in reports[-2:]} == {"b9", "d1"}
    seen = (tmp_path / "seen").read_text()
    assert [seen.count(name) for name in ("a0", "b9", "c0", "d1", "e0")] == [1, 2, 1, 2, 1]


@SLOW
def test_a_process_is_replaced_and_the_others_go_on(tmp_path):
    reports = run_crew(tmp_path, ["a9", "b9", "c9", "d0", "e0"], 2)
    assert [report.source.stem for report in reports if not report.error] == ["d0", "e0"]


def test_resuming_leaves_alone_what_died_and_a_change_gives_it_another_chance(tmp_path):
    for name in ("a0.png", "b9.png"):
        (tmp_path / name).write_bytes(b"picture")
    record = DeathRecord(tmp_path / "out", RefineParams())
    options = {"record": record, "resumes": True}
    run_crew(tmp_path, ["a0", "b9"], 1, record=record)
    before = (tmp_path / "seen").read_text()
    reports = {r.source.stem: r.error for r in run_crew(tmp_path, ["a0", "b9"], 1, **options)}
    assert "b9.png was left alone: 2 workers have died over it" in reports["b9"]
    assert (tmp_path / "seen").read_text().count("b9") == before.count("b9") == 2
    other = DeathRecord(tmp_path / "out", RefineParams(padding_bbox=7))
    assert (record.count(Job(tmp_path / "b9.png", "b9")), other.count(Job(tmp_path, "b9"))) == (
        2,
        0,
    )
    (tmp_path / "b9.png").write_bytes(b"another picture")
    (tmp_path / "seen").write_text("b9.png\n" * 9)
    assert [r.error for r in run_crew(tmp_path, ["b9"], 1, **options)] == [None]
    assert not (tmp_path / "out" / FOLDER).exists()


def test_a_run_that_does_not_resume_tries_everything(tmp_path):
    (tmp_path / "b9.png").write_bytes(b"picture")
    record = DeathRecord(tmp_path / "out", RefineParams())
    for _ in range(2):
        (report,) = run_crew(tmp_path, ["b9"], 1, record=record)
        assert "was not done" in report.error
    assert (tmp_path / "seen").read_text().count("b9") == 4


def die_writing(job):
    (job.source.parent / "out" / "under").mkdir(parents=True, exist_ok=True)
    with patch.object(disk, "_replace", lambda *paths: leave()):
        disk.write_atomically(job.source.parent / "out" / "under" / "a.png", b"half")


def start_writing():
    return die_writing


def test_what_a_dead_process_was_writing_is_removed(tmp_path):
    others = tmp_path / "out" / ".handrefiner-1-99999999"
    others.parent.mkdir()
    others.write_bytes(b"of another command that still runs")
    with Crew(start_writing, 1, folders=[tmp_path / "out"]) as crew:
        crew.prepare(1)
        (report,) = crew.work_through([Job(tmp_path / "a.png", "a")])
    assert "code 9" in report.error
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [others]


def start_dying():
    leave()


def start_refusing():
    raise WeightsError("x.ckpt is damaged.")


def start_broken():
    raise KeyError("unexpected")


DYING = (start_dying, BackendUnavailable, "loads the models ended with code 9, twice")


@pytest.mark.parametrize(
    ("begin", "error", "said", "count"),
    [
        (*DYING, 1),
        (start_refusing, WeightsError, "x.ckpt is damaged", 2),
        (start_broken, BackendUnavailable, "KeyError", 1),
        pytest.param(*DYING, 3, marks=SLOW),
    ],
)
def test_models_that_cannot_be_loaded_end_the_run_with_a_sentence(count, begin, error, said):
    with pytest.raises(error, match=said), Crew(begin, count) as crew:
        crew.prepare(3)


def sleep(job):
    Path(job.source).write_text(str(os.getpid()))
    time.sleep(60)


def start_sleeping():
    return sleep


def stop_after(crew, jobs, seconds):
    crew.prepare(len(jobs))
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
    list(crew.work_through(jobs))


@pytest.fixture
def heeded_interrupt():
    """Ctrl-C raises, also where pytest was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not POSIX, reason="sends a signal")
@pytest.mark.usefixtures("heeded_interrupt")
def test_no_process_outlives_a_run_that_is_stopped(tmp_path):
    jobs = [Job(tmp_path / name, name) for name in ("a", "b")]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Crew(start_sleeping, 1) as crew:
        stop_after(crew, jobs, seconds=1)
    assert time.monotonic() - begun < 40
    child = int((tmp_path / "a").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


# --- the command itself, with a detector of hands that kills its process


@pytest.mark.skipif(not POSIX, reason="sends a signal")
@pytest.mark.parametrize("jobs", [(), pytest.param(("--jobs", "2"), marks=SLOW)])
def test_the_command_does_the_others_and_says_which_crashed(deadly, tmp_path, jobs):
    (tmp_path / "in").mkdir()
    for name, side in (("a", 256), ("b", 224), ("c", 256)):
        Image.open(EXAMPLE).resize((side, side)).save(tmp_path / "in" / f"{name}.png")
    command = ["-m", "handrefiner_ext", "refine", "--input_dir", str(tmp_path / "in")]
    command += ["--out_dir", str(tmp_path / "out"), "--mesh", "deadly"]
    command += ["--keep_best", "False", *jobs]
    done = run(deadly, *command)
    assert done.returncode == 1, done.stderr
    assert "b.png was not done: its process crashed (SIGSEGV)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "3 pictures, 2 hands found, 2 repainted, 1 pictures failed." in done.stdout
    assert names(tmp_path / "out") == [FOLDER, "a_0.png", "c_0.png"]
    again = run(deadly, *command, "--resume")
    assert again.returncode == 1
    assert "b.png was left alone: 2 workers have died over it" in again.stderr
    assert again.stdout.count("finished by an earlier run") == 2


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_the_process_ends_when_the_command_is_killed(tmp_path):
    code = """
        import sys, test_workers
        from handrefiner_ext.files.naming import Job
        from handrefiner_ext.files.workers import Crew
        from pathlib import Path
        if __name__ == "__main__":
            with Crew(test_workers.start_sleeping, 1) as crew:
                crew.prepare(1)
                list(crew.work_through([Job(Path(sys.argv[1]), "a")]))
    """
    place = tmp_path / "pid"
    here = str(Path(__file__).parent)
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(place)],
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        wait_until(lambda: place.exists() and place.read_text())
        child = place.read_text()
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not Path("/proc", child).exists())
