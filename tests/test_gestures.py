"""Gestures: each is a hand, hands take them on where they are, and people add their own."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handrefiner_ext.cli import main
from handrefiner_ext.errors import InvalidParameter, PictureError
from handrefiner_ext.hands import gestures
from handrefiner_ext.hands.gesture_pictures import draw_gesture
from handrefiner_ext.hands.gestures import (
    find_gesture,
    give_gestures,
    load_shipped,
    parse_gestures,
)
from handrefiner_ext.hands.posed import describe_poses
from handrefiner_ext.knobs import coerce
from handrefiner_ext.mesh.open_hand.kinematics import load_kinematics
from handrefiner_ext.mesh.open_hand.posing import ANGLE_NAMES, build_mesh
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import NO_GESTURE, hints, read_fingers, refine
from handrefiner_ext.registry import AUTO, RENDERERS
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import HandPose, ModelHome

EXAMPLE = Path(__file__).parent.parent / "examples" / "badly_drawn_hand.png"
SIZE = (400, 400)
NAMES = tuple(load_shipped())
WANTED = (
    *("open palm", "relaxed", "fist", "pointing", "thumb up", "thumb down", "victory", "ok"),
    *("rock", "pinch", "hold a cup", "hold a stick", "hold a phone", "one", "two", "three"),
    *("four", "crossed fingers", "wave"),
)
RADII_MM = ((11, 10, 8.5), (9, 8, 7), (9, 8.2, 7.2), (8.6, 7.8, 6.8), (7.8, 7, 6.2))
"""Of the segments of thumb to little finger, base to tip; the open hand's own at rest."""
PRESSED_MM = 2.5
"""How far skin gives way where two fingers touch."""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A file of the user's own gestures in a fresh place."""
    place = tmp_path / "settings" / "gestures.json"
    monkeypatch.setenv(gestures.PLACE_VARIABLE, str(place))
    return place


def pose_of(name, side="right", turn=(0.1, 0.4, -0.3)):
    base = HandPose(side, (200.0, 300.0), 1500.0, turn, {}, {})
    return find_gesture(name).give_to(base)


def mesh_of(name, side="right", **more):
    return build_mesh(pose_of(name, side, **more), SIZE)


# --- the library


def test_every_gesture_that_people_ask_for_is_there():
    assert set(WANTED) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_gesture_is_within_what_a_hand_can_do(name):
    anatomy = load_kinematics().anatomy
    angles = find_gesture(name).angles
    for place, key in enumerate(ANGLE_NAMES):
        low, high = anatomy.low[place], anatomy.high[place]
        assert low - 1e-6 <= angles.get(key, 0.0) <= high + 1e-6, key


def distance(a, b, c, d):
    """The least distance of the segments ab and cd."""
    first = a + np.linspace(0, 1, 60)[:, None] * (b - a)
    second = c + np.linspace(0, 1, 60)[:, None] * (d - c)
    return np.linalg.norm(first[:, None] - second[None], axis=-1).min()


@pytest.mark.parametrize("name", NAMES)
def test_no_finger_goes_through_another(name):
    joints = 1000.0 * mesh_of(name).joints
    chains = joints[1:].reshape(5, 4, 3)
    for one in range(5):
        for other in range(one + 1, 5):
            for i in range(3):
                for j in range(3):
                    if i == j == 0 or (one == 0 and i == 0):  # side by side in the palm
                        continue
                    apart = distance(*chains[one, i : i + 2], *chains[other, j : j + 2])
                    allowed = RADII_MM[one][i] + RADII_MM[other][j] - PRESSED_MM
                    assert apart > allowed - 1.0, (one, i, other, j)


def test_fingers_that_go_through_each_other_would_be_found():
    angles = {"index_mcp_abduction": -0.43, "middle_mcp_abduction": 0.43}
    joints = 1000.0 * build_mesh(HandPose("right", (0, 0), 1e3, (0, 0, 0), angles, {}), SIZE).joints
    chains = joints[1:].reshape(5, 4, 3)
    nearest = min(
        distance(*chains[1, i : i + 2], *chains[2, j : j + 2]) for i in range(3) for j in (1, 2)
    )
    assert nearest < RADII_MM[1][2] + RADII_MM[2][2] - PRESSED_MM - 1.0


def reach(name):
    """How far each fingertip is from the wrist, in shares of the open palm's."""
    joints, flat = (mesh_of(n).joints for n in (name, "open palm"))
    tips = [4, 8, 12, 16, 20]
    far = [np.linalg.norm(j[tips] - j[0], axis=1) for j in (joints, flat)]
    return far[0] / far[1]


