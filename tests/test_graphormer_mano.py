"""MANO's mathematics on a model of its structure, and its files. None of its data is used."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from mano_model import (
    PARENTS,
    TIPS,
    make_coarse_faces,
    make_downsampling,
    make_mano,
    write_downsampling,
    write_mano,
)

from handrefiner_ext.errors import BackendUnavailable, WeightsError
from handrefiner_ext.mesh.graphormer.backend import find_files
from handrefiner_ext.mesh.graphormer.mano import OUR_ORDER, read_mano, rotations
from handrefiner_ext.mesh.graphormer.template import make_adjacency, read_sampling
from handrefiner_ext.mesh.open_hand.model import load_open_hand
from handrefiner_ext.topology import FINGERTIPS

pytest.importorskip("scipy", reason="the files are written with scipy's matrices")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl"
    write_mano(path, hands_mean=np.random.default_rng(3).normal(0.0, 0.2, 45))
    return read_mano(path)


def random_pose(generator):
    return generator.normal(0.0, 0.7, (16, 3)), generator.normal(0.0, 1.5, 10)


def follow_chain(model, turns, joints):
    """4 x 4 matrix of every joint, by the recursion of the paper and nothing else."""
    matrices = []
    for joint, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0.0)
        matrices.append(local if parent < 0 else matrices[parent] @ local)
    return matrices


def test_skinning_is_the_papers_formula_written_out_for_single_vertices(model):
    generator = np.random.default_rng(1)
    pose, shape = random_pose(generator)
    vertices, joints = model.pose(pose, shape)
    turns = rotations(pose + np.vstack([np.zeros((1, 3)), model.mean_pose]))
    shaped = model.vertices + model.shapes @ shape
    rest = model.regressor @ shaped
    chain = follow_chain(model, turns, rest)
    assert np.allclose(joints, [matrix[:3, 3] for matrix in chain], atol=1e-12)
    for number in (0, 317, 745, 777):
        bent = shaped[number].copy()
        for entry, amount in enumerate((turns[1:] - np.eye(3)).ravel()):
            bent += amount * model.pose_shifts[number, :, entry]
        expected = np.zeros(3)
        for joint, matrix in enumerate(chain):
            place = matrix[:3, :3] @ (bent - rest[joint]) + matrix[:3, 3]
            expected += model.weights[number, joint] * place
        assert np.allclose(vertices[number], expected, atol=1e-12)


def test_turning_the_wrist_turns_the_whole_hand_about_it(model):
    generator = np.random.default_rng(2)
    pose, shape = random_pose(generator)
    straight = pose.copy()
    straight[0] = 0.0
    turned, unturned = model.pose(pose, shape), model.pose(straight, shape)
    wrist, turn = unturned[1][0], rotations(pose[0])
    for after, before in zip(turned, unturned, strict=True):
        assert np.allclose(after, (before - wrist) @ turn.T + wrist, atol=1e-12)


def test_the_mean_pose_is_what_zeros_mean(model):
    joints, vertices = model.rest()
    zeros = np.zeros(10)
    explicit = model.pose(np.zeros((16, 3)), zeros)
    assert np.array_equal(vertices, explicit[0])
    flat = np.vstack([np.zeros((1, 3)), -model.mean_pose])
    assert np.allclose(model.pose(flat, zeros)[0], model.vertices, atol=1e-12)
    assert joints.shape == (21, 3)


def test_joints_read_off_a_mesh_are_those_of_the_model_in_our_order(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path)
    joints = read_mano(path).joints_of(np.stack([make_mano()["v_template"]] * 2))
    assert np.allclose(joints, load_open_hand().joints, atol=1e-12)


def test_the_middle_fingertip_is_the_neighbour_where_the_template_is_made(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path)
    model = read_mano(path)
    joints, vertices = model.rest()
    for tip, vertex in TIPS.items():
        assert np.array_equal(joints[tip], vertices[444 if vertex == 445 else vertex])
    assert tuple(TIPS) == FINGERTIPS
    assert sorted(OUR_ORDER) == list(range(21))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v_template": np.zeros((6890, 3))}, r"v_template has the shape \(6890, 3\)"),
        ({"f": np.full((1538, 3), 778)}, "point beyond"),
        ({"weights": np.full((778, 16), np.nan)}, "not finite"),
        ({"kintree_table": np.zeros((2, 16), int)}, None),
        ({"kintree_table": np.zeros((2, 24), int)}, "tree of 16"),
        ({"hands_mean": "none"}, "Get MANO_RIGHT.pkl from mano.is.tue.mpg.de"),
    ],
)
def test_another_model_is_refused_with_what_is_wrong(tmp_path, changes, said):
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path, **changes)
    if said is None:
        read_mano(path)
        return
    with pytest.raises(WeightsError, match=said):
        read_mano(path)


def test_a_model_without_a_part_is_refused_by_name(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    arrays = make_mano()
    del arrays["posedirs"]
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    with pytest.raises(WeightsError, match="it has no array named posedirs"):
        read_mano(path)


def test_the_table_of_vertices_gives_the_choice_and_the_neighbours(tmp_path):
    path = tmp_path / "mano_downsampling.npz"
    write_downsampling(path)
    sampling = read_sampling(path)
    assert np.array_equal(sampling.downsampling, make_downsampling())
    assert np.array_equal(sampling.adjacency, make_adjacency(make_coarse_faces(), 195))


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_a_table_that_wants_to_run_something_is_refused(tmp_path):
    path = tmp_path / "mano_downsampling.npz"
    bombs = np.array([Bomb(), Bomb()], dtype=object)
    np.savez(path, D=bombs, F=bombs)
    with pytest.raises(WeightsError, match="refused"):
        read_sampling(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 cut off", None],
    ids=["empty", "damaged", "another archive"],
)
def test_another_table_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "mano_downsampling.npz"
    if content is None:
        np.savez(path, D=np.eye(3), F=np.eye(3))
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="mano_downsampling"):
        read_sampling(path)


def test_every_missing_file_is_named_with_where_to_get_it(tmp_path):
    weights = tmp_path / "graphormer_hand_state_dict.bin"
    there = {weights.name: weights}
    with pytest.raises(BackendUnavailable) as caught:
        find_files(there.get)
    said = str(caught.value)
    assert "mano_downsampling.npz" in said
    assert "handrefiner weights download graphormer" in said
    assert "https://mano.is.tue.mpg.de" in said
    assert weights.name not in said


def test_converted_weights_come_before_the_published_ones(tmp_path):
    names = ("graphormer_hand_state_dict.bin", "mano_downsampling.npz", "MANO_RIGHT.pkl")
    there = {name: tmp_path / name for name in names}
    assert find_files(there.get).weights == there[names[0]]
    converted = "graphormer_hand_state_dict.safetensors"
    there[converted] = tmp_path / converted
    assert find_files(there.get).weights == there[converted]
