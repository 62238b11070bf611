"""From a hand in a picture to its mesh through the network, with files as a user has them.

The weights let the network answer the synthetic hand at rest whatever it sees, so that every number
behind it has an exact answer.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="MeshGraphormer needs torch")

from cli_runs import run  # noqa: E402
from graphormer_cases import make_template  # noqa: E402
from graphormer_files import see_with, write_models  # noqa: E402
from PIL import Image as Pillow  # noqa: E402
from test_graphormer_crop import make_hand  # noqa: E402

from handrefiner_ext import pipeline  # noqa: E402
from handrefiner_ext.errors import BackendUnavailable, WeightsError  # noqa: E402
from handrefiner_ext.mesh.graphormer.backend import (  # noqa: E402
    GraphormerReconstructor,
    choose_hand_crop,
)
from handrefiner_ext.mesh.graphormer.device import NetworkRunner, choose_device  # noqa: E402
from handrefiner_ext.params import RefineParams  # noqa: E402
from handrefiner_ext.protocols import BatchReconstructor  # noqa: E402
from handrefiner_ext.registry import RECONSTRUCTORS  # noqa: E402
from handrefiner_ext.types import HandMesh, ModelHome, Refusal  # noqa: E402

ON_CPU = "cpu"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="module")
def backend(models):
    return GraphormerReconstructor(ModelHome(models, ON_CPU))


class SteadyRunner:
    """Answers as the network with these weights does, without a second for every crop.

    The mesh was seen by the network once; the camera is the bias of its last layer. That the
    network answers the same is tested. sizes: how many hands were in each batch.
    """

    def __init__(self, runner):
        self.network = runner.network
        self.sizes = []
        (self.once,) = runner.run([np.zeros((1, 3, 224, 224), dtype=np.float32)])

    def run(self, batches):
        self.sizes += [len(batch) for batch in batches]
        camera = self.network.cam_param_fc3.bias.detach()
        parts = self.once._replace(camera=camera[None])
        return [
            type(parts)(*(part.repeat(len(b), *[1] * (part.ndim - 1)) for part in parts))
            for b in batches
        ]


@pytest.fixture(scope="module")
def steady_runner(backend):
    return SteadyRunner(backend.runner)


@pytest.fixture
def steady(backend, steady_runner, monkeypatch):
    """The backend with that runner, which has seen nothing yet."""
    monkeypatch.setattr(steady_runner, "sizes", [])
    monkeypatch.setattr(backend, "runner", steady_runner)
    return backend


def place_hand(handedness="right", scale=1500.0, wrist=(300.0, 420.0)):
    """The synthetic hand at rest, or its mirror image, in a picture; scale in pixels per metre."""
    joints = make_template()[0]
    points = (joints - joints[0])[:, :2] * (-1.0 if handedness == "left" else 1.0, 1.0)
    return make_hand(points * scale + wrist, handedness)


def point_camera(backend, hand, scale):
    """Let the network see the hand where it is, exactly."""
    crop = choose_hand_crop(hand)
    wrist = hand.landmarks[0] - (crop.x0, crop.y0)
    if crop.mirrored:
        wrist = np.array([crop.side - wrist[0], wrist[1]])
    see_with(backend.runner.network, 2.0 * scale / crop.side, (wrist - crop.side / 2.0) / scale)


PICTURE = np.random.default_rng(4).integers(0, 256, (600, 640, 3), dtype=np.uint8)
PARAMS = RefineParams()


@pytest.mark.parametrize("handedness", ["right", "left"])
def test_a_hand_that_the_network_sees_right_lies_on_its_landmarks(
    backend, handedness, steady_runner, monkeypatch
):
    hand = place_hand(handedness)
    point_camera(backend, hand, 1500.0)
    mesh = backend.reconstruct(PICTURE, hand, PARAMS)
    assert isinstance(mesh, HandMesh)
    assert np.abs(mesh.joints_2d - hand.landmarks).max() < 0.01
    assert mesh.reprojection_error < 1e-4
    assert np.allclose(mesh.joints[0], 0.0)
    joints, vertices = make_template()
    turn = (-1.0 if handedness == "left" else 1.0, 1.0, 1.0)
    assert np.allclose(mesh.vertices, (vertices - joints[0]) * turn, atol=1e-5)
    monkeypatch.setattr(backend, "runner", steady_runner)
    again = backend.reconstruct(PICTURE, hand, PARAMS)
    assert again.camera == mesh.camera
    assert np.array_equal(again.vertices, mesh.vertices)


def test_a_left_hand_is_the_mirror_image_with_its_outside_outside(steady):
    right, left = place_hand("right"), place_hand("left")
    point_camera(steady, right, 1500.0)
    one = steady.reconstruct(PICTURE, right, PARAMS)
    point_camera(steady, left, 1500.0)
    other = steady.reconstruct(PICTURE, left, PARAMS)
    assert volume(one) == pytest.approx(volume(other), rel=1e-5)


def volume(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6.0


def test_a_hand_at_the_edge_lies_where_it_is(steady):
    hand = place_hand(wrist=(5.0, 590.0))
    point_camera(steady, hand, 1500.0)
    mesh = steady.reconstruct(PICTURE, hand, PARAMS)
    assert np.abs(mesh.joints_2d - hand.landmarks).max() < 0.01


def test_hands_of_several_pictures_go_through_at_once_and_come_back_in_order(steady):
    hands = [place_hand("right"), place_hand("left"), place_hand("right", 900.0)]
    point_camera(steady, hands[0], 1500.0)
    broken = replace(hands[0], landmarks=np.full((21, 2), np.nan))
    asked = [(PICTURE, hands[0]), (PICTURE[::-1], hands[1]), (PICTURE, broken), (PICTURE, hands[2])]
    found = steady.reconstruct_all(asked, PARAMS)
    assert steady.runner.sizes == [3]
    assert [isinstance(one, Refusal) for one in found] == [False, False, True, False]
    assert [one.hand for k, one in enumerate(found) if k != 2] == hands
    assert steady.reconstruct_all([(PICTURE, broken)], PARAMS)[0].reason.startswith("Its landmarks")
    assert steady.runner.sizes == [3]
    assert isinstance(steady, BatchReconstructor)


@pytest.mark.parametrize(
    ("landmarks", "said"),
    [
        (np.full((21, 2), np.inf), "not finite"),
        (np.full((21, 2), 50.0), "one pixel"),
        (np.linspace((0, 0), (9000, 9000), 21), "larger than the picture"),
        (np.linspace((-90, 10), (-20, 90), 21), "outside the picture"),
    ],
)
def test_impossible_landmarks_are_refused_before_the_network_is_asked(backend, landmarks, said):
    refusal = backend.reconstruct(PICTURE, make_hand(landmarks), PARAMS)
    assert isinstance(refusal, Refusal)
    assert said in refusal.reason


def test_a_mesh_far_off_the_landmarks_is_refused(steady):
    hand = place_hand()
    point_camera(steady, hand, 1500.0)
    elsewhere = replace(hand, landmarks=hand.landmarks[::-1] * (1.0, -1.0) + (0.0, 800.0))
    see_with(steady.runner.network, 6.0, np.array([0.4, 0.4]))
    refusal = steady.reconstruct(PICTURE, elsewhere, PARAMS)
    assert isinstance(refusal, Refusal)
    assert "off the landmarks" in refusal.reason


@pytest.mark.parametrize("scale", [-3.0, 0.0, float("nan")])
def test_an_impossible_camera_is_a_refusal(steady, scale):
    see_with(steady.runner.network, scale, np.zeros(2))
    refusal = steady.reconstruct(PICTURE, place_hand(), PARAMS)
    assert isinstance(refusal, Refusal)
    assert "camera" in refusal.reason


def test_automatic_choice_takes_it_where_its_files_are_and_open_hand_elsewhere(models, tmp_path):
    home = ModelHome(models, ON_CPU)
    assert RECONSTRUCTORS.build("auto", home=home).name == "graphormer"
    assert RECONSTRUCTORS.build("auto", home=ModelHome(tmp_path)).name == "open_hand"
    assert RECONSTRUCTORS.build("open_hand", home=home).name == "open_hand"


def test_it_says_which_files_are_missing(tmp_path):
    with pytest.raises(BackendUnavailable, match=r"MANO_RIGHT\.pkl"):
        RECONSTRUCTORS.build("graphormer", home=ModelHome(tmp_path))


def test_a_wrong_file_is_told_and_not_passed_over_by_automatic_choice(models, tmp_path):
    for path in models.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.suffix != ".bin" else b"no")
    with pytest.raises(WeightsError, match="graphormer_hand_state_dict"):
        RECONSTRUCTORS.build("auto", home=ModelHome(tmp_path))


def test_where_nothing_is_asked_the_best_device_is_taken_and_odd_ones_become_the_cpu():
    assert choose_device(ModelHome(device="cpu")).type == "cpu"
    assert choose_device(ModelHome(device="cuda:1")) == torch.device("cuda", 1)
    assert choose_device(ModelHome(device="privateuseone:0")).type == "cpu"
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert choose_device(ModelHome()).type == "cpu"


def test_the_copies_for_another_device_answer_as_the_network_does(backend):
    """With the CPU in the place of a GPU."""
    runner = NetworkRunner(backend.runner.network, torch.device("cpu"))
    crops = np.zeros((1, 3, 224, 224), dtype=np.float32)
    with torch.inference_mode():
        direct = runner._run_one(torch.from_numpy(crops), torch.device("cpu"))
        through = torch.func.functional_call(
            runner.network, runner._copy(), torch.from_numpy(crops)
        )
    assert torch.equal(direct.vertices, through.vertices)


def test_the_command_line_writes_hints_with_it(models, tmp_path, monkeypatch):
    """The example picture's hand, found by the real detector, gets the synthetic mesh."""
    monkeypatch.setenv("HANDREFINER_MODELS", str(models))
    example = "examples/badly_drawn_hand.png"
    assert run("hints", example, "--out_dir", tmp_path, "--mesh", "graphormer") == 0
    said = json.loads((tmp_path / "badly_drawn_hand_hands.json").read_text("utf-8"))
    assert [hand["mesh"] for hand in said["hands"]] == ["graphormer"]
    with Pillow.open(tmp_path / "badly_drawn_hand_depth.png") as depth:
        assert np.count_nonzero(np.array(depth)) > 1000


def test_one_detection_and_one_forward_serve_two_hands(steady, monkeypatch):
    """Well-read or not: landmarks are not read again for a network that looks for itself."""
    from hand_scenes import BOTH, make_stages, picture_with

    stages = replace(make_stages(), reconstructor=steady)
    monkeypatch.setattr(type(stages.detector), "reread", None, raising=False)
    see_with(steady.runner.network, 6.0, np.zeros(2))
    seen = pipeline.hints(picture_with(BOTH), PARAMS, stages)
    assert steady.runner.sizes == [2]
    assert len(seen.meshes) + len(seen.refused) == 2
