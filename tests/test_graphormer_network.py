"""The network against the authors' own code: its outputs, its names, its files.

`golden/graphormer_reference.npz` holds what microsoft/MeshGraphormer (its calls for CUDA led to the
CPU) gives for the same weights, template and crops; it names the versions that made it.
"""

from __future__ import annotations

import numpy as np
import pytest
from graphormer_cases import GOLDEN, SEED, make_crops, make_parts

from handrefiner_ext.errors import InvalidParameter, WeightsError
from handrefiner_ext.mesh.graphormer.template import make_adjacency, make_tokens

torch = pytest.importorskip("torch", reason="MeshGraphormer needs torch")
pytest.importorskip("safetensors", reason="the extra torch brings it")

from handrefiner_ext.mesh.graphormer import build_network  # noqa: E402
from handrefiner_ext.mesh.graphormer.checkpoint import (  # noqa: E402
    convert_to_safetensors,
    load_network,
    read_checkpoint,
)
from handrefiner_ext.mesh.graphormer.device import NetworkRunner  # noqa: E402
from handrefiner_ext.mesh.graphormer.network import UNUSED, build_empty, find_fault  # noqa: E402

TOLERANCE = 1e-5
"""Relative to the largest number of an output. Measured: 8e-7; the crops differ from one another by
2e-2; GELU by its usual approximation would differ by 2.5e-5."""
PUBLISHED_BYTES = 855_658_184
"""Size of the published file."""


@pytest.fixture(scope="module")
def network():
    return build_network(*make_parts(), SEED)


@pytest.fixture(scope="module")
def state_file(network, tmp_path_factory):
    """The weights in the published file's format: a row of pickles, as torch wrote before 1.6."""
    path = tmp_path_factory.mktemp("state") / "graphormer_hand_state_dict.bin"
    torch.save(network.own_state(), path, _use_new_zipfile_serialization=False)
    return path


def tokens_and_adjacency():
    template, adjacency, downsampling = make_parts()
    return make_tokens(template, downsampling), adjacency


TWO = [4, 7]
"""Numbers of the two crops whose answers differ most."""


@pytest.fixture(scope="module")
def runner(network):
    return NetworkRunner(network, torch.device("cpu"))


@pytest.fixture(scope="module")
def together(runner):
    """The network's answer to TWO crops at once."""
    return runner.run([make_crops()[TWO]])[0]


@pytest.fixture(scope="module")
def alone(runner):
    """Its answers to each of them alone."""
    return runner.run([make_crops()[[number]] for number in TWO])


def assert_authors_answer(estimate, which):
    with np.load(GOLDEN) as golden:
        assert int(golden["seed"]) == SEED
        for name, part in estimate._asdict().items():
            expected = golden[name].reshape(8, *part.shape[1:])[which]
            assert np.abs(part.numpy() - expected).max() < TOLERANCE * np.abs(expected).max(), name
            # Were the crops ignored, the mean crop's answer would pass.
            assert (
                np.abs(expected - expected.mean(axis=0)).max()
                > 500 * TOLERANCE * np.abs(expected).max()
            )


def test_two_crops_give_what_the_authors_network_gives(together):
    assert_authors_answer(together, TWO)


@pytest.mark.slow
def test_eight_crops_give_what_the_authors_network_gives(network):
    with torch.inference_mode():
        assert_authors_answer(network(torch.from_numpy(make_crops())), list(range(8)))


def test_building_and_running_it_draws_no_random_number_of_torchs(network):
    before = torch.get_rng_state()
    build_empty(torch.zeros(216, 3), torch.eye(195))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    assert torch.equal(before, torch.get_rng_state())


def test_its_state_has_the_names_and_the_size_of_the_published_file(network):
    state = network.state_dict()
    assert len(state) == 2256
    content = sum(value.numel() * value.element_size() for value in state.values())
    # What is left is the pickle of names and a count before every storage.
    assert 0 < PUBLISHED_BYTES - content < 0.001 * PUBLISHED_BYTES


def test_what_inference_does_not_use_is_named_one_by_one_and_takes_no_memory(network):
    state = network.state_dict()
    assert set(state) - set(network.own_state()) == set(UNUSED)
    assert sum(np.prod(shape) for shape in UNUSED.values()) > 40e6
    assert all(state[name].untyped_storage().nbytes() == 4 for name in UNUSED)


@pytest.mark.parametrize("ending", ["bin", "pt", "safetensors"])
def test_every_format_of_the_weights_gives_the_same_network(network, state_file, ending, tmp_path):
    path = state_file
    if ending == "pt":
        path = tmp_path / "weights.pt"
        torch.save(network.own_state(), path)
    elif ending == "safetensors":
        path = tmp_path / "weights.safetensors"
        convert_to_safetensors(state_file, path)
        assert not path.with_name(path.name + ".part").exists()
    loaded = load_network(path, *tokens_and_adjacency()).state_dict()
    assert loaded.keys() == network.state_dict().keys()
    for name, value in network.own_state().items():
        assert torch.equal(loaded[name], value), name