@pytest.mark.parametrize(
    ("name", "straight"),
    [
        ("fist", ""),
        ("pointing", "index"),
        ("one", "index"),
        ("victory", "index middle"),
        ("two", "index middle"),
        ("three", "index middle ring"),
        ("four", "index middle ring little"),
        ("rock", "index little"),
        ("call me", "little"),
        ("thumb up", ""),
        ("open palm", "index middle ring little"),
    ],
)
def test_the_right_fingers_are_straight(name, straight):
    for finger, share in zip(("index", "middle", "ring", "little"), reach(name)[1:], strict=True):
        assert (share > 0.95) == (finger in straight.split()), (finger, share)


def tips_apart_mm(name, first, second):
    joints = 1000.0 * mesh_of(name).joints
    return float(np.linalg.norm(joints[first] - joints[second]))


@pytest.mark.parametrize("name", ["ok", "pinch"])
def test_thumb_and_index_touch(name):
    assert 10.0 < tips_apart_mm(name, 4, 8) < 18.0


def test_victory_spreads_what_two_holds_together():
    assert tips_apart_mm("victory", 8, 12) > 1.25 * tips_apart_mm("two", 8, 12)


@pytest.mark.parametrize("name", NAMES)
def test_a_gesture_can_be_drawn_and_left_is_the_mirror_of_right(name):
    picture = draw_gesture(find_gesture(name), RENDERERS.build(AUTO), 96)
    assert picture.shape == (96, 96, 3)
    assert 0.08 < (picture != 246).any(axis=2).mean() < 0.8
    right = mesh_of(name, "right", turn=(0.0, 0.0, 0.0))
    left = mesh_of(name, "left", turn=(0.0, 0.0, 0.0))
    if find_gesture(name).thumb is None:
        np.testing.assert_allclose(left.joints * (-1, 1, 1), right.joints, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("turn", [(0.2, 0.1, 1.5), (0.0, 2.5, -1.4), (1.0, 1.0, 1.0)])
def test_the_thumb_points_as_far_up_or_down_as_rolling_the_arm_allows(side, turn):
    for name, sign in (("thumb up", -1), ("thumb down", 1)):
        mesh = mesh_of(name, side, turn=turn)
        arm = mesh.joints[9] - mesh.joints[0]
        arm = arm / np.linalg.norm(arm)
        before = build_mesh(HandPose(side, (200.0, 300.0), 1500.0, turn, {}, {}), SIZE).joints
        np.testing.assert_allclose(
            arm, (before[9] - before[0]) / np.linalg.norm(before[9] - before[0]), atol=0.08
        )
        thumb = mesh.joints[4] - mesh.joints[2]
        best = sign * thumb[1]
        for angle in np.linspace(0, 2 * np.pi, 73):
            turned = (
                thumb * np.cos(angle)
                + np.cross(arm, thumb) * np.sin(angle)
                + arm * (arm @ thumb) * (1 - np.cos(angle))
            )
            assert sign * turned[1] <= best + 1e-6


# --- the parameter


def test_a_name_counts_however_it_is_spelled():
    assert find_gesture(" Thumb_UP ").name == find_gesture("thumb-up").name == "thumb up"


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(InvalidParameter, match=r"gesture = 'wink' does not exist.*victory.*claw"):
        parse_gestures("1: wink")


@pytest.mark.parametrize("text", ["upside: fist", "0: fist", "1 2: fist"])
def test_hands_that_cannot_be_chosen_are_refused(text):
    with pytest.raises(InvalidParameter, match="hands = "):
        parse_gestures(text)


def test_a_parameter_of_endless_parts_is_refused_at_once():
    assert len(parse_gestures("1: fist;" * 99)) == 99
    with pytest.raises(InvalidParameter, match="more than 100 parts"):
        parse_gestures("9: fist;" * 1_000_000)


@pytest.mark.parametrize("name", ["gesture", "hands", "occlusion_order", "pose", "prompt"])
def test_a_text_of_many_megabytes_is_refused_before_it_is_taken_apart(name):
    field = next(field for field in fields(RefineParams) if field.name == name)
    with pytest.raises(InvalidParameter, match=f"{name} has 2000000 characters; at most 1000000"):
        coerce(field, "1," * 1_000_000)


def two_hands():
    """The meshes of a picture with a left and a right hand."""
    poses = {
        "handrefiner_pose": 1,
        "width": 400,
        "height": 400,
        "hands": [
            {"side": "left", "wrist": [100, 300], "scale": 900},
            {"side": "right", "wrist": [300, 300], "scale": 900},
        ],
    }
    picture = np.full((400, 400, 3), 90, np.uint8)
    params = RefineParams(pose=json.dumps(poses))
    return picture, params, build_stages(params, ModelHome())


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", ("", "")),
        ("fist", ("fist", "fist")),
        ("2: victory", ("", "victory")),
        ("left: ok; right: rock;", ("ok", "rock")),
        ("1: ok; fist", ("ok", "fist")),
        ("-1: fist", ("", "fist")),
        ("1,2: claw", ("claw", "claw")),
    ],
)
def test_the_hands_that_are_meant_take_it(text, given):
    picture, params, stages = two_hands()
    seen = hints(picture, RefineParams(pose=params.pose, gesture=text), stages)
    assert tuple(mesh.gesture for mesh in seen.meshes) == given
    assert not seen.notes
    plain = hints(picture, params, stages)
    for mesh, before in zip(seen.meshes, plain.meshes, strict=True):
        same = np.allclose(mesh.vertices, before.vertices)
        assert same == (not mesh.gesture)
        assert mesh.pose.wrist == before.pose.wrist
        assert mesh.pose.scale == before.pose.scale
        assert mesh.pose.turn == before.pose.turn
        np.testing.assert_array_equal(mesh.hand.landmarks, before.hand.landmarks)


