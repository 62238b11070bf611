"""Hands appear in a real WebUI where the depth says, painted by a small trained model.

docs/training.md says how to make the model; the variable HANDREFINER_SMALL_MODEL names its folder.
`tests/test_diffusion_method.py` asks the same of the backend diffusers, with a smaller one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from generation import Outcome, alike, as_mask, img2img
from method import DRAWN, STYLES, Scene, find_iou, find_silhouette
from running_host import Host, missing_for_a_host, start_host
from small_model import CONTROL, VARIABLE, lay_out, missing_small_model

from handrefiner_ext import hints, refine
from handrefiner_ext.dataset import Options, iterate
from handrefiner_ext.hands.posed import describe_poses

pytestmark = pytest.mark.only_on("a1111", reason="others read no configuration of a checkpoint")
SEED = 4001
NUMBERS = (2, 4, 9)
"""Whole pictures, of SEED, in whose malformed form one hand is found."""
STEPS, CFG = 10, 2.0
PAINTED = {
    **{"denoising_strength": 1.0, "region_size": DRAWN, "keep_best": False, "guard": False},
    **{"steps": STEPS, "cfg_scale": CFG, "sampler": "Euler"},
}
"""Euler: of the WebUI's DDIM the first step, from nothing but noise, is left out."""
STRENGTHS = (0.0, 0.5, 1.0)
TRIES = 3
LEAST = 0.6
"""IoU of a painted hand with its mesh that no candidate falls short of."""


@dataclass(frozen=True)
class Case:
    """A malformed picture, its well-formed twin, and the pose that was found in the former."""

    number: int
    bad: np.ndarray
    good: np.ndarray
    prompt: str
    pose: str

    def see(self, control: np.ndarray, mask: np.ndarray) -> Scene:
        return Scene(self.bad, self.good, control, control > 0, mask, self.prompt)


@pytest.fixture(scope="module")
def small() -> Path:
    reason = missing_small_model()
    if reason is not None:
        pytest.skip(reason)
    return Path(os.environ[VARIABLE]).resolve()


