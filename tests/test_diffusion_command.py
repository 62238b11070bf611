"""The paper's command line with Stable Diffusion: its combined file, its words, its mistakes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import hostile_files  # noqa: E402
from cli_runs import names, read, refine_folder, run  # noqa: E402
from hand_scenes import BOTH, make_stages, picture_with  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tiny_diffusion import TINY, TinyModels  # noqa: E402
from tiny_sdxl import TINY_XL  # noqa: E402

from handrefiner_ext import pipeline, stages  # noqa: E402
from handrefiner_ext.cli import doctor  # noqa: E402
from handrefiner_ext.cli.commands import DONE, FAILED, WRONG_USAGE  # noqa: E402
from handrefiner_ext.files import run as file_run  # noqa: E402
from handrefiner_ext.inpaint.diffusion import loading, painter  # noqa: E402
from handrefiner_ext.inpaint.draft import DraftInpainter  # noqa: E402
from handrefiner_ext.params import RefineParams  # noqa: E402
from handrefiner_ext.protocols import PaintRequest  # noqa: E402
from handrefiner_ext.repaint import regions as regionwise  # noqa: E402

README = Path(__file__).parents[1] / "README.md"
NO_MODELS = ("--models_dir", "{t}")
NOISE = ("--keep_best", "False")
"""A random network paints noise."""
QUICK = ("--steps", 2, "--region_size", 64, "--padding_bbox", 0, *NOISE)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A models folder as the paper's users have it, with tiny weights."""
    folder = tmp_path_factory.mktemp("models")
    models, plain = TinyModels(9), TinyModels(9, seed=2)
    combined = models.original_state() | models.control_state()
    torch.save({"state_dict": combined}, folder / "inpaint_depth_control.ckpt")
    torch.save({"state_dict": models.original_state()}, folder / "sd-v1-5-inpainting.ckpt")
    torch.save(plain.control_state(), folder / "control_v11f1p_sd15_depth.pth")
    return folder


@pytest.fixture(autouse=True)
def tiny_world(monkeypatch):
    """Tiny networks for hands; the real diffusion backend at a tiny size. Its painter is kept."""
    kept = {}
    monkeypatch.setitem(loading.ARCHITECTURES, "sd1", TINY)
    monkeypatch.setitem(loading.ARCHITECTURES, "sdxl", TINY_XL)

    def build(params, home=None):
        if params.backend != "diffusers":
            return make_stages()
        kept["inpainter"] = kept.get("inpainter") or regionwise.build_diffusers(home)
        return make_stages(inpainter=kept["inpainter"])

    monkeypatch.setattr(stages, "build_stages", build)
    monkeypatch.setattr(file_run, "build_stages", build)
    return kept


@pytest.fixture
def folder(tmp_path):
    """Two pictures of sides that the paper's sampling takes."""
    place = tmp_path / "in"
    place.mkdir()
    for name in ("1.png", "2.png"):
        Image.fromarray(picture_with(BOTH, height=64, width=128)).save(place / name)
    return place


def on(home):
    return ("--models_dir", home, "--device", "cpu")


def test_the_papers_command_with_its_combined_file(home, folder, tmp_path, capsys):
    prompts = tmp_path / "test.json"
    lines = [{"img": f"{n}.png", "txt": f"hand {n}"} for n in (1, 2)]
    prompts.write_text("\n".join(map(json.dumps, lines)))
    log = tmp_path / "log.json"
    words = ("--strength", 0.55, "--weights", home / "inpaint_depth_control.ckpt", "--seed", 1)
    more = ("--prompt_file", prompts, "--n_iter", 2, "--eval", "True", "--log_json", log)
    assert refine_folder(folder, tmp_path / "out", *words, *more, *QUICK, *on(home)) == DONE
    assert names(tmp_path / "out") == ["1_0.png", "1_1.png", "2_0.png", "2_1.png"]
    pictures = {name: read(tmp_path / "out" / name).tobytes() for name in names(tmp_path / "out")}
    assert len(set(pictures.values())) == 4  # seeds differ, prompts differ
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(s["prompt"], s["seed"], s["strength"]) for s in said] == [
        *(("hand 1", 1, 0.55), ("hand 1", 2, 0.55)),
        *(("hand 2", 1, 0.55), ("hand 2", 2, 0.55)),
    ]
    assert "MPJPE" in capsys.readouterr().out
    again = tmp_path / "again"
    assert refine_folder(folder, again, *words, *more, *QUICK, *on(home)) == DONE
    assert pictures == {name: read(again / name).tobytes() for name in names(again)}