def test_a_wish_that_means_no_hand_is_said():
    picture, params, stages = two_hands()
    seen = hints(picture, RefineParams(pose=params.pose, gesture="3: victory"), stages)
    assert seen.notes == (NO_GESTURE.format("'3: victory'"),)


def test_a_file_that_cannot_be_read_hinders_no_run_without_a_gesture(own):
    own.parent.mkdir()
    own.write_text("{")
    assert parse_gestures("") == ()
    with pytest.raises(InvalidParameter, match="is not JSON"):
        parse_gestures("fist")


def test_the_mask_covers_the_old_fingers_and_the_new():
    picture, params, stages = two_hands()
    before = hints(picture, params, stages)
    after = hints(picture, RefineParams(pose=params.pose, gesture="fist"), stages)
    assert after.maps.mask[before.maps.control > 0].all()
    assert after.maps.mask[after.maps.control > 0].all()


def test_a_depth_map_of_ones_own_has_no_fingers_to_move():
    picture, _, stages = two_hands()
    with pytest.raises(InvalidParameter, match="gesture and depth_in exclude each other"):
        hints(picture, RefineParams(gesture="fist"), stages, depth_in=picture[..., 0])


def test_a_wished_hand_is_not_held_back_by_the_judge():
    """The example's hand with four fingers up: no judge prefers a fist, but it was asked for."""
    picture = np.asarray(Image.open(EXAMPLE).convert("RGB"))
    params = RefineParams(gesture="victory", keep_best=True)
    result = refine(picture, params, build_stages(params, ModelHome()))
    (decision,) = result.decisions
    assert decision.refined
    joints = result.hints.meshes[0].joints_2d
    assert decision.after.mpjpe < 0.08, "and the hand is the wished one"
    assert joints.shape == (21, 2)


# --- people's own


def test_a_hand_in_a_picture_becomes_a_gesture_that_other_hands_take(own, capsys):
    assert main(["gestures", "add", "My Hand", str(EXAMPLE)]) == 0
    assert "my hand" in capsys.readouterr().out
    picture = np.asarray(Image.open(EXAMPLE).convert("RGB"))
    stages = build_stages(RefineParams(), ModelHome())
    seen = read_fingers(picture, RefineParams(), stages).angles
    for key, value in find_gesture("my_hand").angles.items():
        assert value == pytest.approx(seen[key], abs=0.001)
    blank, params, stages = two_hands()
    taken = hints(blank, RefineParams(pose=params.pose, gesture="1: my hand"), stages)
    for key, value in taken.meshes[0].pose.angles.items():
        assert value == pytest.approx(seen[key], abs=0.002)


def test_a_picture_without_a_hand_gives_no_gesture(tmp_path, capsys):
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "none.png")
    assert main(["gestures", "add", "x", str(tmp_path / "none.png")]) != 0
    assert "No hand was found" in capsys.readouterr().err
    with pytest.raises(PictureError):
        read_fingers(np.full((200, 200, 3), 99, np.uint8), RefineParams(), two_hands()[2])


def test_what_a_wished_pose_says_is_read_back_as_the_same_mesh():
    picture, params, stages = two_hands()
    seen = hints(picture, RefineParams(pose=params.pose, gesture="left: rock"), stages)
    again = RefineParams(pose=json.dumps(describe_poses(seen.meshes, *picture.shape[:2])))
    for mesh, same in zip(seen.meshes, hints(picture, again, stages).meshes, strict=True):
        np.testing.assert_allclose(mesh.joints_2d, same.joints_2d, atol=0.05)


def test_give_gestures_without_a_wish_changes_nothing():
    meshes = (mesh_of("rock"),)
    assert give_gestures(meshes, (), SIZE) == meshes
    assert os.environ[gestures.PLACE_VARIABLE]
