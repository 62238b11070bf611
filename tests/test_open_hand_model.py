"""The open hand as a body: closed, five fingers that bend to the palm, shapes that do as named."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from handrefiner_ext.geometry.transforms import rotation_from_vector
from handrefiner_ext.mesh.open_hand.anatomy import FREE_ANGLES, load_anatomy
from handrefiner_ext.mesh.open_hand.kinematics import Kinematics, Pose
from handrefiner_ext.mesh.open_hand.model import (
    ABDUCTION,
    ANGLES_SHAPE,
    FLEXION,
    TWIST,
    load_open_hand,
)
from handrefiner_ext.topology import FINGERS, FINGERTIPS, MIDDLE_MCP

REST = np.zeros(ANGLES_SHAPE)


@pytest.fixture(scope="module")
def hand():
    return load_open_hand()


def no_shape(hand):
    return np.zeros(hand.shape_count)


def shape(hand, name, amount):
    return amount * (np.array(hand.shape_names) == name)


def pose(hand, angles, numbers=None):
    return hand.pose_skeleton(hand.skeleton(no_shape(hand) if numbers is None else numbers), angles)


def random_pose(seed):
    anatomy = load_anatomy(load_open_hand().shape_names)
    random = np.random.default_rng(seed)
    free = np.clip(random.normal(anatomy.mean, anatomy.deviation), anatomy.low, anatomy.high)
    return Pose(
        rotation=rotation_from_vector(random.normal(size=3)),
        scale=random.uniform(3, 8),
        shift=random.normal(size=2),
        offset=float(random.normal()),
        free_angles=free,
        free_shapes=random.uniform(-1, 1, len(anatomy.shapes)),
    )


def test_mesh_is_closed_turned_outwards_and_as_big_as_a_hand(hand):
    mesh = trimesh.Trimesh(hand.vertices, hand.faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert 2.0e-4 < mesh.volume < 5.0e-4  # cubic metres
    assert mesh.body_count == 1


def test_rest_pose_is_the_mesh_itself(hand):
    posed = pose(hand, REST)
    np.testing.assert_allclose(hand.skin(no_shape(hand), posed), hand.vertices, atol=1e-7)
    np.testing.assert_allclose(posed.joints, hand.joints, atol=1e-9)


def test_hand_is_185_mm_from_wrist_to_middle_tip(hand):
    chain = hand.joints[[0, *FINGERS["middle"]]]
    assert np.linalg.norm(np.diff(chain, axis=0), axis=1).sum() == pytest.approx(0.185, abs=1e-4)


def test_frame_is_a_right_hand_seen_from_its_back(hand):
    thumb, little = hand.joints[4], hand.joints[20]
    assert hand.joints[MIDDLE_MCP][1] < -0.05  # fingers up
    assert thumb[0] < -0.03 < 0.03 < little[0]  # thumb to the left
    curled = pose(hand, bend(60.0)).joints
    assert (curled[list(FINGERTIPS), 2] > 0.02).all()  # palm away from the viewer


def bend(degrees):
    angles = REST.copy()
    angles[1:, :, FLEXION] = np.radians(degrees)
    return angles


def test_every_vertex_hangs_wholly_on_bones(hand):
    np.testing.assert_allclose(hand.weights.sum(axis=1), 1.0, atol=1e-5)
    assert (hand.weights >= 0).all()


@pytest.mark.parametrize("finger", range(1, 5))
def test_flexion_brings_a_fingertip_to_the_palm(hand, finger):
    palm = hand.joints[[0, 5, 17]].mean(axis=0)
    tip = 4 * finger + 4
    distances = []
    for degrees in (0, 25, 50):
        angles = REST.copy()
        angles[finger, :, FLEXION] = np.radians(degrees)
        distances.append(np.linalg.norm(pose(hand, angles).joints[tip] - palm))
    assert distances[0] > distances[1] + 0.01 > distances[2] + 0.02


def test_thumb_flexion_brings_its_tip_to_the_little_finger(hand):
    angles = REST.copy()
    angles[0, :, FLEXION] = np.radians(30)
    bent = pose(hand, angles).joints
    assert np.linalg.norm(bent[4] - bent[17]) < np.linalg.norm(hand.joints[4] - hand.joints[17])


def test_abduction_turns_fingers_to_the_thumbs_side(hand):
    angles = REST.copy()
    angles[1:, 0, ABDUCTION] = np.radians(10)
    moved = pose(hand, angles).joints[[8, 12, 16, 20], 0]
    assert (moved < hand.joints[[8, 12, 16, 20], 0] - 0.004).all()


def test_twist_keeps_the_first_bone_where_it_is(hand):
    angles = REST.copy()
    angles[1:, 0, TWIST] = np.radians(20)
    np.testing.assert_allclose(
        pose(hand, angles).joints[[6, 10, 14, 18]], hand.joints[[6, 10, 14, 18]], atol=1e-9
    )


@pytest.mark.parametrize("seed", range(5))
def test_bones_keep_their_length_in_every_pose(hand, seed):
    anatomy = load_anatomy(hand.shape_names)
    joints = pose(hand, anatomy.angles(random_pose(seed).free_angles)).joints
    for finger in FINGERS.values():
        lengths = np.linalg.norm(np.diff(joints[list(finger)], axis=0), axis=1)
        rest = np.linalg.norm(np.diff(hand.joints[list(finger)], axis=0), axis=1)
        np.testing.assert_allclose(lengths, rest, atol=1e-9)


def test_bending_keeps_the_volume_of_the_hand(hand):
    rest = trimesh.Trimesh(hand.vertices, hand.faces, process=False).volume
    bent = hand.skin(no_shape(hand), pose(hand, bend(40.0)))
    assert trimesh.Trimesh(bent, hand.faces, process=False).volume == pytest.approx(rest, rel=0.08)


def finger_lengths(joints):
    return np.linalg.norm(np.diff(joints[1:].reshape(5, 4, 3), axis=1), axis=2).sum(axis=1)


@pytest.mark.parametrize(
    ("name", "fingers", "others"),
    [("finger_length", slice(1, 5), slice(0, 1)), ("thumb_length", slice(0, 1), slice(1, 5))],
)
def test_lengths_grow_by_a_tenth_on_average_and_only_where_named(hand, name, fingers, others):
    grown = hand.joints + np.tensordot(shape(hand, name, 1.0), hand.shape_joints, 1)
    growth = finger_lengths(grown) / finger_lengths(hand.joints)
    assert growth[fingers].mean() == pytest.approx(1.1, abs=0.001)
    np.testing.assert_allclose(growth[others], 1.0, atol=0.001)


def test_palm_width_moves_the_knuckles_apart_by_a_tenth(hand):
    wide = hand.joints + np.tensordot(shape(hand, "palm_width", 1.0), hand.shape_joints, 1)
    assert np.ptp(wide[[5, 17], 0]) == pytest.approx(
        1.1 * np.ptp(hand.joints[[5, 17], 0]), rel=0.01
    )


def test_finger_thickness_leaves_the_bones_alone_but_adds_volume(hand):
    thick = shape(hand, "finger_thickness", 1.0)
    assert np.abs(np.tensordot(thick, hand.shape_joints, 1)).max() < 1e-3
    skin = hand.skin(thick, pose(hand, REST, thick))
    rest = trimesh.Trimesh(hand.vertices, hand.faces, process=False).volume
    assert trimesh.Trimesh(skin, hand.faces, process=False).volume > 1.01 * rest


def test_limits_hold_the_rest_pose_and_name_every_joint_once():
    places = [(a.finger, a.level, a.axis) for a in FREE_ANGLES]
    assert len(set(places)) == len(places) == 25
    assert all(a.low < a.mean < a.high and a.low < 0 < a.high for a in FREE_ANGLES)


def numeric(function, state, unknowns, step=1e-6):
    columns = []
    for number in range(unknowns):
        change = np.zeros(unknowns)
        change[number] = step
        columns.append(
            (function(state.moved(change)) - function(state.moved(-change))) / (2 * step)
        )
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("seed", range(3))
def test_landmark_derivatives_are_those_of_finite_differences(hand, seed):
    kinematics, state = Kinematics(hand), random_pose(seed)
    moving = kinematics.landmarks(state, kinematics.pose_skeleton(state))
    np.testing.assert_allclose(moving.points, kinematics.place_landmarks(state), atol=1e-12)
    expected = numeric(kinematics.place_landmarks, state, kinematics.unknown_count)
    np.testing.assert_allclose(moving.derivatives, expected, atol=1e-7)


@pytest.mark.parametrize("seed", range(2))
def test_vertex_derivatives_are_exact_where_one_bone_carries_the_skin(hand, seed):
    kinematics, state = Kinematics(hand), random_pose(seed)
    numbers = np.flatnonzero(hand.weights.max(axis=1) > 0.9999)[::9]
    moving = kinematics.vertices(state, kinematics.pose_skeleton(state), numbers)
    expected = numeric(
        lambda moved: kinematics.place_vertices(moved)[numbers], state, kinematics.unknown_count
    )
    np.testing.assert_allclose(moving.derivatives, expected, atol=2e-4)
