"""The hand editor's edits: whatever is dragged, a hand with five fingers within its limits."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrefiner_ext.errors import InvalidParameter
from handrefiner_ext.hands.editing import EDITS, describe_edited, edit
from handrefiner_ext.hands.records import read_hand, shorten_hand
from handrefiner_ext.mesh.open_hand.kinematics import Pose, load_kinematics
from handrefiner_ext.mesh.open_hand.posing import ANGLE_NAMES, build_mesh, list_shapes
from handrefiner_ext.topology import BONES, FINGERS, JOINT_NAMES, MIDDLE_MCP, PALM, WRIST
from handrefiner_ext.types import HandPose

SIZE = (700, 900)
ANATOMY = load_kinematics().anatomy


def pose_of(side="right", turn=(0.2, -0.4, 0.3), **degrees):
    radians = {name: math.radians(value) for name, value in degrees.items()}
    pose = HandPose(side, (400.0, 500.0), 1800.0, turn, radians, {"finger_length": 0.3})
    return edit(pose, {}, SIZE).pose


SIDES = pytest.mark.parametrize("side", ["left", "right"])


def joints_of(pose):
    return build_mesh(pose, SIZE).joints_2d


def after(pose, **do):
    return edit(pose, do, SIZE)


def bone_lengths(pose):
    """Between the joints in which the bones turn, metres; detectors see them a little beside."""
    free = np.array([pose.angles.get(name, 0.0) for name in ANGLE_NAMES])
    shapes = np.array([pose.shapes.get(name, 0.0) for name in list_shapes()])
    posed = load_kinematics().pose_skeleton(
        Pose(np.eye(3), 1.0, np.zeros(2), 0.0, np.clip(free, ANATOMY.low, ANATOMY.high), shapes)
    )
    return np.array([np.linalg.norm(posed.joints[b] - posed.joints[a]) for a, b in BONES])


def within_limits(pose):
    angles = np.array([pose.angles.get(name, 0.0) for name in ANGLE_NAMES])
    return bool(((angles >= ANATOMY.low - 1e-3) & (angles <= ANATOMY.high + 1e-3)).all())


# --- dragging


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([name for name in JOINT_NAMES if not name.endswith(("mcp", "cmc", "wrist"))]),
    st.sampled_from(["left", "right"]),
)
def test_a_joint_arrives_where_it_can_be(seed, joint, side):
    chance = np.random.default_rng(seed)
    goal = dict(zip(ANGLE_NAMES, chance.uniform(ANATOMY.low, ANATOMY.high), strict=True))
    start = pose_of(side, tuple(chance.normal(0, 0.5, 3)))
    number = JOINT_NAMES.index(joint)
    to = joints_of(replace(start, angles=goal))[number]
    edited = after(start, drag={"joint": joint, "to": to.tolist()})
    assert np.linalg.norm(joints_of(edited.pose)[number] - to) < 2.0
    assert not edited.clamped


@SIDES
@pytest.mark.parametrize("joint", [JOINT_NAMES[number] for number in PALM])
def test_a_joint_of_the_palm_always_arrives_and_takes_the_hand_along(side, joint):
    start, number = pose_of(side), JOINT_NAMES.index(joint)
    for to in ([420.0, 480.0], [100.0, 100.0], [800.0, 650.0]):
        edited = after(start, drag={"joint": joint, "to": to})
        assert np.linalg.norm(joints_of(edited.pose)[number] - to) < 2.0
        assert np.allclose(bone_lengths(edited.pose), bone_lengths(start), atol=1e-4)


def test_dragging_a_fingertip_moves_no_other_finger_and_not_the_palm():
    start = pose_of()
    to = (joints_of(start)[8] + (20, 30)).tolist()
    ended = joints_of(after(start, drag={"joint": "index_tip", "to": to}).pose)
    others = [number for number in range(21) if number not in FINGERS["index"][1:]]
    assert np.abs(ended - joints_of(start))[others].max() < 0.1
    assert np.linalg.norm(ended[8] - to) < 2.0


def test_a_tip_that_is_dragged_too_far_stays_on_its_finger_and_this_is_said():
    start = pose_of()
    edited = after(start, drag={"joint": "index_tip", "to": [5000, -4000]})
    assert edited.clamped
    assert np.allclose(bone_lengths(edited.pose), bone_lengths(start), atol=1e-4)


def test_dragging_a_little_bends_a_little():
    start = pose_of()
    tip = joints_of(start)[12]
    near = after(start, drag={"joint": "middle_tip", "to": (tip + np.array([3, 2])).tolist()}).pose
    bent = [abs(near.angles.get(name, 0.0) - start.angles.get(name, 0.0)) for name in ANGLE_NAMES]
    assert max(bent) < math.radians(15)


def test_dragging_on_from_the_same_start_does_not_depend_on_the_way():
    start = pose_of()
    to = (joints_of(start)[8] + (15, 40)).tolist()
    again = after(start, drag={"joint": "index_tip", "to": to}).pose
    assert again == after(start, drag={"joint": "index_tip", "to": to}).pose


def test_several_joints_are_pulled_together():
    start = pose_of()
    goal = after(start, gesture="victory").pose
    names = ("thumb_tip", "ring_tip", "little_tip")
    pins = {name: joints_of(goal)[JOINT_NAMES.index(name)].tolist() for name in names}
    ended = joints_of(after(start, drag_all=pins).pose)
    for name, place in pins.items():
        assert np.linalg.norm(ended[JOINT_NAMES.index(name)] - place) < 2.0


def test_two_pins_on_the_palm_say_how_large_the_hand_is():
    start = pose_of()
    wrist, knuckle = joints_of(start)[[WRIST, MIDDLE_MCP]]
    far = wrist + 1.5 * (knuckle - wrist)
    pins = {"wrist": wrist.tolist(), "middle_mcp": far.tolist()}
    edited = after(start, drag_all=pins)
    assert not edited.clamped
    assert 1.2 < edited.pose.scale / start.scale < 1.7


places = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2)
numbers = st.floats(-1e5, 1e5)
wishes = st.one_of(
    st.fixed_dictionaries(
        {
            "drag": st.fixed_dictionaries({"joint": st.sampled_from(JOINT_NAMES), "to": places}),
        }
    ),
    st.fixed_dictionaries(
        {"drag_all": st.dictionaries(st.sampled_from(JOINT_NAMES), places, min_size=1)}
    ),
    st.fixed_dictionaries({"move": places}),
    st.fixed_dictionaries({"scale": st.floats(1e-6, 1e6)}),
    *(st.fixed_dictionaries({name: numbers}) for name in ("spin", "roll", "tilt", "wrist_length")),
    st.just({"flip": True}),
    st.fixed_dictionaries({"side": st.sampled_from(["left", "right"])}),
    st.fixed_dictionaries({"gesture": st.sampled_from(["fist", "thumb up", "ok"])}),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(wishes, min_size=1, max_size=4), st.sampled_from(["left", "right"]))
def test_whatever_is_asked_for_it_stays_a_hand_and_the_record_says_all(asked, side):
    pose = pose_of(side)
    lengths = bone_lengths(pose)
    for said in asked:
        edited = edit(pose, said, SIZE)
        answer = describe_edited(edited, SIZE, 1)
        pose = read_hand(json.loads(json.dumps(answer["hand"])), "hand")
        assert shorten_hand(pose) == answer["hand"]
        mesh = build_mesh(pose, SIZE)
        assert np.isfinite(mesh.vertices).all()
        assert within_limits(pose)
        assert np.allclose(bone_lengths(pose), lengths, atol=1e-4)
        assert np.abs(mesh.joints_2d - answer["joints"]).max() <= 0.006
        shown = np.array(answer["vertices"])[:, :2]
        assert np.abs(mesh.camera.project(mesh.vertices) - shown).max() < 0.06


# --- moving and turning


@SIDES
@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.2, -0.4, 0.3), (1.0, 2.0, -0.5)])
def test_flipping_twice_is_nothing_and_once_shows_the_other_side(side, turn):
    start = pose_of(side, turn)
    once = after(start, flip=True).pose
    twice = after(once, flip=True).pose
    assert np.abs(joints_of(twice) - joints_of(start)).max() < 0.1
    assert _facing(once) == -_facing(start)
    middle = [joints_of(pose)[list(PALM)].mean(axis=0) for pose in (start, once)]
    assert np.allclose(*middle, atol=0.1)


def _facing(pose):
    """The sign of the palm's turn in the picture, which the side and the face decide."""
    wrist, index, little = joints_of(pose)[[0, 5, 17]]
    return math.copysign(1.0, np.linalg.det([index - wrist, little - wrist]))


