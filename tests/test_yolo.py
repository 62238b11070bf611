"""The detector `yolo`: boxes of a network from a file, believed where the landmarks agree.

The networks here are a few nodes that see what is red; `benchmarks/yolo.py` trains a real one.
"""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from detect_pictures import apart, drawn
from hypothesis import given
from hypothesis import strategies as st
from yolo_files import CELL, packed_float, varint, write_network

from handrefiner_ext.detect import yolo_networks
from handrefiner_ext.detect.litert import LitertDetector
from handrefiner_ext.detect.proposals import (
    PADDING,
    Letterbox,
    decode,
    list_hand_classes,
    to_proposals,
)
from handrefiner_ext.detect.yolo import YoloDetector
from handrefiner_ext.detect.yolo_networks import open_network, read_metadata
from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.params import RefineParams
from handrefiner_ext.stages import CACHE, DETECTORS, SAME_NETWORKS, build_stages
from handrefiner_ext.types import Box, ModelHome
from handrefiner_ext.weights.manifest import ADETAILER_HANDS, ANIME_HANDS

HAND = {0: "hand"}
SIZE = 1280
SIDE = 640
PLACE = (608, 736)
"""Middle of a cell of the network's grid in a picture of SIZE: its cells have 64 pixels there."""
WHOLE = RefineParams(tiles="off")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home in which no file of this machine is seen."""
    for name in ("HANDREFINER_MODELS", "HANDREFINER_WEBUI", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "models").mkdir()
    return ModelHome(models_dir=tmp_path / "models")


@pytest.fixture
def network(home):
    return write_network(home.models_dir / ANIME_HANDS.name, side=SIDE)


@pytest.fixture(scope="module")
def small_hand():
    """A picture with one hand, too small for the palm network, and the hand's landmarks."""
    scene = drawn(6, SIZE, SIZE, (*map(float, PLACE), 48.0))
    return scene.image, scene.hands[0].mesh.hand.landmarks


def ringed(image, place, inside):
    """The picture with a red ring that fills a cell but for a square of `inside` pixels."""
    marked, half = image.copy(), SIZE * CELL // SIDE // 2
    x, y = place
    kept = image[y - inside : y + inside, x - inside : x + inside]
    marked[y - half : y + half, x - half : x + half] = (255, 0, 0)
    marked[y - inside : y + inside, x - inside : x + inside] = kept
    return marked


def test_a_hand_that_the_palm_network_misses_is_found_where_the_file_sees_one(
    home, network, small_hand
):
    image, landmarks = small_hand
    marked = ringed(image, PLACE, 26)
    assert not LitertDetector().detect(marked, WHOLE).hands
    detector = YoloDetector(home)
    assert not detector.detect(image, WHOLE).hands  # nothing red, so nothing is proposed
    (hand,) = detector.detect(marked, WHOLE).hands
    assert apart(hand, landmarks) < 0.1


def test_a_box_in_which_no_hand_is_read_is_reported_and_not_believed(home, network, small_hand):
    image, _ = small_hand
    empty = cv2.GaussianBlur(image, (0, 0), 40.0)
    found = YoloDetector(home).detect(ringed(empty, PLACE, 2), WHOLE)
    assert not found.hands
    (refusal,) = found.refused
    assert "hand detector sees a hand here" in refusal.reason
    assert refusal.box == Box(576, 704, 640, 768)


def test_where_the_file_sees_nothing_the_answer_is_that_of_litert(home, network):
    image = drawn(9, 512, 512, (256.0, 256.0, 200.0)).image
    ours, theirs = YoloDetector(home).detect(image, WHOLE), LitertDetector().detect(image, WHOLE)
    assert len(ours.hands) == 1
    for mine, other in zip(ours.hands, theirs.hands, strict=True):
        np.testing.assert_array_equal(mine.landmarks, other.landmarks)


def test_auto_takes_the_file_where_it_is_and_says_so(home, caplog):
    CACHE.clear()
    assert build_stages(RefineParams(), home).detector.name == "litert"
    write_network(home.models_dir / ANIME_HANDS.name)
    with caplog.at_level(logging.INFO):
        stages = build_stages(RefineParams(), home)
    assert stages.detector.name == "yolo"
    assert f"with {home.models_dir / ANIME_HANDS.name}" in caplog.text
    assert not set(stages.fallbacks.detector_names) & set(SAME_NETWORKS)
    CACHE.clear()


def test_it_can_be_built_without_a_home_as_the_other_detectors(home, network, monkeypatch):
    monkeypatch.setenv("HANDREFINER_MODELS", str(home.models_dir))
    assert DETECTORS.build("auto").name == "yolo"
    network.unlink()
    assert DETECTORS.build("auto").name == "litert"