def test_not_finetuned_is_the_plain_depth_controlnet(home, folder, tmp_path, tiny_world):
    source = ("--input_img", folder / "1.png")
    hand, plain, named = (tmp_path / name for name in ("hand", "plain", "named"))
    weights = ("--weights", "inpaint_depth_control.ckpt")  # found in the models folder
    assert run("refine", *source, "--out_dir", hand, *weights, *QUICK, *on(home)) == DONE
    tiny_world.clear()
    finetuned = ("--finetuned", "False")
    assert run("refine", *source, "--out_dir", plain, *finetuned, *QUICK, *on(home)) == DONE
    params = RefineParams(control_model="control_v11f1p_sd15_depth.pth")
    loaded = tiny_world["inpainter"].painter.load(params)
    assert loaded.control == "control_v11f1p_sd15_depth.pth"
    both = (*weights, *finetuned)
    assert run("refine", *source, "--out_dir", named, *both, *QUICK, *on(home)) == DONE
    np.testing.assert_array_equal(read(plain / "1_0.png"), read(named / "1_0.png"))
    assert (read(plain / "1_0.png") != read(hand / "1_0.png")).any()


def test_the_papers_sampling_from_the_command_line(home, folder, tmp_path):
    words = ("--weights", home / "inpaint_depth_control.ckpt", "--sampling", "paper")
    mask = tmp_path / "mask"
    more = ("--mask_dir", mask, "--steps", 2, "--padding_bbox", 0, *NOISE, *on(home))
    assert refine_folder(folder, tmp_path / "out", *words, *more) == DONE
    before, after = read(folder / "1.png"), read(tmp_path / "out" / "1_0.png")
    inside = read(mask / "1_mask.png") > 0
    assert np.array_equal(before[~inside], after[~inside])
    assert (before[inside] != after[inside]).any()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--weights", "{h}/control_v11f1p_sd15_depth.pth"), (FAILED, "is not a Stable Diffusion")),
        (("--weights", "{h}/gone.ckpt"), (WRONG_USAGE, "checkpoint = '{h}/gone.ckpt' does not")),
        (("--control_model", "{h}/sd-v1-5-inpainting.ckpt"), (FAILED, "is not a ControlNet")),
        (
            ("--weights", "{h}/inpaint_depth_control.ckpt", "--finetuned", "0", *NO_MODELS),
            (FAILED, "weights download depth"),
        ),
        (("--sampler", "Magic"), (WRONG_USAGE, "sampler = 'Magic' is not one of DDIM")),
        (("--device", "cuda:7"), (WRONG_USAGE, "The device cuda:7 cannot be used")),
        (("--sampling", "paper", "--sampler", "Euler"), (WRONG_USAGE, "samples with DDIM")),
    ],
)
def test_weights_and_words_that_do_not_serve(home, folder, tmp_path, capsys, words, expected):
    """The command says so before the first picture."""
    code, sentence = expected
    if "cuda:7" in words and torch.cuda.is_available():
        pytest.skip("the machine may have that device")
    words = [word.format(h=home, t=tmp_path) for word in words]
    more = ("--backend", "diffusers", "--models_dir", home, *words)
    assert refine_folder(folder, tmp_path / "out", *more) == code
    error = capsys.readouterr().err
    assert sentence.format(h=home) in error
    assert error.count("\n") == 1
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize(
    "attack", ["tuple as storage class", "strides of 0", "memo numbers of one hash"]
)
@pytest.mark.parametrize("option", ["--checkpoint", "--weights", "--control_model"])
def test_a_hostile_file_is_one_printable_sentence(attack, option, home, folder, tmp_path, capsys):
    place = tmp_path / "hostile.ckpt"
    for write in (hostile_files.write_archive, write_legacy):
        write(place, hostile_files.TENSORS[attack]())
        words = (option, place, "--backend", "diffusers", "--models_dir", home)
        begun = time.process_time()
        assert refine_folder(folder, tmp_path / "out", *words) == FAILED
        assert time.process_time() - begun < 5.0
        said = capsys.readouterr().err.removesuffix("\n")
        assert str(place) in said
        assert said.isprintable()