@SIDES
def test_the_other_side_twice_is_nothing_and_once_is_the_mirror_image_in_place(side):
    start = pose_of(side)
    other = "left" if side == "right" else "right"
    once = after(start, side=other).pose
    assert once.handedness == other
    assert after(start, side=side).pose.angles == start.angles
    assert np.allclose(bone_lengths(once), bone_lengths(start), atol=1e-6)
    assert _facing(once) == -_facing(start)
    twice = after(once, side=side).pose
    assert np.abs(joints_of(twice) - joints_of(start)).max() < 0.1
    arm = [joints_of(p)[MIDDLE_MCP] - joints_of(p)[WRIST] for p in (start, once)]
    assert np.allclose(*arm, atol=0.1)


@SIDES
def test_moving_scaling_and_spinning_do_what_they_say(side):
    start = pose_of(side)
    joints = joints_of(start)
    assert np.allclose(
        joints_of(after(start, move=[7, -5]).pose), joints + np.array([7, -5]), atol=0.01
    )
    middle = joints[list(PALM)].mean(axis=0)
    scaled = joints_of(after(start, scale=1.25).pose)
    assert np.allclose(scaled, middle + 1.25 * (joints - middle), atol=0.1)
    spun = joints_of(after(start, spin=90).pose)
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    assert np.allclose(spun, joints[0] + (joints - joints[0]) @ quarter.T, atol=0.2)


