"""`handrefiner train controlnet`, with tiny random weights in the real classes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handrefiner_ext.cli.commands import main
from handrefiner_ext.inpaint.control_models import choose_control, model_family
from handrefiner_ext.train.data import Chances, HandSet

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

from accelerate.state import AcceleratorState  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tiny_diffusion import TinyModels, rename_unet, rename_vae  # noqa: E402
from tiny_sdxl import TINY_XL, TinyXl  # noqa: E402

from handrefiner_ext.inpaint.diffusion import single_file  # noqa: E402
from handrefiner_ext.inpaint.diffusion.loading import Loader, copy_encoder  # noqa: E402
from handrefiner_ext.train.export import (  # noqa: E402
    name_control_weights,
    name_unet_weights,
    name_vae_weights,
)
from handrefiner_ext.train.steps import Encoder, find_error, predict  # noqa: E402


@pytest.fixture(autouse=True)
def _forget_the_run_before():
    """accelerate keeps the state of one run for a process, as its own tests know."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


SIDE = 64
HAND = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"
XL_NAME = "control_sdxl_depth_hand_open"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    command = ["dataset", "--count", "4", "--size", str(SIDE), "--jobs", "1", "--seed", "2"]
    assert main([*command, "--out_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return TinyXl(4).save_folder(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def inpainting(tmp_path_factory):
    return TinyModels(9).save_folder(tmp_path_factory.mktemp("inpainting"))


def train(pictures, checkpoint, out_dir, *more):
    given = {"size": SIDE, "batch_size": 2, "gradient_accumulation": 1, "checkpoint_every": 10}
    given |= {"sample_every": 0, "learning_rate": 1e-3, "seed": 5}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    where = ["--dataset", pictures, "--checkpoint", checkpoint, "--out_dir", out_dir]
    return main(["train", "controlnet", *map(str, where), *options, *map(str, more)])


@pytest.fixture(scope="module")
def trained(pictures, sdxl, tmp_path_factory):
    """A run of twenty steps, with sample pictures."""
    folder = tmp_path_factory.mktemp("trained")
    assert train(pictures, sdxl, folder, "--steps", 20, "--sample_every", 20) == 0
    return folder


def test_a_run_leaves_weights_card_samples_log_and_checkpoints(trained):
    weights = load_file(trained / f"{XL_NAME}.safetensors")
    assert all(key.startswith("control_model.") for key in weights)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    card = (trained / "README.md").read_text("utf-8")
    assert "for 20 steps, on 4 rendered pictures" in card
    assert "licences hold" in card
    assert str(trained) not in card
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == [
        "step-0000010",
        "step-0000020",
    ]
    assert list((trained / "logs").rglob("events.out.tfevents.*"))


def test_sample_pictures_show_what_was_masked_and_what_was_there(trained, pictures):
    from handrefiner_ext.pictures import load_picture

    page = load_picture(trained / "samples" / "step-0000020.png").image
    assert page.shape == (4 * SIDE, 4 * SIDE, 3)
    first = HandSet(pictures, SIDE)[0]
    masked, depth, _, truth = (page[:SIDE, k * SIDE : (k + 1) * SIDE] for k in range(4))
    np.testing.assert_array_equal(truth, first.image)
    np.testing.assert_array_equal(depth[..., 0], first.control)
    hidden = (masked == 127).all(axis=2)
    assert hidden[first.control > 0].all()
    np.testing.assert_array_equal(masked[~hidden], truth[~hidden])


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(trained, pictures, sdxl, tmp_path):
    assert train(pictures, sdxl, tmp_path, "--steps", 10) == 0
    (tmp_path / "checkpoints" / "step-0000015.part").mkdir()  # killed while it wrote
    assert train(pictures, sdxl, tmp_path, "--steps", 20, "--resume") == 0
    straight, resumed = (load_file(f / f"{XL_NAME}.safetensors") for f in (trained, tmp_path))
    assert straight.keys() == resumed.keys()
    for key, weight in straight.items():
        assert torch.equal(weight, resumed[key]), key


def test_a_checkpoint_that_was_cut_off_is_named_and_the_one_before_it_goes_on(
    trained, pictures, sdxl, tmp_path, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    newest = folder / "checkpoints" / "step-0000020"
    os.truncate(newest / "model.safetensors", 100)
    assert train(pictures, sdxl, folder, "--steps", 20, "--resume") == 1
    assert f"The checkpoint {newest} cannot be read" in capsys.readouterr().err
    shutil.rmtree(newest)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert train(pictures, sdxl, folder, "--steps", 11, "--resume") == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    capsys.readouterr()
    assert train(pictures, sdxl, folder, "--steps", 11, "--resume") == 0
    assert "11 steps, done before" in capsys.readouterr().out


def test_the_export_is_what_was_trained_and_loads_by_its_original_names(trained):
    file = trained / f"{XL_NAME}.safetensors"
    sees = {"conditioning_embedding_out_channels": (16, 32, 96, 256)}  # as diffusers begins it
    architecture = replace(TINY_XL, controlnet={**TINY_XL.controlnet, **sees})
    built = single_file.build_controlnet(
        file, single_file.read_state(file, torch.float32), architecture
    ).state_dict()
    last = load_file(trained / "checkpoints" / "step-0000020" / "model.safetensors")
    assert built.keys() == last.keys()
    for key, weight in last.items():
        assert torch.equal(built[key], weight.half().float()), key
    assert any(
        weight.abs().max() > 0 for key, weight in last.items() if key.startswith("controlnet_mid")
    )


def test_refine_paints_with_the_trained_controlnet(trained, sdxl, tmp_path):
    from PIL import Image

    place = tmp_path / "hands.png"
    Image.open(HAND).save(place)
    models = ["--checkpoint", str(sdxl), "--control_model", str(trained / "diffusers" / XL_NAME)]
    small = ["--steps", "2", "--region_size", str(SIDE), "--keep_best", "False", "--seed", "1"]
    where = ["--input_img", str(place), "--out_dir", str(tmp_path / "out")]
    assert main(["refine", *where, "--backend", "diffusers", *models, *small]) == 0
    painted = np.asarray(Image.open(tmp_path / "out" / "hands_0.png"))
    assert (painted != np.asarray(Image.open(place))).any()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_same_pictures(pictures, inpainting, tmp_path):
    """A batch of two in one process, and of one in each of two: the same pictures, noise and masks.

    The gradients are added up in another order, which AdamW's first steps magnify.
    """
    assert train(pictures, inpainting, tmp_path / "one", "--steps", 3) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["-m", "handrefiner_ext", "train", "controlnet", "--dataset", str(pictures)]
    command += ["--checkpoint", str(inpainting), "--out_dir", str(tmp_path / "two"), "--steps", "3"]
    command += ["--size", str(SIDE), "--batch_size", "1", "--gradient_accumulation", "1"]
    command += ["--learning_rate", "1e-3", "--seed", "5", "--sample_every", "3"]
    run = subprocess.run(
        command,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("3 steps") == 1
    name = "control_sd15_inpaint_depth_hand_open.safetensors"
    one, two = (load_file(tmp_path / folder / name) for folder in ("one", "two"))
    for key, weight in one.items():
        torch.testing.assert_close(weight, two[key], atol=5e-3, rtol=0.0, msg=key)
    assert one["control_model.middle_block_out.0.weight"].abs().max() > 1e-3  # it was 0


def test_a_checkpoint_that_is_not_there_leaves_the_folder_free(pictures, tmp_path, capsys):
    assert train(pictures, tmp_path / "none", tmp_path / "run", "--steps", 1) != 0
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_names_of_exports_are_told_apart_by_the_panel_and_refine():
    assert model_family(XL_NAME) == "sdxl"
    assert choose_control([XL_NAME, "control_sdxl_depth"], "sdxl") == XL_NAME
    for name in ("control_sd15_depth_hand_open", "control_sd15_inpaint_depth_hand_open"):
        assert model_family(name) == "sd1"


def test_an_inpainting_checkpoint_is_trained_with_mask_and_prompt(pictures, inpainting, tmp_path):
    assert train(pictures, inpainting, tmp_path, "--steps", 2) == 0
    weights = load_file(tmp_path / "control_sd15_inpaint_depth_hand_open.safetensors")
    assert weights["control_model.input_blocks.0.0.weight"].shape[1] == 4


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_and_gradient_checkpoints_train(pictures, sdxl, tmp_path, precision):
    more = ["--mixed_precision", precision, "--gradient_checkpointing", "--sample_every", 2]
    more += ["--optimizer", "adafactor", "--lr_schedule", "cosine"]
    assert train(pictures, sdxl, tmp_path, "--steps", 2, *more) == 0
    assert (tmp_path / "samples" / "step-0000002.png").is_file()


def test_wrong_usage_is_a_sentence_and_writes_nothing(pictures, sdxl, tmp_path, capsys):
    assert train(pictures, sdxl, tmp_path / "a", "--size", "100") == 2
    assert "multiple of 64" in capsys.readouterr().err
    assert train(pictures, sdxl, tmp_path / "a", "--steps", "many") == 2
    assert "--steps = 'many' is not a whole number" in capsys.readouterr().err
    assert train(tmp_path, sdxl, tmp_path / "a") == 1
    assert "no set of handrefiner dataset" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def load_models(folder, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Loader("cpu", dtype="float32").load(folder, lambda family: None, uses_own=False)


def make_batch(models, pictures, chances=None):
    hands, chances = HandSet(pictures, SIDE), chances or Chances(5, 0.5)
    draws = [chances.draw(place, len(hands)) for place in range(4)]
    return Encoder(models).encode([hands[draw.number] for draw in draws], draws)


@pytest.mark.parametrize("kind", ["sdxl", "inpainting"])
def test_a_new_controlnet_changes_nothing_and_then_learns(kind, pictures, request):
    """Its outputs are 0 at first (Zhang et al. 2023), so that the UNet says what it said before."""
    models = load_models(request.getfixturevalue(kind))
    batch = make_batch(models, pictures)
    unet, control = models.pipeline.unet, models.pipeline.controlnet
    unet.requires_grad_(False)
    said = predict(unet, control, batch)
    hidden = predict(unet, control, replace(batch, shows_control=batch.shows_control & False))
    assert torch.equal(said, hidden)
    optimizer = torch.optim.AdamW(control.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = find_error(predict(unet, control, batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


def test_a_copied_encoder_takes_latents_alone_and_sees_them_as_the_unet_does(inpainting):
    unet = load_models(inpainting).pipeline.unet
    control = copy_encoder(unet)
    assert control.config.in_channels == 4
    latents = torch.randn(1, 4, 8, 8)
    blank = torch.cat([latents, torch.zeros(1, 5, 8, 8)], dim=1)
    torch.testing.assert_close(control.conv_in(latents), unet.conv_in(blank))


def test_the_masked_picture_is_prepared_as_the_painting_pipeline_does(inpainting, pictures):
    """Mask and greyed picture of the further channels, against diffusers' own."""
    models = load_models(inpainting)
    models.pipeline.vae.quant_conv.weight.data[4:] = 0.0  # a posterior without spread
    models.pipeline.vae.quant_conv.bias.data[4:] = -30.0
    hands = HandSet(pictures, SIDE)
    draw = Chances(5, 0.0).draw(0, len(hands))
    example = hands[draw.number]
    mask = np.zeros((SIDE, SIDE), dtype=np.float32)
    mask[16:48, 8:40] = 1
    images = torch.from_numpy(example.image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        ours = Encoder(models)._mask_latents(images, mask[None] > 0, [draw])
        small, latents = models.pipeline.prepare_mask_latents(
            torch.from_numpy(mask)[None, None],
            images * (torch.from_numpy(mask) < 0.5),
            *(1, SIDE, SIDE, torch.float32, torch.device("cpu")),
            *(torch.Generator().manual_seed(0), False),
        )
    torch.testing.assert_close(ours, torch.cat([small, latents], dim=1), atol=1e-4, rtol=1e-4)


def test_velocity_checkpoints_are_asked_for_velocity(inpainting):
    """Salimans and Ho 2022, equation 13: alpha noise - sigma x."""
    encoder = Encoder(load_models(inpainting))
    draws = [Chances(5, 0.5).draw(place, 4) for place in range(4)]
    latents = torch.randn(4, 4, 8, 8)
    noisy, noise, timesteps = encoder.add_noise(latents, draws)
    alpha = encoder.schedule.alphas_cumprod[timesteps][:, None, None, None]
    torch.testing.assert_close(noisy, alpha.sqrt() * latents + (1 - alpha).sqrt() * noise)
    encoder.schedule.register_to_config(prediction_type="v_prediction")
    _, velocity, _ = encoder.add_noise(latents, draws)
    torch.testing.assert_close(velocity, alpha.sqrt() * noise - (1 - alpha).sqrt() * latents)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_hidden_picture_leaves_no_trace_and_is_still_what_is_asked_for(inpainting, kind):
    """Two pictures give the same noisy latents, and the scheduler finds each from what is said."""
    encoder = Encoder(load_models(inpainting))
    schedule = encoder.schedule
    schedule.register_to_config(prediction_type=kind)
    draws = [Chances(5, 0.5, hides_picture=1.0).draw(place, 4) for place in range(4)]
    pictures = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    (noisy, said, timesteps), (other, _, _) = (encoder.add_noise(each, draws) for each in pictures)
    torch.testing.assert_close(noisy, other, atol=1e-4, rtol=0.0)
    assert noisy.std() == pytest.approx(1.0, abs=0.1)
    schedule.register_to_config(clip_sample=False, thresholding=False)
    for number, timestep in enumerate(timesteps):
        found = schedule.step(said[number], int(timestep), noisy[number]).pred_original_sample
        torch.testing.assert_close(found, pictures[0, number], atol=1e-3, rtol=0.0)


def test_sdxl_is_told_the_size_and_both_texts(sdxl, pictures):
    batch = make_batch(load_models(sdxl), pictures)
    assert batch.text.shape == (4, 77, TINY_XL.unet["cross_attention_dim"])
    assert batch.added is not None
    assert batch.added["time_ids"].tolist() == [[SIDE, SIDE, 0, 0, SIDE, SIDE]] * 4


def test_a_hidden_prompt_is_the_empty_one(inpainting, pictures):
    models = load_models(inpainting)
    shown = make_batch(models, pictures, chances=Chances(5, 0.0)).text
    hidden = make_batch(models, pictures, chances=Chances(5, 1.0)).text
    assert torch.equal(hidden[0], hidden[1])
    assert not torch.equal(shown[0], hidden[0])


@pytest.mark.parametrize("models", [TinyModels(9), TinyXl(4)], ids=["sd15", "sdxl"])
def test_original_names_agree_with_those_of_the_tests(models):
    """Two renamings that were written apart; diffusers' converters read both."""
    control = models.control if isinstance(models, TinyModels) else models.depth
    for ours, theirs in (
        (dict(name_unet_weights(models.unet)), dict(rename_unet(models.unet))),
        (dict(name_vae_weights(models.vae)), dict(rename_vae(models.vae))),
        (name_control_weights(control), {f"control_model.{k}": v for k, v in rename_unet(control)}),
    ):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
