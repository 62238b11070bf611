"""`handrefiner train small`: a small model that is trained from nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from handrefiner_ext.cli.commands import main
from handrefiner_ext.train.data import Chances, HandSet
from handrefiner_ext.train.views import VIEWS, CloseUps

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

from accelerate.state import AcceleratorState  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from handrefiner_ext.inpaint.control_models import SD1  # noqa: E402
from handrefiner_ext.inpaint.diffusion.loading import Loader, Models  # noqa: E402
from handrefiner_ext.train.average import MEMORY, Average  # noqa: E402
from handrefiner_ext.train.codec import find_kernel  # noqa: E402
from handrefiner_ext.train.encoded import (  # noqa: E402
    MASKS,
    EncodedSet,
    encode_once,
    encode_pictures,
    encode_views,
)
from handrefiner_ext.train.kept import save  # noqa: E402
from handrefiner_ext.train.presets import PRESETS, SD15, TINY  # noqa: E402
from handrefiner_ext.train.small import build_pipeline, scale_latents  # noqa: E402
from handrefiner_ext.train.steps import Encoder  # noqa: E402

SIDE = 64


@pytest.fixture(autouse=True)
def _forget_the_run_before():
    """accelerate keeps the state of one run for a process, as its own tests know."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    command = ["dataset", "--count", "5", "--size", str(SIDE), "--jobs", "1", "--seed", "2"]
    assert main([*command, "--out_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module", params=[TINY, SD15])
def linear(request):
    return build_pipeline(PRESETS[request.param], 0).vae


def train(pictures, out_dir, *more):
    given = ["--batch_size", "4", "--checkpoint_every", "2", "--seed", "3"]
    where = ["--dataset", str(pictures), "--out_dir", str(out_dir)]
    return main(["train", "small", *where, *given, *map(str, more)])


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    assert train(pictures, folder, "--vae_steps", 3, "--steps", 4) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return folder


def parts_of(models):
    return {
        name: getattr(models.pipeline, name).state_dict() for name in ("unet", "vae", "controlnet")
    }


def load(folder):
    control = folder / "controlnet"
    return Loader("cpu").load(folder / "checkpoint", lambda family: control, uses_own=False)


def test_the_model_is_small_and_loads_from_folders_and_from_one_file(trained):
    weights = [trained / "small_inpainting.safetensors", *(trained / "controlnet").iterdir()]
    assert sum(path.stat().st_size for path in weights) < 8e6
    from_folders = load(trained)
    architectures = {SD1: PRESETS[TINY].architecture}
    from_file = Loader("cpu", architectures).load(weights[0], lambda family: trained / "controlnet")
    one, other = parts_of(from_folders), parts_of(from_file)
    for name, state in one.items():
        assert state.keys() == other[name].keys()
        assert all(torch.equal(state[key], other[name][key]) for key in state), name


def test_the_single_files_of_sd15_are_the_folders_of_it(tmp_path):
    """The WebUI reads the files, diffusers the folders."""
    save(build_pipeline(PRESETS[SD15], 0), tmp_path)
    architectures = {SD1: PRESETS[SD15].architecture}
    control = tmp_path / "control_sd15_inpaint_depth_hand.safetensors"
    from_files = Loader("cpu", architectures).load(
        tmp_path / "small_inpainting.safetensors", lambda family: control, uses_own=False
    )
    one, other = parts_of(load(tmp_path)), parts_of(from_files)
    for name, state in one.items():
        assert state.keys() == other[name].keys()
        assert all(torch.equal(state[key], other[name][key]) for key in state), name
    groups = {from_files.pipeline.unet.conv_norm_out.num_groups}
    groups.add(from_files.pipeline.controlnet.down_blocks[0].resnets[0].norm1.num_groups)
    assert groups == {4}


def test_a_stopped_run_goes_on_exactly(trained, pictures, tmp_path):
    from handrefiner_ext.train import run

    class Stop(Exception):
        pass

    def stop(self, step):
        saved(self, step)
        if self.folder.name == "painting":
            raise Stop

    saved, run.Trainer.save = run.Trainer.save, stop
    try:
        with pytest.raises(Stop):
            train(pictures, tmp_path, "--vae_steps", 3, "--steps", 4)
    finally:
        run.Trainer.save = saved
    AcceleratorState._reset_state(reset_partial_state=True)
    assert not (tmp_path / "checkpoint").exists()
    assert train(pictures, tmp_path, "--vae_steps", 3, "--steps", 4, "--resume") == 0
    for part in ("unet", "vae"):
        one, other = (
            load_file(folder / "checkpoint" / part / "diffusion_pytorch_model.safetensors")
            for folder in (trained, tmp_path)
        )
        assert all(torch.equal(one[key], other[key]) for key in one), part


def test_unet_and_controlnet_have_learnt_and_the_text_encoder_has_not(trained):
    begun = build_pipeline(PRESETS[TINY], 3)
    pipeline = load(trained).pipeline
    for name, learns in (("unet", True), ("controlnet", True), ("text_encoder", False)):
        before, after = getattr(begun, name).state_dict(), getattr(pipeline, name).state_dict()
        same = [torch.equal(before[key].half().float(), after[key]) for key in before]
        assert all(same) != learns, name


@pytest.mark.parametrize("name", [TINY, SD15])
def test_latents_get_another_spread_and_pictures_stay_the_same(name):
    vae = build_pipeline(PRESETS[name], 0).vae
    images = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        before = vae.encode(images).latent_dist
        decoded = vae.decode(before.mean).sample
        scale_latents(vae, 3.0)
        after = vae.encode(images).latent_dist
        torch.testing.assert_close(after.mean, 3 * before.mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(after.std, 3 * before.std, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vae.decode(after.mean).sample, decoded, atol=1e-4, rtol=1e-4)


def test_a_linear_vae_has_colours_before_it_has_learnt(linear):
    """Each pixel is about the mean of its block; only the border is darker."""
    colours = torch.tensor(
        [[0.9, -0.7, 0.1], [-0.9, -0.9, -0.9], [1.0, 1.0, 1.0], [0.0, 0.6, -0.2]]
    )
    images = colours[:, :, None, None].expand(-1, -1, SIDE, SIDE).clone()
    images[:, :, :, SIDE // 2 :] *= -0.5
    with torch.no_grad():
        decoded = linear.decode(linear.encode(images).latent_dist.mean).sample
    for part in (slice(8, SIDE // 2 - 8), slice(SIDE // 2 + 8, -8)):
        inner = (slice(None), slice(None), slice(8, -8), part)
        torch.testing.assert_close(decoded[inner], images[inner], atol=0.1, rtol=0.0)


def test_the_latents_of_a_linear_vae_are_linear(linear):
    images = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        one, other, mean = (
            linear.encode(x[None]).latent_dist.mean for x in (*images, images.mean(dim=0))
        )
    torch.testing.assert_close(mean, (one + other) / 2, atol=0.02, rtol=0.02)


def test_one_kernel_does_what_the_encoder_of_a_linear_vae_does(linear):
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    images = [cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for each in coarse]
    kernel = find_kernel(linear)
    assert kernel is not None
    pixels = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    with torch.no_grad():
        whole = linear.encode(pixels).latent_dist.mean
    quick = torch.from_numpy(encode_pictures(linear, images))
    assert (quick - whole).abs().max() < 0.02 * whole.abs().max()


def test_a_vae_that_learnt_its_encoder_is_asked_itself():
    vae = build_pipeline(PRESETS[TINY], 0).vae
    vae.encoder.conv_out.weight.data *= 1.1
    assert find_kernel(vae) is None
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(127.5) - 1)
    with torch.no_grad():
        whole = vae.encode(pixels).latent_dist.mean.numpy()
    assert np.array_equal(encode_pictures(vae, [image]), whole)


def test_the_encoder_of_the_tiny_vae_stays_and_its_decoder_learns(trained):
    begun, kept = build_pipeline(PRESETS[TINY], 3).vae, load(trained).pipeline.vae
    for part, learns in (("encoder", False), ("decoder", True)):
        before, after = getattr(begun, part).state_dict(), getattr(kept, part).state_dict()
        same = [torch.equal(before[key].half().float(), after[key]) for key in before]
        assert all(same) != learns, part


def test_what_is_encoded_is_the_same_each_time(trained):
    """However a program draws from the latents' spread."""
    vae = load(trained).pipeline.vae
    with torch.no_grad():
        latents = vae.encode(torch.rand(1, 3, SIDE, SIDE) * 2 - 1).latent_dist
    assert latents.std.max() < 1e-4 * latents.mean.std()


def test_training_goes_on_from_a_finished_model(trained, pictures, tmp_path, capsys):
    """At another size, with its VAE as it is; UNet and ControlNet begin as they ended."""
    given = ["--begin_with", trained, "--size", 128, "--steps", 1]
    assert train(pictures, tmp_path / "new", *given, "--learning_rate", 1e-9) == 0
    before, after = load(trained), load(tmp_path / "new")
    for name, state in parts_of(before).items():
        now = parts_of(after)[name]
        for key, weight in state.items():
            torch.testing.assert_close(now[key], weight, atol=2e-4, rtol=2e-3, msg=f"{name} {key}")
    AcceleratorState._reset_state(reset_partial_state=True)
    empty = ["--begin_with", tmp_path, "--steps", 1]
    assert train(pictures, tmp_path / "no", *empty) == 2
    assert "holds no finished model" in capsys.readouterr().err
    AcceleratorState._reset_state(reset_partial_state=True)
    other = ["--begin_with", trained, "--preset", SD15, "--steps", 1]
    assert train(pictures, tmp_path / "other", *other) == 2
    assert "is of another shape" in capsys.readouterr().err


def test_the_painting_may_be_learnt_in_bfloat16_and_is_kept_in_full(pictures, trained, tmp_path):
    whole = ["--vae_steps", 3, "--steps", 4]
    assert train(pictures, tmp_path, *whole, "--mixed_precision", "bf16") == 0
    one, other = (parts_of(load(folder)) for folder in (trained, tmp_path))
    same = {
        part: all(torch.equal(one[part][key], other[part][key]) for key in one[part])
        for part in one
    }
    assert same == {"unet": False, "vae": True, "controlnet": False}
    weights = other["unet"]["conv_in.weight"]
    assert (weights != weights.bfloat16().float()).any()


def test_a_set_is_encoded_once(pictures, tmp_path):
    vae = build_pipeline(PRESETS[TINY], 0).vae
    hands, kept = HandSet(pictures, SIDE), tmp_path / "encoded.npz"
    made = encode_once(vae, hands, 3, kept)
    again = encode_once(None, hands, 3, kept)  # without a VAE: nothing is left to encode
    assert all(np.array_equal(vars(again)[name], vars(made)[name]) for name in vars(made))


def test_the_mean_of_the_weights_follows_them_at_first_and_later_slowly():
    network, other = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    average, resumed = Average([network]), Average([other])
    for value in range(1, 101):
        network.weight.data.fill_(float(value))
        average.add()
    resumed.load_state_dict(average.state_dict())
    resumed.use()
    average.use()
    assert network.weight.item() == other.weight.item() == pytest.approx(100 * 10 / 11, rel=0.01)
    average.count = 10**6
    network.weight.data.fill_(0.0)
    average.add()
    average.use()
    assert network.weight.item() == pytest.approx(MEMORY * other.weight.item())


def test_close_ups_show_a_hand_and_the_first_view_shows_all(pictures):
    views, whole = CloseUps(pictures, SIDE, seed=1), HandSet(pictures, SIDE)
    assert len(views) == VIEWS * len(whole)
    shares = np.zeros((len(whole), VIEWS))
    for number in range(len(views)):
        view, picture = views[number], whole[number // VIEWS]
        assert view.image.shape == (SIDE, SIDE, 3)
        assert view.prompt == picture.prompt
        shares[divmod(number, VIEWS)] = (view.control > 0).mean()
        if number % VIEWS == 0:
            assert abs((view.control > 0).mean() - (picture.control > 0).mean()) < 0.02
    assert shares[:, 1:].min() > 0.0
    assert shares[:, 1:].mean() > 1.1 * shares[:, 0].mean()
    assert np.array_equal(CloseUps(pictures, SIDE, seed=1)[1].image, views[1].image)


def test_the_presets_are_as_large_as_the_docs_say():
    def count(model):
        return sum(p.numel() for p in model.parameters()) / 1e6

    pipeline = build_pipeline(PRESETS[SD15], 0)
    sizes = [count(getattr(pipeline, n)) for n in ("unet", "controlnet", "vae", "text_encoder")]
    assert sizes == pytest.approx([8.6, 4.0, 1.3, 1.6], abs=0.1)


def test_what_is_kept_is_what_would_be_encoded(pictures):
    """Against the encoder that training of a real ControlNet uses, on a VAE without spread."""
    pipeline = build_pipeline(PRESETS[TINY], 0)
    pipeline.vae.quant_conv.weight.data[4:] = 0.0
    pipeline.vae.quant_conv.bias.data[4:] = -30.0
    encoder = Encoder(Models(pipeline, SD1, ""))
    hands = HandSet(pictures, SIDE)
    views = encode_views(pipeline.vae, hands, seed=3)
    kept = EncodedSet(encoder, views)
    chances = Chances(3, 0.5, 0.5)
    draws = [chances.draw(place, len(hands)) for place in range(4)]
    examples = [hands[draw.number] for draw in draws]
    fresh = encoder.encode(examples, draws)
    batch = kept.make_batch([chances.draw(place, len(hands)) for place in range(4)])
    torch.testing.assert_close(batch.noisy, fresh.noisy, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(batch.target, fresh.target, atol=2e-3, rtol=2e-3)
    assert torch.equal(batch.control, fresh.control)
    assert torch.equal(batch.text, fresh.text)
    assert torch.equal(batch.shows_control, fresh.shows_control)
    assert batch.masked.shape == fresh.masked.shape
    assert views.masks.shape[0] == MASKS * len(hands)
    for number, mask in enumerate(batch.masked[:, 0]):
        depth = batch.control[number, 0, ::4, ::4]
        assert mask[depth > 0].all()
        greyed = batch.masked[number, 1:, ~mask.bool()]
        assert greyed.std() > 0


def test_a_model_of_the_wrong_shape_is_refused(pictures, tmp_path, capsys):
    wrong = tmp_path / "vae.safetensors"
    from safetensors.torch import save_file

    save_file({"first_stage_model.encoder.conv_in.weight": torch.zeros(1)}, wrong)
    assert train(pictures, tmp_path / "out", "--vae", wrong, "--steps", 1) == 1
    assert "do not fit" in capsys.readouterr().err


def test_nothing_is_written_into_a_folder_that_is_not_empty(pictures, tmp_path, capsys):
    mine = tmp_path / "small_inpainting.safetensors"
    mine.write_text("mine")
    assert train(pictures, tmp_path, "--vae_steps", 1, "--steps", 1) == 1
    assert "is not empty" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]


def test_a_vae_that_is_not_there_is_named(pictures, tmp_path, capsys):
    assert train(pictures, tmp_path / "out", "--vae", tmp_path / "none.safetensors") != 0
    assert "none.safetensors is no file" in capsys.readouterr().err


def test_the_random_numbers_of_a_program_that_calls_it_stay_as_they_are():
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    build_pipeline(PRESETS[TINY], 9)
    assert torch.equal(torch.rand(1), expected)
    assert np.isfinite(expected.item())