@SIDES
def test_tilting_brings_the_fingertips_nearer_and_rolling_keeps_the_arm(side):
    start = pose_of(side, (0.0, 0.0, 0.0))
    before, tilted = (build_mesh(p, SIZE) for p in (start, after(start, tilt=30).pose))
    ahead = [mesh.joints[12, 2] - mesh.joints[0, 2] for mesh in (before, tilted)]
    assert ahead[1] < ahead[0] - 0.05
    rolled = joints_of(after(start, roll=40).pose)
    arm = before.joints_2d[MIDDLE_MCP] - before.joints_2d[WRIST]
    assert np.allclose(rolled[MIDDLE_MCP] - rolled[WRIST], arm, atol=0.2)


def test_a_longer_wrist_moves_the_stub_and_nothing_else():
    start = pose_of()
    edited = after(start, wrist_length=3)
    short, long = build_mesh(start, SIZE), build_mesh(edited.pose, SIZE)
    moved = np.abs(short.vertices - long.vertices).max(axis=1) > 1e-3
    assert 20 < moved.sum() < 100
    assert np.allclose(short.joints, long.joints, atol=1e-5)
    assert edited.pose.wrist_length == 3
    assert after(start, wrist_length=99).clamped


def test_a_gesture_is_that_of_the_library_and_its_place_stays():
    start = pose_of()
    edited = after(start, gesture="Victory").pose
    assert edited.wrist == start.wrist
    assert edited.angles["ring_pip_flexion"] > 0.8


# --- adding, and what is remembered


@SIDES
def test_a_hand_is_added_where_it_is_wanted(side):
    edited = after(None, add={"at": [450, 300], "size": 240, "side": side})
    mesh = build_mesh(edited.pose, SIZE)
    assert np.allclose(mesh.joints_2d[list(PALM)].mean(axis=0), (450, 300), atol=0.1)
    assert mesh.size_px == pytest.approx(240, abs=0.5)
    assert edited.pose.old == ()
    assert not mesh.is_known


def test_the_first_edit_remembers_where_the_hand_lay_and_later_ones_keep_that():
    start = pose_of()
    assert start.old is None
    assert build_mesh(start, SIZE).is_known
    once = after(start, move=[50, 0]).pose
    twice = after(once, move=[90, 0]).pose
    assert once.old == twice.old
    x0, y0, x1, y1 = once.old
    joints = joints_of(start)
    assert (joints >= (x0, y0)).all()
    assert (joints <= (x1, y1)).all()
    assert not build_mesh(twice, SIZE).is_known


