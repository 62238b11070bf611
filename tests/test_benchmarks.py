"""The benchmarks: they run from any folder, and what they count and measure is right."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handrefiner_ext.dataset.plain import Placement, make_scene, open_hand_model
from handrefiner_ext.pictures import encode_png

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = {
    "speed": ("--sizes", "256", "--hands", "1", "--count", "1", "--detector", "litert"),
    "recall": ("--sizes", "256", "--count", "1", "--detector", "litert"),
    "reconstruction": ("--count", "2", "--detector", "litert"),
    "judge": ("--count", "1", "--pairs", "6"),
}


@pytest.fixture(scope="module")
def modules():
    """The modules of the benchmarks, found as Python finds a script's neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import fresh_process
        import recall
        import report

        yield {m.__name__: m for m in (fresh_process, recall, report)}


def run(name, folder, *options):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=folder)


@pytest.mark.slow  # the figures are checked here as a whole, and what they count one by one below
@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_runs_from_any_folder_and_writes_finite_figures(name, tmp_path):
    done = run(name, tmp_path, *TINY[name], "--json", "figures.json")
    assert done.returncode == 0, done.stderr
    assert "missed" in done.stdout or "ok" in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    groups = [value for value in figures.values() if isinstance(value, dict)]
    values = [*figures.values(), *(value for group in groups for value in group.values())]
    numbers = [value for value in values if not isinstance(value, (str, dict))]
    assert len(numbers) >= 10
    assert all(math.isfinite(value) for value in numbers)


@pytest.mark.parametrize("options", [("--count", "0"), ("--sizes", "64,none")])
def test_wrong_use_is_answered_with_a_usage_error(modules, monkeypatch, capsys, options):
    monkeypatch.setattr(sys, "argv", ["recall.py", *options])
    with pytest.raises(SystemExit) as stopped:
        modules["recall"].read_options()
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err


HELP = """\
import os, runpy, sys
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    sys.path.insert(0, os.path.dirname(path))
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as stopped:
        assert not stopped.code, path
    else:
        raise AssertionError(path)
"""


def test_every_benchmark_answers_help_from_any_folder(tmp_path):
    paths = [str(BENCHMARKS / f"{name}.py") for name in TINY]
    command = [sys.executable, "-c", HELP, *paths]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(TINY)


def test_the_same_seed_gives_the_same_picture_and_another_a_different_one(modules):
    recall, hand = modules["recall"], open_hand_model()
    first, again, other = (recall.make_picture("32", n, hand).image for n in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def two_hands():
    places = tuple(Placement(x, 128.0, 60.0) for x in (64.0, 192.0))
    return make_scene(np.random.default_rng(1), 256, 256, places)


def moved(hand, x):
    return replace(hand, landmarks=hand.landmarks + np.array([x, 0.0]))


def test_every_hand_is_found_once_whatever_the_order(modules):
    scene = two_hands()
    a, b = (true.mesh.hand for true in scene.hands)
    assert modules["recall"].match(scene, (b, a)) in ([(0, 1), (1, 0)], [(1, 0), (0, 1)])
    assert modules["recall"].match(scene, ()) == []


def test_a_second_sighting_and_a_far_one_are_false_hands(modules):
    scene = two_hands()
    a, b = (true.mesh.hand for true in scene.hands)
    tally = modules["recall"].Tally()
    tally.add(scene, (moved(a, 0.1 * a.size_px), a, moved(b, 0.26 * b.size_px)))
    assert (tally.hands, tally.found, tally.false) == (2, 1, 2)


def test_a_hand_read_as_the_other_side_is_found_but_not_right(modules):
    scene = two_hands()
    a = scene.hands[0].mesh.hand
    other = replace(a, handedness="left" if a.handedness == "right" else "right")
    tally = modules["recall"].Tally()
    tally.add(scene, (other,))
    assert (tally.found, tally.right_side, tally.false) == (1, 0, 0)


def test_hands_lie_inside_the_picture(modules):
    recall = modules["recall"]
    for size in recall.SIZES:
        for place in recall.place_hands(np.random.default_rng(size), size):
            assert size / 2 < min(place.centre_x, place.centre_y)
            assert max(place.centre_x, place.centre_y) < recall.SIDE - size / 2


def test_peak_memory_counts_what_was_held_and_stays_when_it_is_freed(modules):
    peak_memory_mb = modules["fresh_process"].peak_memory_mb
    before = peak_memory_mb()
    block = np.ones(int(before + 64) * 1_000_000, dtype=np.uint8)
    held = peak_memory_mb()
    del block
    assert held >= before + 60
    assert peak_memory_mb() == pytest.approx(held, abs=4)


def test_a_fresh_process_does_not_count_its_parents_memory(modules, tmp_path):
    block = np.ones(400_000_000, dtype=np.uint8)
    picture = tmp_path / "a.png"
    picture.write_bytes(encode_png(np.zeros((64, 64, 3), dtype=np.uint8)))
    options = ("--out_dir", str(tmp_path), "--detector", "litert")
    seen = modules["fresh_process"].measure_command("hints", str(picture), *options)
    del block
    assert 10 < seen.peak_mb < 300
    assert not seen.torch
    assert seen.seconds > 0


@pytest.mark.parametrize(("value", "reached"), [(1.0, True), (1.1, False)])
def test_a_target_is_reached_at_its_limit(modules, value, reached):
    target = modules["report"].Target("", value, 1.0)
    assert target.reached is reached
    assert replace(target, at_most=False).reached


def test_a_figure_that_could_not_be_measured_is_null(modules, tmp_path):
    path = tmp_path / "f.json"
    modules["report"].write_json(path, {"a": math.nan, "b": 0.5, "c": True, "d": "litert"})
    assert json.loads(path.read_text("utf-8")) == {"a": None, "b": 0.5, "c": True, "d": "litert"}