def test_without_a_file_the_user_is_told_how_to_get_one(home):
    with pytest.raises(BackendUnavailable, match="weights download anime_hands"):
        DETECTORS.build("yolo", home=home)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no ONNX file"),
        (b"<html>not found</html>", "is no"),
        (varint(7 << 3 | 2) + varint(9999) + b"x", "no whole ONNX file"),
    ],
)
def test_a_damaged_file_is_named_and_auto_goes_on_without_it(home, content, said, caplog):
    place = home.models_dir / ANIME_HANDS.name
    place.write_bytes(content)
    with pytest.raises(BackendUnavailable, match=said):
        YoloDetector(home)
    assert str(place) in caplog.text
    CACHE.clear()
    assert build_stages(RefineParams(), home).detector.name == "litert"
    CACHE.clear()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"Concat", b"Conc\x80t"),  # OpenCV 5.0 ends the process over this name
        (b"Reshape", b"Resh\xffpe"),
    ],
)
def test_a_damaged_network_never_ends_the_process(home, network, good, bad):
    content = network.read_bytes()
    assert good in content
    network.write_bytes(content.replace(good, bad))
    with pytest.raises(BackendUnavailable, match=r"cannot (be used|run)") as caught:
        open_network(network, home)
    assert str(network) in str(caught.value)


def test_a_network_that_crashes_is_tried_in_a_process_of_its_own(network, monkeypatch):
    for trial, said in (
        ("import os; os.kill(os.getpid(), 9)", "it makes OpenCV crash"),
        ("while True: pass", "longer than 1 s"),
    ):
        monkeypatch.setattr(yolo_networks, "TRIAL", trial)
        monkeypatch.setattr(yolo_networks, "LONGEST_TRIAL_S", 1.0)
        yolo_networks._try_apart.cache_clear()
        with pytest.raises(BackendUnavailable, match=said):
            open_network(network, ModelHome())


def test_an_output_that_is_none_of_yolo_is_refused_when_the_file_is_opened(home):
    place = write_network(home.models_dir / ANIME_HANDS.name, names="{0: 'hand', 1: 'face'}")
    names = b"{0: 'hand', 1: 'face'}"
    wrong = b"{0: 'hand'}".ljust(len(names))
    place.write_bytes(place.read_bytes().replace(names, wrong))
    with pytest.raises(BackendUnavailable, match=r"cannot be used .*shape"):
        YoloDetector(home)


@pytest.mark.parametrize(
    "names",
    ["{0: 'hand', 1: [", "{0: 'hand', 'a': 1}", "{[]: 1}", "[" * 90, "x\0     ", "-" * 9000],
)
def test_classes_that_cannot_be_read_are_said_in_words(tmp_path, names):
    content = write_network(tmp_path / "a.onnx", names="{0:'a'}".ljust(len(names))).read_bytes()
    path = tmp_path / "b.onnx"
    path.write_bytes(content.replace(b"{0:'a'}".ljust(len(names)), names.encode()))
    with pytest.raises(BackendUnavailable, match="its list of classes cannot be read"):
        open_network(path, ModelHome())


def test_a_file_that_finds_other_things_is_refused(home):
    write_network(home.models_dir / ANIME_HANDS.name, names="{0: 'face', 1: 'handbag'}")
    with pytest.raises(BackendUnavailable, match="finds face, handbag, but no hands"):
        YoloDetector(home)
    write_network(home.models_dir / ANIME_HANDS.name, names="{0: '\\x1b[31m%s'}" % ("a" * 9999))
    with pytest.raises(BackendUnavailable, match=r"x1b.*but no hands") as caught:
        YoloDetector(home)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_broken_file_does_not_hide_a_good_one(home, monkeypatch):
    (home.models_dir / ANIME_HANDS.name).write_bytes(b"broken")
    other = write_network(home.models_dir / "other.onnx")
    monkeypatch.setattr(
        "handrefiner_ext.detect.yolo.FILES", (ANIME_HANDS, type(ANIME_HANDS)("other.onnx", None))
    )
    assert YoloDetector(home)._yolo.origin == other


def test_files_of_adetailer_need_ultralytics(home):
    pytest.importorskip("torch")
    try:
        import ultralytics  # noqa: F401
    except ImportError:
        (home.models_dir / ADETAILER_HANDS[-1].name).write_bytes(b"PK")
        with pytest.raises(BackendUnavailable, match="pip install ultralytics"):
            YoloDetector(home)
    else:
        pytest.skip("ultralytics is installed; benchmarks/yolo.py proves that it is used")


