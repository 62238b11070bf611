"""The benchmark on real pictures: what it counts, and what is true of those that are here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import real
import real_figures
import real_looks
from hand_scenes import BOTH, BrightDetector, make_hand, make_stages, picture_with
from PIL import Image
from real_labels import Label, read_labels

from handrefiner_ext.dataset.plain import Placement, generator, make_scene
from handrefiner_ext.params import RefineParams
from handrefiner_ext.types import Box, Detection, Quality

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "real.py"
SHARED = Path(__file__).resolve().parents[2] / "shared"
CROPS = Path(os.environ.get("HANDREFINER_REAL_HANDS") or SHARED / "real_hands")
CASES = Path(os.environ.get("HANDREFINER_CASES") or SHARED / "cases")


def save(folder, name, image):
    Image.fromarray(image).save(folder / f"{name}.png")
    return name


def write_labels(folder, **lists):
    (folder / "labels.json").write_text(json.dumps(lists))
    return read_labels([folder])


def run(folder, *options):
    command = [sys.executable, str(BENCHMARK), "--pictures", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture
def stages(monkeypatch):
    """Tiny stages; a test may replace one of them."""
    held = {}
    monkeypatch.setattr(
        real_looks, "prepare", lambda parameters: (RefineParams(), make_stages(**held))
    )
    return held


def labelled(tmp_path, hands, image, **row):
    name = save(tmp_path, "a", image)
    (label,) = write_labels(
        tmp_path, whole=[{"name": name, "style": "ai", "hands": hands, **row}]
    ).pictures
    return label


@pytest.mark.parametrize(("said", "found", "false"), [(0, 0, 2), (1, 1, 1), (2, 2, 0), (3, 2, 0)])
def test_without_boxes_hands_are_counted(tmp_path, stages, said, found, false):
    seen = real_looks.look(labelled(tmp_path, said, picture_with(BOTH)), ())
    assert (seen.found, seen.false, len(seen.boxes)) == (found, false, 2)


def test_a_hand_elsewhere_stands_for_none_where_there_are_boxes(tmp_path, stages):
    label = labelled(tmp_path, 1, picture_with(BOTH), boxes=[[0, 0, 10, 10]])
    seen = real_looks.look(label, ())
    assert (seen.found, seen.false) == (0, 2)
    seen = real_looks.look(replace(label, boxes=(seen.boxes[1],)), ())
    assert (seen.found, seen.false) == (1, 1)


def test_every_box_is_used_once():
    box, near, far = Box(0, 0, 10, 10), Box(1, 0, 11, 10), Box(50, 50, 60, 60)
    assert real_looks.match_boxes([box, box], [near], 0.5) == 1
    assert real_looks.match_boxes([far, box], [near, far], 0.5) == 2
    assert real_looks.match_boxes([], [far], 0.5) == 0


class OutlineDetector(BrightDetector):
    """Sees one hand where the picture is bright, or always in the same place."""

    def __init__(self, place=None):
        super().__init__()
        self.place = place

    def detect(self, image, params):
        rows, columns = np.nonzero(image[..., 0] > 127)
        box = self.place or Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        hand = make_hand(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2), 8.0, image.shape)
        return Detection((replace(hand, box=box),))


def test_a_detector_that_follows_the_picture_is_steady_and_one_that_does_not_is_not(
    tmp_path, stages
):
    image = np.zeros((100, 120, 3), dtype=np.uint8)
    image[40:48, 60:68] = 255
    label = labelled(tmp_path, 1, image)
    stages["detector"] = OutlineDetector()
    steady = real_looks.try_changes(label, ())
    assert len(steady) == 7
    assert all(steady.values())
    stages["detector"] = OutlineDetector(Box(60, 40, 68, 48))
    steady = real_looks.try_changes(label, ())
    assert not steady["shift"]
    assert steady["jpeg 95"]


def test_a_hand_that_only_one_version_shows_is_not_steady(tmp_path, stages):
    class LuckyDetector(BrightDetector):
        def detect(self, image, params):
            kept = [] if np.array_equal(image, picture_with(BOTH)) else [self._hands(image)]
            return Detection(tuple(hand for hands in kept for hand in hands))

    stages["detector"] = LuckyDetector()
    steady = real_looks.try_changes(labelled(tmp_path, 2, picture_with(BOTH)), ())
    assert not any(steady.values())


def test_keep_best_takes_the_second_picture_of_a_pair_where_its_hand_is_better(tmp_path, stages):
    noisy = picture_with(BOTH)
    flat = np.full_like(noisy, 200)
    for name, image in (("noisy", noisy), ("flat", flat)):
        save(tmp_path, name, image)
    rows = [
        {"name": f"{a} {b}", "before": f"{a}.png", "after": f"{b}.png", "better": "after"}
        for a, b in (("noisy", "flat"), ("flat", "noisy"))
    ]
    good, bad = write_labels(tmp_path, pairs=rows).pairs
    assert real_looks.decide(good, ()).mesh_before
    assert real_looks.decide(good, ()).mesh_after
    verdict = real_looks.decide(bad, ())
    assert not verdict.mesh_before
    assert not verdict.mesh_after
    assert "original was kept" in verdict.why_before
    stages["detector"] = OutlineDetector()  # finds none in a black picture's place
    stages["reconstructor"] = type("Never", (), {"name": "never", "reconstruct": refuse_all})()
    assert real_looks.decide(good, ()).why_after == "No mesh was found."


def refuse_all(self, image, hand, params):
    from handrefiner_ext.types import Refusal

    return Refusal(hand.box, "None fits.")


def test_what_is_not_known_counts_half_in_the_auc():
    def rate(label, quality, found=1, abstained=False):
        label = Label("single", "a", Path(), "ai", label=label)
        return "singles", label, real_looks.Look((), found, 0, None, quality, abstained)

    seen = [rate("good", 0.9), rate("malformed", 0.1), rate("malformed", None, found=0)]
    figures, _ = real_figures.report_quality(seen)
    assert figures["quality_singles_auc"] == 1.0
    seen += [rate("good", 0.2, abstained=True), rate("good", 0.3)]
    figures, _ = real_figures.report_quality(seen)
    assert figures["quality_singles_auc"] == pytest.approx((2 + 1.5 + 1) / 6)
    assert figures["quality_singles_abstained"] == pytest.approx(1 / 5)
    assert figures["quality_singles_good_below"] == pytest.approx(1 / 3)


def test_a_judge_that_could_not_tell_abstains():
    assert real_looks.abstains(None)
    assert real_looks.abstains(Quality(0.4, doubt="It is blurred."))
    assert not real_looks.abstains(Quality(0.4))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Pictures of the open hand with labels: one hand, two, none, a close-up, a pair."""
    folder = tmp_path_factory.mktemp("rendered")
    for number, places in enumerate((((140, 128, 110),), ((70, 128, 90), (190, 128, 90)), ())):
        scene = make_scene(
            generator("train", 9), 256, 256, tuple(Placement(*place) for place in places)
        )
        save(folder, f"hands_{number}", scene.image)
    one = np.asarray(Image.open(folder / "hands_0.png"))
    save(folder, "blurred", cv2.GaussianBlur(one, (0, 0), 3))
    pair = {"name": "pair", "before": "blurred.png", "after": "hands_0.png", "better": "after"}
    write_labels(
        folder,
        whole=[
            {"name": "hands_0", "style": "ai", "hands": 1},
            {"name": "hands_1", "style": "photo", "hands": 2},
            {"name": "not there", "style": "photo", "hands": 2},
        ],
        none=[{"name": "hands_2"}],
        single=[{"name": "b", "file": "hands_0.png", "style": "ai", "label": "good"}],
        pairs=[{**pair, "before_is": "malformed", "after_is": "good"}],
    )
    return folder