def test_names_of_weights_are_escaped_and_short_in_a_message(home, folder, tmp_path, capsys):
    place = tmp_path / "odd.safetensors"
    state = TinyModels(9).original_state()
    odd = {f"cond_stage_model.transformer.\x1b[2J{'x' * 10**6}": torch.zeros(1)}
    save_file({k: v.contiguous().clone() for k, v in (state | odd).items()}, place)
    words = ("--checkpoint", place, "--backend", "diffusers", "--models_dir", home)
    assert refine_folder(folder, tmp_path / "out", *words) == FAILED
    said = capsys.readouterr().err.removesuffix("\n")
    assert "do not fit CLIP's text encoder" in said
    assert said.isprintable()
    assert len(said) < 600


@pytest.mark.skipif(not README.exists(), reason="the README is not installed here")
@pytest.mark.parametrize("works", [True, False])
def test_the_readmes_check_sees_whether_a_controlnet_has_an_effect(
    works, tmp_path, capsys, monkeypatch
):
    """The command is run as the README writes it."""
    (line,) = re.findall(r"^handrefiner (doctor --try .+)$", README.read_text("utf-8"), re.M)
    monkeypatch.setattr(doctor, "STEPS", 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(painter.NATIVE_SIDE, "sd1", 128)  # 512 pixels take ten times as long
    models = TinyModels(9)
    for name, weight in models.control.named_parameters():
        if name.startswith(("controlnet_down", "controlnet_mid")):
            # So tiny a network hardly listens to its ControlNet; a real one does.
            torch.nn.init.constant_(weight, 10.0 if works else 0.0)
    models.save_safetensors("model.safetensors")
    models.save_control_safetensors("hand_controlnet.safetensors")
    assert run(*shlex.split(line), "--device", "cpu") == FAILED  # it paints noise
    said = capsys.readouterr().out
    assert "the ControlNet changes the mask by" in said
    assert ("FAILED: The ControlNet has no effect" in said) is not works, said[-600:]
    shown = ["doctor_after.png", "doctor_before.png", "doctor_without_control.png"]
    assert names(tmp_path / "check") == shown


def write_legacy(place, body):
    place.write_bytes(hostile_files.legacy(body))


def test_too_little_memory_is_a_sentence_and_what_is_finished_stays(
    home, folder, tmp_path, capsys, tiny_world
):
    """The second picture's second run of the network fails as torch itself would."""
    words = ("--weights", "inpaint_depth_control.ckpt", *QUICK, *on(home))
    one = ("refine", "--input_img", folder / "1.png", "--out_dir", tmp_path, *words)
    assert run(*one) == DONE
    params = RefineParams(checkpoint="inpaint_depth_control.ckpt")
    unet = tiny_world["inpainter"].painter.load(params).pipeline.unet
    runs, allowed = [], []

    def fail(module, given):
        runs.append(1)
        if allowed and len(runs) > allowed[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    unet.register_forward_pre_hook(fail)
    assert run(*one) == DONE
    allowed.append(2 * len(runs) + 1)
    assert refine_folder(folder, tmp_path / "out", *words) == FAILED
    assert names(tmp_path / "out") == ["1_0.png"]
    assert "There was not enough GPU memory; choose a smaller --region_size" in (
        capsys.readouterr().err
    )


def test_half_precision_can_be_chosen(home, folder, tmp_path, tiny_world):
    words = ("--weights", "inpaint_depth_control.ckpt", "--dtype", "bfloat16", *QUICK, *on(home))
    arguments = ("--input_img", folder / "1.png", "--out_dir", tmp_path / "out")
    assert run("refine", *arguments, *words) == DONE
    params = RefineParams(checkpoint="inpaint_depth_control.ckpt")
    assert tiny_world["inpainter"].painter.load(params).pipeline.unet.dtype == torch.bfloat16


# --- the draft as the start


def scene(home, tiny_world, **values):
    """(params, image, hints, inpainter) of one picture."""
    given = {"steps": 10, "region_size": 64, "padding_bbox": 0, "backend": "diffusers"}
    params = RefineParams(**{**given, "checkpoint": "inpaint_depth_control.ckpt", **values})
    built = stages.build_stages(params, regionwise.ModelHome(home, "cpu"))
    image = picture_with(BOTH, height=64, width=128)
    return params, image, pipeline.hints(image, params, built), tiny_world["inpainter"]


class Green(DraftInpainter):
    """A draft that is easily told from the picture."""

    def paint(self, request):
        return np.where(request.maps.mask[..., None], np.uint8((20, 220, 60)), request.image)


@pytest.mark.parametrize("denoising", [0.2, 0.5, 0.8])
def test_denoising_starts_from_the_draft_as_strongly_as_the_schedule_says(
    home, tiny_world, monkeypatch, denoising
):
    """What the network first sees is sqrt(a) latents + noise: sqrt(a) of the draft is in it."""
    monkeypatch.setattr(regionwise, "DraftInpainter", Green)
    params, image, seen, inpainter = scene(home, tiny_world, denoising_strength=denoising)
    models = inpainter.painter.load(params)
    first, times = {}, {}

    def watch(module, given, named):
        if start not in first:
            first[start] = given[0][:1, :4].clone()
            times[start] = int(given[1])

    handle = models.pipeline.unet.register_forward_pre_hook(watch, with_kwargs=True)
    for start in ("picture", "draft"):
        inpainter.paint(PaintRequest(image, seen.meshes, seen.maps, replace(params, start=start)))
    handle.remove()
    assert times["picture"] == times["draft"]
    # The same noise in both: what is left is the difference of the latents.
    difference = (first["draft"] - first["picture"]).flatten()
    clean = _latents(models, inpainter, image, seen, params)
    assert clean.abs().max() > 0.05, "the draft is the picture"
    signal = float(models.pipeline.scheduler.alphas_cumprod[times["draft"]]) ** 0.5
    torch.testing.assert_close(difference, signal * clean.flatten(), atol=2e-4, rtol=1e-3)


def _latents(models, inpainter, image, seen, params):
    """Of the first region's draft, less the picture's; the VAE's own random part is equal."""
    drawn = []

    class Watching:
        name = "watching"

        def native_side(self, params):
            return 64

        def paint_region(self, task, params):
            drawn.append(task)
            return task.image

    watching = regionwise.RegionwiseInpainter(Watching())
    watching.paint(PaintRequest(image, seen.meshes, seen.maps, replace(params, start="draft")))
    task, vae = drawn[0], models.pipeline.vae
    assert (task.start[task.mask.nonzero()[0][0], task.mask.nonzero()[1][0]] != 0).any()

    def encode(picture):
        generator = torch.Generator("cpu").manual_seed(task.seed)
        pixels = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        return vae.encode(pixels).latent_dist.sample(generator) * vae.config.scaling_factor

    with torch.inference_mode():
        return encode(task.start) - encode(task.image)


def test_no_denoising_leaves_the_draft_itself(home, tiny_world, monkeypatch):
    monkeypatch.setattr(regionwise, "DraftInpainter", Green)
    params, image, seen, inpainter = scene(
        home, tiny_world, denoising_strength=0.0, start="draft", mask_blur=0
    )
    painted = inpainter.paint(PaintRequest(image, seen.meshes, seen.maps, params))
    assert np.array_equal(painted[~seen.maps.mask], image[~seen.maps.mask])
    inside = painted[seen.maps.mask].astype(int)
    assert np.abs(np.median(inside, axis=0) - (20, 220, 60)).max() <= 2
    kept = inpainter.paint(
        PaintRequest(image, seen.meshes, seen.maps, replace(params, start="picture"))
    )
    assert np.abs(kept.astype(int) - image).mean() < 20


def test_the_draft_is_off_by_default():
    assert (RefineParams().start, RefineParams().sampling) == ("picture", "regions")


def test_loading_says_nothing_that_nobody_can_use(tmp_path, folder):
    """In a process of its own: some is said only where a package is imported."""
    models = TinyModels(9)
    models.save_folder(tmp_path / "checkpoint")
    models.save_control_folder(tmp_path / "control_depth")
    command = ["refine", "--input_img", folder / "1.png", "--out_dir", tmp_path / "out"]
    command += ["--backend", "diffusers", "--checkpoint", tmp_path / "checkpoint"]
    command += ["--control_model", tmp_path / "control_depth", "--device", "cpu", *QUICK]
    done = subprocess.run(
        [sys.executable, "-m", "handrefiner_ext", *map(str, command)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
