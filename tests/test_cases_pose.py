"""Hands from a pose or from OpenPose's keypoints, and both written for others."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from api_client import ask, make_client
from cli_runs import names, read, refine_folder, run
from hand_scenes import hold_tiny_backends, make_stages, picture_with
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import handrefiner_ext
from handrefiner_ext import pipeline
from handrefiner_ext.api.body import decode_picture, read_request, to_text
from handrefiner_ext.cli.commands import DONE, FAILED, WRONG_USAGE
from handrefiner_ext.errors import HandRefinerError, InvalidParameter
from handrefiner_ext.hands.posed import describe_openpose, describe_poses, draw_openpose, parse_pose
from handrefiner_ext.infotext import restore, to_infotext
from handrefiner_ext.mesh.open_hand.posing import ANGLE_NAMES, build_mesh, fit_pose
from handrefiner_ext.params import RefineParams
from handrefiner_ext.pictures import encode_png
from handrefiner_ext.topology import BONES
from handrefiner_ext.types import HandPose

SIZE = (300, 400)


def hand(side="right", wrist=(120.0, 240.0), **angles):
    turned = {name: math.radians(value) for name, value in angles.items()}
    return HandPose(side, wrist, 900.0, (0.1, 0.2, -0.1), turned)


FIST = dict.fromkeys([name for name in ANGLE_NAMES if name.endswith("flexion")], 35.0)
HANDS = (hand(), hand("left", (300.0, 240.0), index_mcp_flexion=40.0, ring_pip_flexion=60.0))


def meshes_of(*hands):
    return [build_mesh(each, SIZE) for each in hands]


def pose_text(*hands):
    return json.dumps(describe_poses(meshes_of(*hands), *SIZE))


# --- our own pose


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_pose_that_is_written_is_read_as_the_same_hand(side):
    (mesh,) = meshes_of(hand(side, index_mcp_flexion=40.0, thumb_ip_flexion=20.0))
    _, (again,) = parse_pose(json.dumps(describe_poses([mesh], *SIZE))).build(*SIZE)
    assert again.handedness == side
    np.testing.assert_allclose(again.joints_2d, mesh.joints_2d, atol=0.05)
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-4)


def test_a_hand_that_was_fitted_is_written_as_it_is():
    (given_mesh,) = meshes_of(hand(middle_pip_flexion=50.0))
    seen = pipeline.hints(
        np.full((*SIZE, 3), 90, np.uint8),
        RefineParams(pose=pose_text(hand(middle_pip_flexion=50.0))),
        make_stages(),
    )
    fitted = handrefiner_ext.mesh.open_hand.OpenHandReconstructor().reconstruct(
        np.zeros((*SIZE, 3), np.uint8), given_mesh.hand, RefineParams(outline=False)
    )
    assert fitted.pose is not None
    rebuilt = build_mesh(fitted.pose, SIZE)
    np.testing.assert_allclose(rebuilt.vertices, fitted.vertices, atol=1e-9)
    np.testing.assert_allclose(rebuilt.joints_2d, fitted.joints_2d, atol=1e-6)
    np.testing.assert_allclose(seen.meshes[0].joints_2d, given_mesh.joints_2d, atol=0.05)


def test_a_mesh_of_another_backend_is_written_as_the_open_hand_nearest_to_it():
    (mesh,) = meshes_of(hand(ring_mcp_flexion=30.0))
    foreign = replace(mesh, pose=None, backend="another")
    _, (again,) = parse_pose(json.dumps(describe_poses([foreign], *SIZE))).build(*SIZE)
    apart = np.linalg.norm(again.joints_2d - mesh.joints_2d, axis=1).mean() / mesh.size_px
    assert apart < 0.02


def test_an_angle_bends_its_finger_and_no_other():
    (straight,), (bent,) = meshes_of(hand()), meshes_of(hand(index_pip_flexion=80.0))
    moved = np.linalg.norm(bent.joints - straight.joints, axis=1)
    assert moved[[7, 8]].min() > 0.005
    assert np.delete(moved, [7, 8]).max() < 1e-9


def test_angles_stay_within_what_a_hand_can_do():
    (mesh,), (most,) = (
        meshes_of(hand(index_pip_flexion=100.0)),
        meshes_of(hand(index_pip_flexion=179.0)),
    )
    np.testing.assert_allclose(most.joints, mesh.joints)


def test_a_pose_is_scaled_to_the_picture_in_work():
    (mesh,) = meshes_of(hand())
    _, (twice,) = parse_pose(pose_text(hand())).build(2 * SIZE[0], 2 * SIZE[1])
    np.testing.assert_allclose(twice.joints_2d, 2 * mesh.joints_2d, atol=0.1)


def test_hands_of_a_pose_are_repainted_where_they_are_and_can_be_chosen():
    image = picture_with((), *SIZE)
    params = RefineParams(pose=pose_text(*HANDS), keep_best=False)
    result = pipeline.refine(image, params, make_stages())
    assert [mesh.hand.number for mesh in result.hints.meshes] == [1, 2]
    changed = (result.image != image).any(axis=2)
    assert changed[result.hints.maps.control > 0].any()
    assert not (changed & ~result.hints.maps.mask).any()
    only = pipeline.hints(image, RefineParams(pose=pose_text(*HANDS), hands="2"), make_stages())
    assert [mesh.handedness for mesh in only.meshes] == ["left"]


# --- OpenPose


def test_openpose_keypoints_that_are_written_are_read_as_the_same_hands():
    meshes = meshes_of(*HANDS)
    said = describe_openpose(meshes, *SIZE)
    (person,) = said["people"]  # a left and a right hand may be one person's
    assert len(person["hand_left_keypoints_2d"]) == len(person["hand_right_keypoints_2d"]) == 63
    assert (said["canvas_width"], said["canvas_height"]) == (400, 300)
    detection, again = parse_pose(json.dumps(said)).build(*SIZE)
    assert [hand.handedness for hand in detection.hands] == ["right", "left"]
    for mesh, fitted in zip(meshes, again, strict=True):
        apart = np.linalg.norm(fitted.joints_2d - mesh.joints_2d, axis=1).mean() / mesh.size_px
        assert apart < 0.03


def test_two_hands_of_one_side_are_two_people():
    said = describe_openpose(meshes_of(hand(), hand(wrist=(300.0, 240.0))), *SIZE)
    assert [bool(person["hand_right_keypoints_2d"]) for person in said["people"]] == [True, True]
    assert [person["hand_left_keypoints_2d"] for person in said["people"]] == [[], []]


def test_shares_of_the_picture_and_controlnets_list_are_read_too():
    said = describe_openpose(meshes_of(hand()), *SIZE)
    points = np.array(said["people"][0]["hand_right_keypoints_2d"]).reshape(21, 3) / (400, 300, 1)
    shares = {"people": [{"hand_right_keypoints_2d": points.ravel().tolist()}]}
    _, (in_pixels,) = parse_pose(json.dumps(said)).build(*SIZE)
    _, (in_shares,) = parse_pose(json.dumps([shares])).build(*SIZE)
    np.testing.assert_allclose(in_shares.joints_2d, in_pixels.joints_2d, atol=0.2)


def test_keypoints_that_are_missing_are_filled_by_what_a_hand_can_be():
    (mesh,) = meshes_of(hand())
    seen = np.ones(21, dtype=bool)
    seen[[4, 8, 12]] = False
    points = np.where(seen[:, None], mesh.joints_2d, 0.0)
    fitted = build_mesh(fit_pose(points, seen, "right"), SIZE)
    apart = np.linalg.norm(fitted.joints_2d - mesh.joints_2d, axis=1) / mesh.size_px
    assert apart[seen].mean() < 0.03
    assert apart.max() < 0.25


def test_the_keypoint_picture_is_the_one_that_openpose_models_know():
    meshes = meshes_of(hand())
    drawn = draw_openpose(meshes, *SIZE)
    joints = np.rint(meshes[0].joints_2d - 0.5).astype(int)
    for x, y in joints:
        np.testing.assert_array_equal(drawn[y, x], (0, 0, 255))  # blue dots
    hues = []
    for start, end in BONES[::4]:
        x, y = np.rint(0.5 * joints[start] + 0.5 * joints[end]).astype(int)
        colour = drawn[y, x]
        assert colour.max() == 255
        hues.append(int(cv2.cvtColor(colour[None, None], cv2.COLOR_RGB2HSV)[0, 0, 0]))
    assert hues == sorted(hues)  # round the colour wheel
    assert (drawn.max(axis=2) == 0).mean() > 0.9


# --- what is wrong


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "pose is not JSON"),
        ("{}", "neither a pose of HandRefiner"),
        ("[1, 2]", "neither a pose of HandRefiner"),
        ('{"handrefiner_pose": 9, "hands": []}', "has version 9; this HandRefiner reads 1"),
        ('{"handrefiner_pose": 1}', 'needs "hands"'),
        ('{"handrefiner_pose": 1, "hands": [{}]}', 'hand 1 needs "side"'),
        ('{"handrefiner_pose": 1, "hands": [{"side": "left", "wrist": [1]}]}', "2 finite numbers"),
        (
            '{"handrefiner_pose": 1, "hands": [{"side": "left", "wrist": [1, 2], "scale": 0}]}',
            "pixels per metre",
        ),
        (
            '{"handrefiner_pose": 1, "hands": [{"side": "left", "wrist": [1, 2], "scale": 9, '
            '"angles": {"nose": 1}}]}',
            "'nose' is not one of thumb_cmc_flexion",
        ),
        ('{"people": [{"hand_left_keypoints_2d": [1, 2]}]}', "63 finite numbers"),
        (json.dumps({"people": [{"hand_left_keypoints_2d": [0] * 63}]}), "8 keypoints are known"),
    ],
)
def test_what_is_no_pose_is_a_sentence(text, said):
    with pytest.raises(InvalidParameter, match=said):
        parse_pose(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["people", "hands", "side", "wrist", "scale", "turn", "angles", "handrefiner_pose"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(said=JSON)
def test_any_json_is_a_pose_or_a_sentence(said):
    with suppress(HandRefinerError):
        detection, meshes = parse_pose(json.dumps(said)).build(*SIZE)
        assert len(detection.hands) == len(meshes)


# --- command line, Python, API, infotext


@pytest.mark.usefixtures("tiny_stages")
def test_the_command_line_writes_poses_and_takes_them_again(tmp_path, capsys):
    image = tmp_path / "in" / "a.png"
    image.parent.mkdir()
    Image.fromarray(picture_with((), *SIZE)).save(image)
    (tmp_path / "given.json").write_text(pose_text(*HANDS))
    command = ("hints", image, "--pose_file", tmp_path / "given.json", "--pose_dir", tmp_path / "p")
    assert run(*command, "--out_dir", tmp_path / "out") == DONE
    assert names(tmp_path / "p") == ["a_openpose.json", "a_openpose.png", "a_pose.json"]
    control = read(tmp_path / "out" / "a_depth.png")
    assert control.any()
    np.testing.assert_array_equal(read(tmp_path / "p" / "a_openpose.png").shape, (*SIZE, 3))
    for place in (tmp_path / "p" / "a_pose.json", tmp_path / "p"):  # a file, a folder
        again = tmp_path / f"again_{place.suffix}"
        assert run("hints", image, "--pose_file", place, "--out_dir", again) == DONE
        apart = read(again / "a_depth.png").astype(int) - control
        assert (abs(apart) > 8).mean() < 0.002
    # A resumed run knows that the pose has changed.
    more = ("--pose_file", tmp_path / "given.json", "--resume", "--keep_best", "false")
    assert refine_folder(image.parent, tmp_path / "r", *more) == DONE
    before = read(tmp_path / "r" / "a_0.png")
    (tmp_path / "given.json").write_text(pose_text(hand(wrist=(200.0, 200.0))))
    assert refine_folder(image.parent, tmp_path / "r", *more) == DONE
    assert not np.array_equal(read(tmp_path / "r" / "a_0.png"), before)
    capsys.readouterr()
    (tmp_path / "bad.json").write_text("{}")
    more = ("--pose_file", tmp_path / "bad.json", "--out_dir", tmp_path / "x")
    assert run("refine", "--input_img", image, *more) == FAILED
    assert "bad.json: pose is neither" in capsys.readouterr().err
    assert run("refine", "--input_img", image, *more, "--pose", "{}") == WRONG_USAGE


def test_python_takes_a_pose_as_file_text_and_dict(tmp_path):
    image = picture_with((), *SIZE)
    (tmp_path / "p.json").write_text(pose_text(*HANDS))
    seen = handrefiner_ext.hints(image, pose_file=tmp_path / "p.json")
    assert [mesh.handedness for mesh in seen.meshes] == ["right", "left"]
    changed = seen.pose
    changed["hands"][0]["angles"]["index_pip_flexion"] += 60.0
    other = handrefiner_ext.hints(image, pose=changed)
    assert np.abs(other.meshes[0].joints[8] - seen.meshes[0].joints[8]).max() > 0.005
    np.testing.assert_allclose(other.meshes[1].joints, seen.meshes[1].joints, atol=1e-4)
    from_keypoints = handrefiner_ext.hints(image, pose=seen.openpose)
    assert len(from_keypoints.meshes) == 2


def test_the_api_answers_with_poses(monkeypatch):
    pytest.importorskip("httpx")
    hold_tiny_backends(monkeypatch)
    client, picture = make_client(), to_text(encode_png(picture_with((), *SIZE)))
    said = ask(client, "/hints", image=picture, pose=pose_text(*HANDS)).json()
    assert said["pose"] == json.loads(pose_text(*HANDS))
    _, meshes = parse_pose(pose_text(*HANDS)).build(*SIZE)
    assert said["openpose"] == describe_openpose(meshes, *SIZE)
    drawn = decode_picture(said["openpose_image"], "drawn").image
    np.testing.assert_array_equal(drawn, draw_openpose(meshes, *SIZE))
    again = ask(client, "/hints", image=picture, pose=json.dumps(said["pose"])).json()
    assert again["depth"] == said["depth"]


def test_the_api_and_the_infotext_carry_a_pose():
    text = pose_text(hand())
    picture = to_text(encode_png(picture_with((), *SIZE)))
    request = read_request(json.dumps({"image": picture, "pose": text}).encode())
    assert request.params.pose == text
    params = RefineParams(pose=text)
    (pose,) = (f for f in fields(RefineParams) if f.name == "pose")
    pasted = restore(pose, to_infotext(params))
    assert pasted == text.replace(" ", "")
    assert parse_pose(pasted) == parse_pose(text)