@pytest.mark.slow  # two minutes on a busy machine; each part is tested by itself above
def test_the_benchmark_measures_every_part_of_a_folder(rendered, tmp_path):
    done = run(rendered, "--jobs", "2", "--json", str(tmp_path / "f.json"), "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "1 pictures are missing: not there" in done.stdout
    said = json.loads((tmp_path / "f.json").read_text("utf-8"))
    figures = said["figures"]
    assert figures["whole_ai_found"] == figures["whole_photo_found"] == 1.0
    assert figures["whole_all_false"] == 0.0
    assert figures["close_all_good_found"] == 1.0
    assert figures["search_one_hand_calls"] >= 2
    assert figures["search_all_cpu_ms"] > 0
    assert figures["steady_all, none"] == 1.0
    parts = [row["part"] for row in said["rows"]]
    expected = {"whole": 2, "none": 1, "singles": 1, "pairs": 3, "steady": 3, "speed": 3}
    assert {part: parts.count(part) for part in expected} == expected
    assert len(list(tmp_path.glob("whole_hands_*.png"))) == 2
    one = next(row for row in said["rows"] if row["name"] == "b" and row["part"] == "singles")
    assert 0 < one["quality"] < 1


def test_parameters_reach_the_search(rendered, tmp_path):
    options = ("--only", "whole", "--jobs", "1", "--json", str(tmp_path / "f.json"))
    done = run(rendered, *options, "--set", "min_hand_size=512")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "f.json").read_text("utf-8"))["figures"]
    assert figures["whole_ai_found"] == 0.0