@pytest.fixture(scope="module")
def painter(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with that model."""
    reason = missing_for_a_host()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("small")
    weights = lay_out(small, folder / "model", Path(os.environ["HF_HOME"]))
    running = start_host(
        folder, "--controlnet-dir", str(weights.parent), "--api", model=str(weights)
    )
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    made = []
    for number in NUMBERS:
        good, bad = iterate(SEED, 1, Options(size=DRAWN, twins=True, styles=STYLES), number)
        meshes = hints(bad.image).meshes
        pose = json.dumps(describe_poses(meshes, *bad.image.shape[:2]))
        made.append(Case(number, bad.image, good.image, good.prompt, pose))
    return made


class Studio:
    """Paints each case once with the same values, however many tests ask for it."""

    def __init__(self, host: Host, cases: list[Case]) -> None:
        self.host, self.cases = host, cases

    def ask(self, number: int, values: dict[str, object], **more: object) -> Outcome:
        """values: our parameters; more: those of the request."""
        case = self.cases[number]
        hands = {
            **PAINTED,
            **{"enabled": True, "skip_img2img": True, "extra_images": True, "prompt": case.prompt},
            **{"pose": case.pose, "control_model": CONTROL, **values},
        }
        size = {"width": DRAWN, "height": DRAWN, "seed": case.number}
        return img2img(self.host, case.bad, hands, **size, **more)

    @cache  # noqa: B019 - lives as long as the module's tests
    def paint(self, number: int, **values: object) -> Outcome:
        return self.ask(number, values)

    def rate(self, number: int, outcome: Outcome) -> float:
        """IoU of the painted hand with its mesh."""
        return find_iou(self.see(number, outcome), outcome.image)

    def see(self, number: int, outcome: Outcome) -> Scene:
        control, mask = outcome.images[1], as_mask(outcome.images[2])
        return self.cases[number].see(control[..., 0], mask)


def find_axes(host: Host) -> list[str]:
    """The axes of the X/Y/Z plot of img2img, by their numbers."""
    scripts = host.get("/sdapi/v1/script-info")
    plot = next(s for s in scripts if s["name"] == "x/y/z plot" and s["is_img2img"])
    return list(plot["args"][0]["choices"])


@pytest.fixture(scope="module")
def studio(painter: Host, cases: list[Case]) -> Studio:
    return Studio(painter, cases)


def test_the_more_strength_the_better_the_hand_follows_the_depth(studio):
    rated = [
        [studio.rate(number, studio.paint(number, strength=strength)) for strength in STRENGTHS]
        for number in range(len(NUMBERS))
    ]
    without, half, whole = np.median(rated, axis=0)
    assert without + 0.15 < whole, rated
    assert without < half < whole + 0.03, rated


def test_the_webui_paints_as_the_backend_diffusers_does(studio, small):
    """The same picture, pose, seed and values: hands of the same outline.

    Not the same pixels, since diffusers draws once from the seed before it draws the noise. At a
    denoising of 1 they are less alike: it begins with nothing but noise then, the WebUI with the
    old picture below it.
    """
    values = {"sampler": "DDIM", "denoising_strength": 0.9, "strength": 1.0}
    overlaps, apart = [], []
    for number, case in enumerate(studio.cases):
        on = studio.paint(number, **values)
        ours = refine(
            case.bad,
            backend="diffusers",
            checkpoint=str(small / "checkpoint"),
            control_model=str(small / "controlnet"),
            pose=case.pose,
            prompt=case.prompt,
            seed=case.number,
            **{**PAINTED, **values},
        )
        scene = studio.see(number, on)
        assert np.array_equal(ours.hints.maps.control, scene.control)
        assert np.array_equal(ours.hints.maps.mask, scene.mask)
        one, other = (find_silhouette(scene, each, each) for each in (on.image, ours.image))
        overlaps.append((one & other).sum() / (one | other).sum())
        apart.append(find_iou(scene, on.image) - find_iou(scene, ours.image))
    assert np.median(overlaps) > 0.7, overlaps
    assert abs(np.median(apart)) < 0.1, apart


def test_a_sweep_over_the_strength_shows_it_in_one_plot(studio):
    """What the X/Y/Z plot paints in its cells is what single runs paint, and follows the depth the
    better the further right it stands."""
    axes = find_axes(studio.host)
    values = ", ".join(map(str, STRENGTHS))
    off = axes.index("Nothing")
    arguments = [axes.index("[HandRefiner] Strength"), values, [], off, "", [], off, "", []]
    arguments += [True, True, False, False, False, False, False, 0, True]
    rated = []
    for number in range(len(NUMBERS)):
        plot = {"script_name": "X/Y/Z plot", "script_args": arguments}
        cells = studio.ask(number, {}, **plot).images[-len(STRENGTHS) :]
        single = studio.paint(number, strength=STRENGTHS[-1])
        assert alike(cells[-1], single.image)
        scene = studio.see(number, single)
        rated.append([find_iou(scene, cell) for cell in cells])
    without, half, whole = np.median(rated, axis=0)
    assert without + 0.15 < whole, rated
    assert without < half < whole + 0.03, rated


def test_every_picture_of_a_batch_gets_its_own_hand_of_the_depth(studio):
    on = studio.ask(0, {"strength": 1.0, "extra_images": False}, n_iter=2, batch_size=2)
    pictures = on.images[-4:]
    scene = studio.see(0, studio.paint(0, strength=1.0))
    without = studio.rate(0, studio.paint(0, strength=0.0))
    for number, picture in enumerate(pictures):
        assert find_iou(scene, picture) > without + 0.1
        assert not any(alike(picture, other) for other in pictures[:number])


def test_candidates_differ_and_the_one_that_is_named_is_kept(studio):
    """All of them follow the depth. tests/test_small_model.py asks whether it is the best one."""
    for number in range(len(NUMBERS)):
        alone = studio.paint(number, strength=1.0)
        on = studio.ask(number, {"strength": 1.0, "candidates": TRIES})
        (run,) = studio.host.get("/handrefiner/v1/last")["pictures"][-1:]
        (hand,) = run["hands"]
        original, *listed = sorted(hand["candidates"], key=lambda each: each["number"])
        candidates, scene = on.images[-TRIES:], studio.see(number, on)
        assert len(listed) == TRIES
        assert original["number"] == 0
        assert all(find_iou(scene, each) > LEAST for each in candidates)
        for place, each in enumerate(candidates):
            assert not any(alike(each, other) for other in candidates[:place])
        # A batch of three rounds otherwise than one picture; from pure noise that grows.
        first, *later = (np.abs(alone.image - each.astype(float)).mean() for each in candidates)
        assert first < 0.2 * min(later), (first, later)
        (used,) = (each for each in listed if each["used"])
        assert f"refined as candidate {used['number']}" in on.hands
        assert alike(on.image, candidates[used["number"] - 1])
        assert (used["quality"] > 0) == any(each["quality"] > 0 for each in listed)
