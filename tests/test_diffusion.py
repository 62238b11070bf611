"""The backend diffusers, through the real classes of diffusers with tiny random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_scenes import BOTH, make_stages, picture_with
from PIL import Image

from handrefiner_ext import pipeline
from handrefiner_ext.cli.commands import main
from handrefiner_ext.errors import BackendUnavailable, InvalidParameter, WeightsError
from handrefiner_ext.params import RefineParams
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.repaint.regions import RegionTask, RegionwiseInpainter

pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_diffusion import TINY, TinyModels  # noqa: E402

from handrefiner_ext.inpaint.diffusion.loading import Loader  # noqa: E402
from handrefiner_ext.inpaint.diffusion.painter import DiffusersPainter, _request  # noqa: E402
from handrefiner_ext.inpaint.diffusion.text import build_tokenizer  # noqa: E402

CHANNELS = [4, 9]
SIDE = 64


@pytest.fixture(scope="module", params=CHANNELS, ids=["ordinary", "inpainting"])
def models(request):
    return TinyModels(request.param)


@pytest.fixture(scope="module")
def files(models, tmp_path_factory):
    """One single file for the checkpoint, one for the ControlNet."""
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = models.save_safetensors(folder / "checkpoint.safetensors")
    return checkpoint, models.save_control_safetensors(folder / "control.safetensors")


def params_for(checkpoint, control="auto", **values):
    given = {
        "steps": 2,
        "denoising_strength": 1.0,
        "region_size": SIDE,
        "prompt": "a hand",
        "seed": 7,
    }
    return RefineParams(
        backend="diffusers",
        checkpoint=str(checkpoint),
        control_model=str(control),
        **given | values,
    )


def make_painter(**options):
    return DiffusersPainter(loader=Loader("cpu", {"sd1": TINY}), **options)


@pytest.fixture(scope="module")
def painter():
    return make_painter()


def make_task(seed=7):
    random = np.random.default_rng(2)
    image = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    control = np.zeros((SIDE, SIDE), dtype=np.uint8)
    control[16:48, 16:48] = 200
    return RegionTask(image, control, control > 0, seed)


def paint(painter, params, **task):
    return painter.paint_region(make_task(**task), params).astype(int)


def test_the_same_seed_paints_the_same_and_another_something_else(painter, files):
    params = params_for(*files)
    first, second = paint(painter, params), paint(painter, params)
    assert np.array_equal(first, second)
    assert np.abs(first - paint(painter, params, seed=8)).max() > 0


def test_torchs_own_random_state_is_left_alone(painter, files):
    before = torch.get_rng_state()
    paint(painter, params_for(*files))
    assert torch.equal(torch.get_rng_state(), before)


def test_strength_0_is_no_controlnet_and_other_strengths_differ(painter, files, models):
    params = params_for(*files, strength=0.0)
    request = _request(make_task(), params, painter.load(params))
    request = {k: v for k, v in request.items() if not k.startswith("control")}
    plain = models.plain_pipeline()
    plain.set_progress_bar_config(disable=True)
    alone = np.rint(plain(**request).images[0] * 255).astype(int)
    assert np.abs(paint(painter, params) - alone).max() <= 1  # rounding
    half, whole = (paint(painter, replace(params, strength=s)) for s in (0.5, 1.0))
    assert len({picture.tobytes() for picture in (alone, half, whole)}) == 3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own
def test_prompts_guidance_and_samplers_matter(painter, files):
    params = params_for(*files)
    variants = [
        params,
        replace(params, prompt="a foot"),
        replace(params, negative_prompt="six fingers"),
        replace(params, cfg_scale=3.0),
        replace(params, sampler="Euler a"),
        replace(params, guidance_end=0.5),
    ]
    assert len({paint(painter, p).tobytes() for p in variants}) == len(variants)


def test_denoising_strength_0_keeps_the_region(painter, files):
    task = make_task()
    kept = painter.paint_region(task, params_for(*files, denoising_strength=0.0))
    assert kept is task.image


@pytest.mark.parametrize("form", ["folder", "ckpt", "combined"])
def test_every_form_of_the_same_weights_paints_the_same(form, painter, files, models, tmp_path):
    expected = paint(painter, params_for(*files))
    if form == "folder":
        place = models.save_folder(tmp_path / "checkpoint")
        params = params_for(place, models.save_control_folder(tmp_path / "control"))
    elif form == "ckpt":
        place = tmp_path / "checkpoint.ckpt"
        torch.save({"state_dict": models.original_state(), "callbacks": [object]}, place)
        params = params_for(place, files[1])
    else:  # the layout of the paper's inpaint_depth_control.ckpt
        place = tmp_path / "inpaint_depth_control.ckpt"
        torch.save({"state_dict": models.original_state() | models.control_state()}, place)
        params = params_for(place)
    assert np.abs(paint(make_painter(), params) - expected).max() <= 1


def refine(image, params, painter):
    stages = make_stages(inpainter=RegionwiseInpainter(painter))
    return pipeline.refine(image, params, stages)


def test_only_pixels_inside_the_mask_change(painter, files):
    image, params = picture_with(BOTH), params_for(*files, padding_bbox=0)
    before = image.copy()
    seen = refine(image, params, painter).hints
    # Asked directly: the pipeline would give back what a backend changes outside the mask.
    painted = RegionwiseInpainter(painter).paint(
        PaintRequest(image, seen.meshes, seen.maps, params)
    )
    assert np.array_equal(image, before)
    assert (~seen.maps.mask).mean() > 0.1
    assert np.array_equal(painted[~seen.maps.mask], image[~seen.maps.mask])
    for box, inside in seen.maps.hand_masks:
        here = (painted != image).any(axis=2)[box.slices]
        assert (here & inside).any(), "a hand was not painted"


def test_the_command_line_paints_with_it(models, tmp_path, capsys):
    picture = Path(__file__).parents[1] / "examples" / "badly_drawn_hand.png"
    given = {
        "input_img": picture,
        "out_dir": tmp_path / "out",
        "mask_dir": tmp_path / "mask",
        "backend": "diffusers",
        "checkpoint": models.save_folder(tmp_path / "checkpoint"),
        "control_model": models.save_control_folder(tmp_path / "control"),
        "steps": 2,
        "region_size": SIDE,
        "prompt": "a hand",
        "keep_best": "False",  # a random network paints noise
    }
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    assert main(["refine", *words]) == 0, capsys.readouterr().err
    before, after, mask = (
        np.asarray(Image.open(path).convert("RGB"))
        for path in (
            *(picture, tmp_path / "out" / "badly_drawn_hand_0.png"),
            tmp_path / "mask" / "badly_drawn_hand_mask.png",
        )
    )
    outside = mask[..., 0] == 0
    assert np.array_equal(before[outside], after[outside])
    assert (before != after).any()
    assert main(["refine", *words, "--vae", "x"]) == 2
    assert "--vae is a parameter of the WebUI" in capsys.readouterr().err


def test_each_region_has_a_seed_of_its_own(painter, files):
    seeds = []

    class Watching:
        name = "watching"
        native_side = painter.native_side

        def paint_region(self, task, params):
            seeds.append(task.seed)
            assert task.image.shape == (*task.mask.shape, 3)
            assert task.control.shape == task.mask.shape
            assert max(task.mask.shape) == SIDE
            return task.image

    refine(picture_with(BOTH), params_for(*files, seed=2**32 - 1, padding_bbox=0), Watching())
    assert seeds == [2**32 - 1, 0]


def test_known_texts_have_clips_own_numbers():
    tokens = build_tokenizer()
    assert tokens("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(tokens) == 49408


def load(checkpoint, control="auto"):
    paint(make_painter(), params_for(checkpoint, control))


def test_files_of_the_wrong_kind_are_refused_with_a_sentence(files, tmp_path):
    checkpoint, control = files
    with pytest.raises(WeightsError, match="is not a Stable Diffusion checkpoint"):
        load(control, control)
    with pytest.raises(WeightsError, match="is not a ControlNet"):
        load(checkpoint, checkpoint)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="Download it again"):
        load(broken, control)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="as diffusers writes it"):
        load(tmp_path / "empty", control)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("conditioner.embedders.0.model.x", "SDXL's refiner"),
        ("cond_stage_model.model.x", "Stable Diffusion 2"),
    ],
)
def test_other_families_are_named(key, kind, files, tmp_path):
    from safetensors.torch import save_file

    place = tmp_path / "other.safetensors"
    save_file({key: torch.zeros(1)}, place)
    with pytest.raises(WeightsError, match=kind):
        load(place, files[1])


def test_one_missing_weight_is_noticed(models, files, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(files[0])
    for part in (
        "first_stage_model.decoder.conv_in",
        "cond_stage_model.transformer.text_model.final",
    ):
        name = next(key for key in state if key.startswith(part))
        place = tmp_path / "lacking.safetensors"
        save_file({key: value for key, value in state.items() if key != name}, place)
        with pytest.raises(WeightsError, match="do not fit"):
            load(place, files[1])


def test_what_is_missing_is_said_with_how_to_get_it(files, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InvalidParameter, match="does not exist"):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(InvalidParameter, match="sampler = 'Magic' is not one of DDIM"):
        paint(make_painter(), params_for(*files, sampler="Magic"))
    with pytest.raises(BackendUnavailable, match="weights download controlnet"):
        load(files[0])
