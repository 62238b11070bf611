"""The backend diffusers with SDXL: the real classes of diffusers with tiny random weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hand_scenes import BOTH, make_stages, picture_with  # noqa: E402
from tiny_diffusion import TINY, TinyModels  # noqa: E402
from tiny_sdxl import TINY_XL, TinyXl  # noqa: E402

from handrefiner_ext import pipeline  # noqa: E402
from handrefiner_ext.errors import BackendUnavailable, InvalidParameter, WeightsError  # noqa: E402
from handrefiner_ext.inpaint.diffusion.loading import Loader, find_control  # noqa: E402
from handrefiner_ext.inpaint.diffusion.painter import DiffusersPainter, _request  # noqa: E402
from handrefiner_ext.params import RefineParams  # noqa: E402
from handrefiner_ext.protocols import PaintRequest  # noqa: E402
from handrefiner_ext.repaint.regions import DiffusersInpainter, RegionTask  # noqa: E402
from handrefiner_ext.types import ModelHome  # noqa: E402

SIDE = 64


@pytest.fixture(scope="module", params=[4, 9], ids=["base", "inpainting"])
def models(request):
    return TinyXl(request.param)


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory):
    """The checkpoint as one file, and a ControlNet of each kind."""
    folder = tmp_path_factory.mktemp("xl")
    models.save_safetensors(folder / "sd_xl_tiny.safetensors")
    models.save_depth(folder / "depth.safetensors")
    models.save_union(folder / "union.safetensors")
    return folder


def make_painter(models_dir=None):
    loader = Loader("cpu", {"sd1": TINY, "sdxl": TINY_XL})
    return DiffusersPainter(ModelHome(models_dir), loader)


@pytest.fixture(scope="module")
def painter():
    return make_painter()


def params_for(checkpoint, control, **values):
    given = {"steps": 2, "denoising_strength": 1.0, "region_size": SIDE, "prompt": "a hand"}
    names = {"checkpoint": str(checkpoint), "control_model": str(control), "seed": 7}
    return RefineParams(backend="diffusers", **names, **given | values)


def make_task(seed=7):
    random = np.random.default_rng(2)
    control = np.zeros((SIDE, SIDE), dtype=np.uint8)
    control[16:48, 16:48] = 200
    image = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return RegionTask(image, control, control > 0, seed)


def paint(painter, params, **task):
    return painter.paint_region(make_task(**task), params).astype(int)


def plain(models, params, painter):
    """diffusers' own inpainting without any ControlNet."""
    request = _request(make_task(), params, painter.load(params))
    request = {k: v for k, v in request.items() if not k.startswith("control")}
    alone = models.plain_pipeline()
    alone.set_progress_bar_config(disable=True)
    return np.rint(alone(**request).images[0] * 255).astype(int)


@pytest.mark.parametrize("control", ["depth.safetensors", "union.safetensors"])
def test_seed_strength_and_control_matter(control, models, folder, painter):
    if control.startswith("union") and models.unet.config.in_channels == 9:
        with pytest.raises(WeightsError, match="use a depth ControlNet in place of union"):
            painter.prepare(params_for(folder / "sd_xl_tiny.safetensors", folder / control))
        return
    params = params_for(folder / "sd_xl_tiny.safetensors", folder / control)
    first = paint(painter, params)
    assert np.array_equal(first, paint(painter, params))
    assert np.abs(first - paint(painter, params, seed=8)).max() > 0
    none = paint(painter, replace(params, strength=0.0))
    assert np.abs(none - plain(models, params, painter)).max() <= 1  # rounding
    half, whole = (paint(painter, replace(params, strength=s)) for s in (0.5, 1.0))
    assert len({p.tobytes() for p in (none, half, whole)}) == 3


def test_every_form_of_the_same_weights_paints_the_same(models, folder, painter, tmp_path):
    checkpoint, depth = folder / "sd_xl_tiny.safetensors", folder / "depth.safetensors"
    expected = paint(painter, params_for(checkpoint, depth))
    models.depth.save_pretrained(tmp_path / "depth")
    original = models.save_original_depth(tmp_path / "original.safetensors")
    place = models.save_folder(tmp_path / "checkpoint")
    for given in ((place, depth), (checkpoint, tmp_path / "depth"), (checkpoint, original)):
        assert np.abs(paint(make_painter(), params_for(*given)) - expected).max() <= 1
    if models.unet.config.in_channels == 9:
        return  # for which there is no union
    models.union.save_pretrained(tmp_path / "union")
    expected = paint(painter, params_for(checkpoint, folder / "union.safetensors"))
    union = paint(make_painter(), params_for(place, tmp_path / "union"))
    assert np.abs(union - expected).max() <= 1


