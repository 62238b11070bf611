"""The paper's sampling: numbers of the paper's own code on shared weights, and what follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import paper_case  # noqa: E402
from hand_scenes import BOTH, make_stages, picture_with  # noqa: E402
from tiny_diffusion import TINY, TinyModels  # noqa: E402

from handrefiner_ext import pipeline  # noqa: E402
from handrefiner_ext.errors import InvalidParameter, PictureError  # noqa: E402
from handrefiner_ext.inpaint.diffusion import paper_sampling  # noqa: E402
from handrefiner_ext.inpaint.diffusion.loading import Loader  # noqa: E402
from handrefiner_ext.inpaint.diffusion.painter import DiffusersPainter  # noqa: E402
from handrefiner_ext.params import RefineParams  # noqa: E402
from handrefiner_ext.repaint.regions import DiffusersInpainter  # noqa: E402

GOLDEN = Path(__file__).parent / "data" / "paper_sampling.npz"
"""Computed by the paper's own code: tools/measure_paper_sampling.py."""
ALLOWED = 1e-3
"""Of the latents' standard deviation; 5e-5 was measured."""


def load(architecture, state, place):
    torch.save({"state_dict": state}, place)

    def no_other(family):
        raise AssertionError(family)

    return Loader("cpu", {"sd1": architecture}).load(place, no_other).pipeline


def test_latents_are_those_of_the_papers_own_code(tmp_path):
    place = tmp_path / "inpaint_depth_control.ckpt"
    network = load(paper_case.ARCHITECTURE, paper_case.make_state(), place)
    image, control, mask = paper_case.make_picture()
    wanted = paper_sampling.PaperTask(
        *(image, control, mask, paper_case.PROMPT, paper_case.NEGATIVE),
        strength=paper_case.STRENGTH,
        steps=paper_case.STEPS,
    )
    with torch.inference_mode():
        noises = paper_sampling.Noises(**paper_case.make_noises())
        latents = paper_sampling.sample(network, wanted, noises).numpy()
    golden = np.load(GOLDEN)["latents"]
    assert latents.shape == golden.shape == (1, 4, 64, 64)
    assert np.abs(latents - golden).max() <= ALLOWED * golden.std()


def test_steps_are_those_of_the_paper():
    assert paper_sampling.list_timesteps(50) == list(range(981, 0, -20))
    for steps in range(1, 151):
        assert 0 < paper_sampling.list_timesteps(steps)[0] < 1000


def test_noise_comes_in_the_order_of_the_papers_code():
    shape = (1, 4, 8, 8)
    noises = paper_sampling.draw_noises(5, shape, 10)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        assert torch.equal(noises.masked, torch.randn(shape))
        assert torch.equal(noises.picture, torch.randn(shape))
        torch.manual_seed(5)
        assert torch.equal(noises.initial, torch.randn(shape))
        for noise in noises.steps:
            assert torch.equal(noise, torch.randn(shape))
            torch.randn(shape)  # of DDIM's own step
    assert len(noises.steps) == 10


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The paper's combined layout with tiny weights, and a painter that knows its size."""
    place = tmp_path_factory.mktemp("paper") / "inpaint_depth_control.ckpt"
    models = TinyModels(9)
    torch.save({"state_dict": models.original_state() | models.control_state()}, place)
    return place, DiffusersPainter(loader=Loader("cpu", {"sd1": TINY}))


def params_for(place, **values):
    given = {"steps": 2, "prompt": "a hand", "seed": 7, "padding_bbox": 0, "sampling": "paper"}
    place = str(place)
    return RefineParams(backend="diffusers", checkpoint=place, keep_best=False, **given | values)


def refine(tiny, image, **values):
    place, painter = tiny
    stages = make_stages(inpainter=DiffusersInpainter(painter))
    return pipeline.refine(image, params_for(place, **values), stages)


def picture():
    return np.ascontiguousarray(picture_with(BOTH, height=64, width=128))


def test_nothing_outside_the_mask_changes_and_seed_and_strength_matter(tiny):
    image = picture()
    results = [
        refine(tiny, image, **values)
        for values in ({}, {}, {"seed": 8}, {"strength": 0.0}, {"strength": 1.0})
    ]
    for result in results:
        mask = result.hints.maps.mask
        assert np.array_equal(result.image[~mask], image[~mask])
        assert (result.image[mask] != image[mask]).any()
    assert np.array_equal(results[0].image, results[1].image)
    assert len({result.image.tobytes() for result in results}) == 4


def test_the_papers_own_numbers_are_used_where_none_are_given(tiny):
    place, _ = tiny
    task = replace(make_task(), image=picture())
    wanted = paper_sampling.make_task(task, params_for(place, steps=0))
    assert (wanted.steps, wanted.cfg_scale) == (50, 9.0)
    assert wanted.negative_prompt.startswith("fake 3D rendered image, longbody")
    other = params_for(place, steps=4, cfg_scale=3, negative_prompt="x", guidance_end=0.5)
    wanted = paper_sampling.make_task(task, other)
    assert (wanted.steps, wanted.cfg_scale, wanted.negative_prompt) == (4, 3.0, "x")
    assert wanted.guided == (0.0, 0.5)


def make_task():
    from handrefiner_ext.repaint.regions import RegionTask

    image = picture()
    control = np.zeros(image.shape[:2], dtype=np.uint8)
    return RegionTask(image, control, control > 0, 1)


def test_a_picture_of_another_size_is_a_sentence(tiny):
    with pytest.raises(PictureError, match="multiples of 64 pixels"):
        refine(tiny, picture_with(BOTH))


def test_another_sampler_is_refused(tiny):
    place, painter = tiny
    with pytest.raises(InvalidParameter, match="samples with DDIM"):
        painter.prepare(params_for(place, sampler="Euler"))


def test_what_the_latents_show_is_cut_off_to_grey_levels(tiny):
    place, painter = tiny
    network = painter.load(params_for(place)).pipeline
    with torch.inference_mode():
        shown = paper_sampling.decode(network, torch.randn(1, 4, 8, 16))
    assert (shown.shape, shown.dtype) == ((64, 128, 3), np.uint8)
