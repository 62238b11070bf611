"""With Ray itself: a worker and the driver are killed, and finders work apart from painters."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import names
from PIL import Image
from test_reconstructor_plugins import run

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='needs pip install -e ".[cluster]"'
)
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
pytestmark = [needs_ray, needs_proc]

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "badly_drawn_hand.png"
PICTURES = 16


def test_a_killed_worker_and_a_killed_driver_cost_nothing_that_was_done(tmp_path):
    from cluster_faults import break_and_finish

    outcome = break_and_finish(tmp_path, PICTURES)
    # So short a run says nothing about memory; benchmarks/cluster_faults.py measures it.
    missed = [t.name for t in outcome.targets() if not t.reached and "memory" not in t.name]
    assert missed == []
    assert outcome.recorded_before >= PICTURES // 2
    assert outcome.outputs == outcome.rows == PICTURES


WITH_PAINTERS = """
import sys
from pathlib import Path
from handrefiner_ext.cluster.run import Cluster, FolderRun, list_sources, make_assignment
from handrefiner_ext.cluster.store import StoreShelf, locate_folders
from handrefiner_ext.files.naming import plan
from handrefiner_ext.files.run import Recipe
from handrefiner_ext.params import RefineParams

source, out = sys.argv[1:]
folders = locate_folders({}, {"source": source, "out": out})
assignment = make_assignment(Recipe(RefineParams()), folders)
sources = [each.source for each in list_sources(source).pictures]
jobs = plan(sources, folders.local.kinds(), StoreShelf(folders))
run = FolderRun(jobs, assignment, source, Cluster(jobs=1, painters=1, gpus_each=0.0))
for report in run.work_through(run.begin()):
    print(report.source, report.hands, report.refined, report.error)
"""


def test_painters_apart_from_finders_paint_the_same(tmp_path):
    pictures, alone = tmp_path / "in", tmp_path / "alone"
    pictures.mkdir()
    shutil.copy(EXAMPLE, pictures / "a.png")
    shutil.copy(EXAMPLE, pictures / "b.png")
    (pictures / "c.png").write_bytes(b"GIF89a")
    urls = f"file://{pictures}", f"file://{tmp_path}/out"
    done = subprocess.run(
        [sys.executable, "-c", WITH_PAINTERS, *urls], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    broken = "c.png is not a picture that can be read; use PNG, JPEG or WebP."
    assert sorted(done.stdout.splitlines()) == [
        "a.png 1 1 None",
        "b.png 1 1 None",
        f"c.png 0 0 {broken}",
    ]
    command = [sys.executable, "-m", "handrefiner_ext", "refine", "--input_dir", str(pictures)]
    subprocess.run([*command, "--out_dir", str(alone)], capture_output=True)
    assert names(alone) == ["a_0.png", "b_0.png"]
    for name in names(alone):
        assert (tmp_path / "out" / name).read_bytes() == (alone / name).read_bytes()


def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "a.png")
    command = [sys.executable, "-m", "handrefiner_ext", "refine", "--engine", "ray"]
    command += ["--input_dir", str(tmp_path), "--out_dir", str(tmp_path / "out")]
    environment = {**os.environ, "RAY_ADDRESS": ""}
    done = subprocess.run(
        [*command, "--address", "auto"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert "No Ray cluster can be joined at auto" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_that_kills_its_workers_is_said_and_nothing_else_is(deadly, tmp_path):
    """`deadly` crashes over a picture 224 pixels high; Ray's own lines about it are no result."""
    (tmp_path / "in").mkdir()
    for name, side in (("a", 256), ("b", 224)):
        Image.open(EXAMPLE).resize((side, side)).save(tmp_path / "in" / f"{name}.png")
    command = ["-m", "handrefiner_ext", "refine", "--engine", "ray", "--jobs", "1"]
    command += ["--input_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / "out")]
    done = run(deadly, *command, "--mesh", "deadly", "--keep_best", "False")
    assert done.returncode == 1
    assert "b.png was left alone: 3 workers have died over it" in done.stderr
    assert "2 pictures, 1 hands found, 1 repainted, 1 pictures failed." in done.stdout
    assert "raylet" not in done.stdout + done.stderr


def test_ray_is_not_imported_before_it_is_used():
    code = "import sys, handrefiner_ext.cluster.run, json; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ray" not in json.loads(done.stdout)