def test_regions_are_of_1024_pixels(folder, painter):
    params = params_for(folder / "sd_xl_tiny.safetensors", folder / "depth.safetensors")
    assert painter.native_side(replace(params, region_size=0)) == 1024


def test_only_pixels_inside_the_mask_change(folder, painter):
    params = params_for(
        folder / "sd_xl_tiny.safetensors", folder / "depth.safetensors", padding_bbox=0
    )
    image, inpainter = picture_with(BOTH), DiffusersInpainter(painter)
    result = pipeline.refine(image, params, make_stages(inpainter=inpainter))
    maps = result.hints.maps
    painted = inpainter.paint(PaintRequest(image, result.hints.meshes, maps, params))
    assert np.array_equal(painted[~maps.mask], image[~maps.mask])
    assert (painted != image).any()
    # The tiny ControlNet is called depth.safetensors, for which 0.6 is recommended.
    assert result.notes == ("strength: 0.6 suits depth.safetensors; 0.55 was used.",)


def test_a_fitting_controlnet_is_chosen_from_the_models_folder(models, folder, tmp_path):
    home = tmp_path / "home"
    (home / "ControlNet").mkdir(parents=True)
    params = params_for(folder / "sd_xl_tiny.safetensors", "auto")
    models.save_union(home / "ControlNet" / "xinsir_union_sdxl.safetensors")
    assert find_control("auto", "sdxl", home).name == "xinsir_union_sdxl.safetensors"
    models.save_depth(home / "diffusers_xl_depth_full.safetensors")
    TinyModels(9).save_control_safetensors(home / "control_v11f1p_sd15_depth.safetensors")
    assert make_painter(home).load(params).control == "diffusers_xl_depth_full.safetensors"
    named = find_control("xinsir_union_sdxl.safetensors", "sdxl", home)
    assert named.parent == home / "ControlNet"


def test_without_a_fitting_controlnet_a_sentence_says_what_to_do(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    TinyModels(9).save_control_safetensors(tmp_path / "control_v11f1p_sd15_depth.safetensors")
    params = params_for(folder / "sd_xl_tiny.safetensors", "auto")
    with pytest.raises(BackendUnavailable, match="No depth or union ControlNet for SDXL"):
        make_painter(tmp_path).prepare(params)


def test_files_that_do_not_fit_each_other_are_refused(models, folder, tmp_path):
    checkpoint = folder / "sd_xl_tiny.safetensors"
    small = TinyModels(9)
    control = small.save_control_safetensors(tmp_path / "sd15.safetensors")
    with pytest.raises(WeightsError, match="not of the checkpoint's family"):
        make_painter().prepare(params_for(checkpoint, control))
    old = small.save_safetensors(tmp_path / "old.safetensors")
    with pytest.raises(WeightsError, match="not of the checkpoint's family"):
        make_painter().prepare(params_for(old, folder / "union.safetensors"))
    with pytest.raises(WeightsError, match="not of the checkpoint's family"):
        make_painter().prepare(params_for(old, _folder(models.depth, tmp_path / "depth")))
    params = params_for(checkpoint, folder / "depth.safetensors", sampling="paper")
    with pytest.raises(InvalidParameter, match="sampling = 'paper' is for Stable Diffusion 1"):
        make_painter().prepare(params)


def _folder(model, place):
    model.save_pretrained(place)
    return place


def test_one_missing_or_strange_weight_is_noticed(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "sd_xl_tiny.safetensors")
    for name in ("ln_final.bias", "transformer.resblocks.1.attn.in_proj_bias", "text_projection"):
        key = f"conditioner.embedders.1.model.{name}"
        place = tmp_path / "lacking.safetensors"
        save_file({k: v for k, v in state.items() if k != key}, place)
        with pytest.raises(WeightsError, match="do not fit"):
            make_painter().prepare(params_for(place, folder / "depth.safetensors"))
        save_file({**state, key + "_x": torch.zeros(1)}, place)
        with pytest.raises(WeightsError, match="unknown"):
            make_painter().prepare(params_for(place, folder / "depth.safetensors"))