@pytest.mark.parametrize(
    "options",
    [("--only", "all"), ("--set", "tiles"), ("--set", "tile=on"), ("--set", "tiles=maybe")],
)
def test_wrong_use_is_answered_with_a_usage_error(rendered, options, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(BENCHMARK), "--pictures", str(rendered), *options])
    with pytest.raises(SystemExit) as stopped:
        real.main()
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err


HANDS_OF_CASES = {
    "background_smeared.jpg": ((172, 232, 256, 318), (790, 1100, 945, 1320)),
    "false_hand_on_anime_face.webp": ((300, 285, 400, 390),),
    "false_hand_splash.jpg": ((254, 580, 362, 668), (530, 722, 645, 810)),
    "neighbour_hand_erased.jpg": ((124, 40, 300, 130), (165, 104, 330, 195), (371, 277, 570, 442)),
    "one_hand_found_twice.jpg": ((425, 258, 612, 372),),
    "rock_becomes_hand.jpg": ((383, 590, 428, 645), (538, 595, 602, 655)),  # both in pockets
}
MISSED_TODAY = {
    "false_hand_splash.jpg",
    "neighbour_hand_erased.jpg",
    "rock_becomes_hand.jpg",
}
FALSE_TODAY = {"false_hand_splash.jpg"}
"""Whoever mends one takes it out."""


@cache
def look_at_case(name):
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"{path} is not here; HANDREFINER_CASES may name the folder")
    boxes = tuple(Box(*box) for box in HANDS_OF_CASES[name])
    return real_looks.look(Label("whole", name, path, "ai", len(boxes), boxes=boxes), ())


def expect_failure(request, reason):
    request.applymarker(pytest.mark.xfail(strict=True, reason=reason))


@pytest.mark.parametrize("name", HANDS_OF_CASES)
def test_nothing_but_hands_is_found_in_a_reported_picture(name, request):
    if name in FALSE_TODAY:
        expect_failure(request, "something else is taken for a hand")
    assert look_at_case(name).false == 0


@pytest.mark.parametrize("name", HANDS_OF_CASES)
def test_every_hand_of_a_reported_picture_is_found(name, request):
    if name in MISSED_TODAY:
        expect_failure(request, "a hand is missed")
    assert look_at_case(name).found == len(HANDS_OF_CASES[name])


def test_the_list_of_public_pictures_can_be_read():
    path = BENCHMARK.parent / "data" / "real_pictures.json"
    rows = json.loads(path.read_text("utf-8"))
    whole, none = rows["whole"], rows["none"]
    assert len(whole) + len(none) >= 60
    assert {row["style"] for row in whole} == {"photo", "ai", "anime", "line"}
    assert all(row["hands"] > 0 for row in whole)
    assert all(row["hands"] == 0 for row in none)
    assert all("+" in row["source"] and row["licence"] for row in (*whole, *none))
    assert len({row["name"] for row in (*whole, *none)}) == len(whole) + len(none)


@pytest.fixture(scope="module")
def crops():
    """Labels of the real hands that lie beside the project; the others need repositories."""
    if not (CROPS / "labels.json").is_file():
        pytest.skip(f"{CROPS} is not here; HANDREFINER_REAL_HANDS may name the folder")
    return read_labels([CROPS])


@pytest.mark.slow  # a hundred pictures
def test_close_ups_are_found_no_less_often_than_they_were(crops):
    """Each share is the measured one; it goes up with what is mended."""
    parts = {"single": "singles", "before": "pairs", "after": "pairs"}
    labels = crops.of_kind(*parts)
    assert len(labels) >= 80
    seen = [(parts[label.kind], label, real_looks.look(label, ())) for label in labels]
    figures, _ = real_figures.report_close_ups(seen)
    assert figures["close_all_good_found"] >= 0.95
    assert figures["close_all_malformed_found"] >= 0.9
    assert figures["close_all_good_side"] >= 0.85  # 24 of 27


@pytest.fixture(scope="module")
def verdicts_on_worse(crops):
    worse = [pair for pair in crops.pairs if pair.better == "before"]
    assert worse
    return [real_looks.decide(pair, ()) for pair in worse]


def test_a_worse_hand_is_not_taken_with_the_mesh_of_the_picture(verdicts_on_worse):
    assert not any(verdict.mesh_before for verdict in verdicts_on_worse)


def test_a_worse_hand_is_not_taken_with_its_own_mesh(verdicts_on_worse):
    assert not any(verdict.mesh_after for verdict in verdicts_on_worse)