def test_weights_loaded_in_inference_mode_are_ordinary_tensors(state_file):
    with torch.inference_mode():
        loaded = load_network(state_file, *tokens_and_adjacency())
    assert not any(tensor.is_inference() for tensor in loaded.own_state().values())


def test_a_surrounding_autocast_does_not_reach_the_network(runner, alone):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = runner.run([make_crops()[TWO[:1]]])[0]
    assert torch.equal(alone[0].vertices, inside.vertices)


def test_all_hands_at_once_give_what_each_gives_alone(together, alone):
    each = torch.cat([part.vertices for part in alone])
    assert torch.allclose(together.vertices, each, rtol=1e-4, atol=1e-3)


@pytest.mark.gpu
def test_half_precision_on_a_gpu_moves_joints_less_than_half_a_pixel(network):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    crops = make_crops()
    exact = NetworkRunner(network, torch.device("cpu")).run([crops])[0]
    runner = NetworkRunner(network, torch.device("cuda"))
    half = runner.run([crops])[0]
    assert runner.copies is None
    span = (exact.vertices[..., :2].amax(1) - exact.vertices[..., :2].amin(1)).amax()
    misses = (exact.vertices - half.vertices)[..., :2].norm(dim=-1)
    assert misses.max() / span * 140.0 < 0.5  # a hand of 140 pixels in a crop of 224


NEEDED = {"a": (2, 3), "b": (4,), "c": (1,), "d": (1,), "e": (1,)}


class TestWrongState:
    def test_a_missing_name_is_told(self):
        fault = find_fault(NEEDED, {n: s for n, s in NEEDED.items() if n != "b"})
        assert fault is not None
        assert "lacks b of the 5 arrays" in fault

    def test_many_missing_names_are_counted(self):
        fault = find_fault(NEEDED, {"unrelated": (1,)})
        assert fault is not None
        assert "a, b, c and 2 more" in fault

    def test_a_strange_name_is_told(self):
        fault = find_fault(NEEDED, {**NEEDED, "optimizer": (1,)})
        assert fault is not None
        assert "optimizer" in fault

    def test_another_shape_is_told(self):
        fault = find_fault(NEEDED, {**NEEDED, "a": (3, 2)})
        assert fault is not None
        assert "(3, 2) where (2, 3)" in fault

    def test_what_the_published_file_has_beyond_is_accepted(self):
        assert find_fault(NEEDED, {**NEEDED, **UNUSED}) is None

    def test_half_a_state_is_refused_and_the_network_stays_as_it_was(self, network):
        before = network.upsampling.weight.clone()
        state = {"upsampling.weight": torch.zeros(778, 195)}
        with pytest.raises(WeightsError, match="It lacks backbone"):
            network.load_state_dict(state)
        assert torch.equal(before, network.upsampling.weight)

    def test_a_file_of_another_model_is_refused_with_its_path(self, tmp_path):
        path = tmp_path / "other.bin"
        torch.save({"conv.weight": torch.zeros(3)}, path)
        with pytest.raises(WeightsError, match=r"other\.bin is refused\. It lacks"):
            load_network(path, *tokens_and_adjacency())

    @pytest.mark.parametrize("ending", ["bin", "pt", "safetensors"])
    def test_a_damaged_file_is_refused_with_its_path(self, tmp_path, ending):
        path = tmp_path / f"broken.{ending}"
        path.write_bytes(b"PK\x03\x04 and then nothing")
        with pytest.raises(WeightsError, match="broken"):
            read_checkpoint(path)

    def test_an_unfinished_conversion_leaves_no_file(self, tmp_path):
        source, target = tmp_path / "other.bin", tmp_path / "out.safetensors"
        torch.save({"conv.weight": torch.zeros(3)}, source)
        with pytest.raises(WeightsError, match="refused"):
            convert_to_safetensors(source, target)
        assert not target.exists()


def test_the_template_may_be_a_pair_or_one_array_fine_or_coarse():
    (joints, vertices), _, downsampling = make_parts()
    pair = make_tokens((joints, vertices), downsampling)
    coarse = downsampling[0] @ vertices
    assert np.array_equal(pair, make_tokens(np.concatenate([joints, vertices]), downsampling))
    assert np.allclose(pair, make_tokens(np.concatenate([joints, coarse]), []))
    sparse = torch.from_numpy(downsampling[0]).to_sparse()
    assert np.array_equal(
        pair, make_tokens(tuple(map(torch.from_numpy, (joints, vertices))), [sparse])
    )
    assert np.array_equal(pair[0], np.zeros(3))
    assert np.allclose(pair, make_tokens((joints + 0.1, vertices + 0.1), downsampling))


def test_a_template_of_another_mesh_is_refused():
    with pytest.raises(InvalidParameter, match="is needed"):
        make_tokens(np.zeros((21 + 100, 3)), [np.eye(100)])


def test_neighbours_share_a_row_that_sums_to_one():
    adjacency = make_adjacency(np.array([[0, 1, 2]]), 4)
    assert np.allclose(adjacency[:3, :3], 1 / 3)
    assert np.array_equal(adjacency[3], [0, 0, 0, 1])