def test_an_edit_of_nothing_shows_the_hand_and_is_none():
    start = pose_of()
    assert edit(start, {}, SIZE).pose == start


def test_a_step_takes_little_time():
    start = pose_of()
    times = []
    for number in range(12):
        begun = time.thread_time()
        to = [300 + 30 * number, 200]
        json.dumps(describe_edited(after(start, drag={"joint": "index_tip", "to": to}), SIZE, 1))
        times.append(time.thread_time() - begun)
    # About 30 ms of one core, most of it for tips that cannot arrive.
    assert sorted(times)[6] < 0.1


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (None, "do = None"),
        ({"drag": {}, "move": [0, 0]}, "do = "),
        ({"explode": 1}, "must be an object with one of drag"),
        ({"drag": {"joint": "index_tip"}}, 'drag needs "joint"'),
        ({"drag": {"joint": "sixth_tip", "to": [1, 2]}}, "must be one of wrist, thumb_cmc"),
        ({"drag": {"joint": "index_tip", "to": [1, float("nan")]}}, "2 finite numbers"),
        ({"drag": {"joint": "index_tip", "to": [1, 2, 3]}}, "2 finite numbers"),
        ({"drag_all": []}, "names of joints"),
        ({"drag_all": {}}, "names of joints"),
        ({"move": "far"}, "move must be 2 finite numbers"),
        ({"scale": 0}, "above 0"),
        ({"scale": True}, "finite"),
        ({"spin": "left"}, "spin must be 1 finite"),
        ({"roll": 1e99}, "roll must be 1 finite"),
        ({"flip": 2}, "must be true"),
        ({"side": "middle"}, "left or right"),
        ({"side": ["left"]}, "left or right"),
        ({"gesture": 7}, "must be a name"),
        ({"gesture": "no such"}, "does not exist"),
        ({"wrist_length": None}, "finite"),
        ({"add": {"at": [1, 2]}}, "add needs"),
        ({"add": {"at": [1, 2], "size": -3}}, "above 0"),
        ({"add": {"at": [1, 2], "size": 30, "side": {}}}, "left or right"),
    ],
)
def test_what_is_no_edit_is_a_sentence(said, sentence):
    with pytest.raises(InvalidParameter, match=sentence.replace("(", r"\(")):
        edit(pose_of(), said, SIZE)


def test_every_edit_but_adding_needs_a_hand():
    for name in EDITS:
        with pytest.raises(InvalidParameter, match="hand is missing"):
            edit(None, {name: 1}, SIZE)


# --- records


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20), max_size=25), st.lists(st.floats(-2, 2), max_size=5))
def test_a_short_record_is_the_same_hand(degrees, shapes):
    named = dict(zip(ANGLE_NAMES, map(math.radians, degrees), strict=False))
    said = {"side": "left", "wrist": [10, 20], "scale": 900, "angles": degrees, "shapes": shapes}
    pose = read_hand(said, "hand")
    assert pose.angles == named
    again = read_hand(shorten_hand(pose), "hand")
    for name in ANGLE_NAMES:
        assert again.angles.get(name, 0.0) == pytest.approx(pose.angles.get(name, 0.0), abs=1e-4)


def test_the_record_of_a_hand_is_short():
    pose = after(pose_of(), gesture="victory").pose
    assert len(json.dumps(shorten_hand(pose), separators=(",", ":"))) < 350


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"old": [1, 2, 3]}, "old must be 4 finite numbers"),
        ({"old": [5, 5, 5, 9]}, "old must be x0, y0, x1, y1"),
        ({"old": None}, "old must be 4"),
        ({"wrist_length": 0}, "a factor from 0.2 to 6"),
        ({"wrist_length": "long"}, "wrist_length must be 1 finite"),
        ({"angles": [0.0] * 26}, "has 26 numbers; it may have 25"),
        ({"angles": ["x"]}, "finite numbers"),
        ({"shapes": [1, 2, 3, 4, 5, 6]}, "it may have 5"),
    ],
)
def test_what_is_no_record_is_a_sentence(more, sentence):
    said = {"side": "left", "wrist": [1, 2], "scale": 500, **more}
    with pytest.raises(InvalidParameter, match=sentence):
        read_hand(said, "pose, hand 1")