def test_side_and_classes_are_read_from_the_metadata(tmp_path):
    path = write_network(tmp_path / "a.onnx", side=160, names="{0: 'face', 1: 'left_hand'}")
    network = open_network(path, ModelHome())
    assert (network.side, network.names) == (160, {0: "face", 1: "left_hand"})
    assert network.run(np.zeros((3, 160, 160), np.float32)).shape == (6, 25)


def test_metadata_are_found_behind_fields_of_every_kind(tmp_path):
    content = write_network(tmp_path / "a.onnx").read_bytes()
    assert read_metadata(packed_float(0.5) + varint(1 << 3 | 1) + bytes(8) + content)["names"]


@pytest.mark.parametrize("imgsz", ["[640, 640", "[0, 0]", "[99999, 1]", "['a']", "{}"])
def test_an_impossible_size_is_refused(tmp_path, imgsz):
    content = write_network(tmp_path / "a.onnx").read_bytes()
    wrong = content.replace(b"[320, 320]", imgsz.ljust(10).encode())
    path = tmp_path / "b.onnx"
    path.write_bytes(wrong)
    with pytest.raises(BackendUnavailable, match=r"b\.onnx cannot be used"):
        open_network(path, ModelHome())


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    corners=st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
)
def test_boxes_leave_a_letterbox_where_they_entered(height, width, corners):
    frame = Letterbox.around(np.zeros((height, width, 3), np.uint8), 96)
    box = np.array([corners]) * np.array([width, height, width, height])
    inside = box * frame.scale + np.tile(frame.shift, 2)
    np.testing.assert_allclose(frame.leave(inside), box, atol=1e-9)
    assert (inside >= -1e-9).all()
    assert (inside <= 96 + 1e-9).all()


def test_a_letterbox_keeps_the_shape_and_pads_with_grey():
    image = np.full((50, 100, 3), 200, np.uint8)
    entered = Letterbox.around(image, 64).enter(image)
    assert entered.shape == (3, 64, 64)
    np.testing.assert_allclose(entered[:, 16:48] * 255, 200, atol=1e-3)
    np.testing.assert_allclose(entered[:, :16] * 255, PADDING, atol=1e-3)
    np.testing.assert_allclose(entered[:, 48:] * 255, PADDING, atol=1e-3)


BOXES = np.array([[10.0, 10.0, 30.0, 30.0], [12.0, 10.0, 32.0, 30.0], [60.0, 60.0, 80.0, 90.0]])
SCORES = np.array([0.8, 0.9, 0.4])


def as_centres(boxes, *scores):
    """The output (4 + classes, n) of YOLOv8."""
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([middle.T, size.T, np.array(scores)])


def test_both_kinds_of_output_give_the_same_boxes_without_repetitions():
    rows = np.column_stack([BOXES, SCORES, np.zeros(3)])
    for output in (as_centres(BOXES, SCORES), rows):
        boxes, scores = decode(output, HAND, 0.3)
        np.testing.assert_allclose(boxes, BOXES[[1, 2]])
        np.testing.assert_allclose(scores, SCORES[[1, 2]])


def test_only_hands_of_enough_score_are_taken():
    names = {0: "face", 1: "hand"}
    output = as_centres(BOXES, [0.1, 0.1, 0.99], SCORES)
    boxes, scores = decode(output, names, 0.5)
    np.testing.assert_allclose(boxes, BOXES[[1]])
    np.testing.assert_allclose(scores, SCORES[[1]])
    rows = np.column_stack([BOXES, SCORES, [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(decode(rows, names, 0.3)[0], BOXES[[2]])


def test_numbers_that_are_none_are_no_boxes():
    broken = BOXES.copy()
    broken[1, 0] = np.nan
    boxes, _ = decode(as_centres(broken, SCORES), HAND, 0.3)
    np.testing.assert_allclose(boxes, BOXES[[0, 2]])


def test_another_shape_is_no_output_of_yolo():
    with pytest.raises(ValueError, match="shape"):
        decode(np.zeros((7, 3)), HAND, 0.3)


def test_boxes_are_cut_at_the_frame_and_those_outside_dropped():
    boxes = np.array([[-5.0, -5.0, 10.0, 10.0], [200.0, 0.0, 220.0, 10.0]])
    (proposal,) = to_proposals(boxes, np.array([0.9, 0.9]), 50, 100)
    assert proposal.box == Box(0, 0, 10, 10)


def test_hands_are_told_from_what_is_named_after_them():
    names = {0: "handbag", 1: "Hand", 2: "left_hand", 3: "beforehand", 4: "hands", 5: "face"}
    assert list_hand_classes(names) == [1, 2, 4]
