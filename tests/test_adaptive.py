"""Adaptive strength through the whole pipeline, on a painter whose colour is its strength."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hand_scenes import BOTH, FloodPainter, make_stages, picture_with

from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.repaint.policies import REFERENCE
from handrefiner_ext.types import Agreement

LEVEL = 200
"""Blue of a hand painted at strength 1."""


@dataclass
class StrengthPainter:
    """Paints everything in its strength; below `works_from` it gives the picture back."""

    name: str = "strength"
    works_from: float = 0.0
    strengths: list[float] = field(default_factory=list)

    def paint(self, request):
        self.strengths.append(request.params.strength)
        if request.params.strength < self.works_from:
            return request.image
        return np.full_like(request.image, (0, 0, round(LEVEL * request.params.strength)))


@dataclass
class TransitionJudge:
    """Sees the left hand from one strength on near its mesh and the right hand from another."""

    transitions: tuple[float, float]

    def __call__(self, detector, image, meshes, params):
        return tuple(self._measure(image, mesh) for mesh in meshes)

    def _measure(self, image, mesh):
        x, y = np.median(mesh.joints_2d, axis=0).astype(int)
        red, _, blue = image[y, x].astype(int)
        painted = red == 0
        near = not painted or blue >= LEVEL * self.transitions[int(x > image.shape[1] / 2)]
        return Agreement(1.0, 0.04 if near else 0.3)


def run(transitions, search, **painter):
    image = picture_with(BOTH, height=100, width=400)
    stages = make_stages(inpainter=StrengthPainter(**painter), judge=TransitionJudge(transitions))
    params = RefineParams(adaptive_strength=search, padding_bbox=0)
    return image, refine(image, params, stages), stages.inpainter.strengths


@pytest.mark.parametrize("search", ["paper", "fast"])
@pytest.mark.parametrize("transitions", [(0.4, 0.9), (0.65, 0.5), (1.0, 0.0)])
def test_every_hand_has_exactly_the_picture_of_its_own_strength(search, transitions):
    image, result, painted = run(transitions, search)
    least = [min(max(np.ceil(10 * t) / 10, 0.4), 1.0) for t in transitions]
    assert [decision.strength for decision in result.decisions] == pytest.approx(least)
    for decision in result.decisions:
        box, mask = result.hints.maps.hand_masks[decision.number]
        pixels = result.image[box.slices][mask]
        assert (pixels == (0, 0, round(LEVEL * decision.strength))).all()
    outside = ~result.hints.maps.mask
    assert np.array_equal(result.image[outside], image[outside])
    assert len(set(painted)) == len(painted), "no strength is painted twice"


def test_hands_share_the_pictures_that_both_need():
    _, _, painted = run((0.5, 0.5), "fast")
    assert len(painted) <= 4


def test_a_picture_in_which_nothing_was_painted_never_counts_as_good():
    """The old hand lies near its mesh, which was fitted to it."""
    _, result, _ = run((0.0, 0.0), "paper", works_from=0.6)
    assert [decision.strength for decision in result.decisions] == [0.6, 0.6]
    image, result, _ = run((0.0, 0.0), "paper", works_from=2.0)
    assert [decision.strength for decision in result.decisions] == [REFERENCE] * 2
    assert result.image is image
    assert not any(decision.refined for decision in result.decisions)


def test_without_a_search_there_is_one_painting_at_the_strength_given():
    image = picture_with(BOTH)
    stages = make_stages(inpainter=StrengthPainter())
    result = refine(image, RefineParams(strength=0.45), stages)
    assert stages.inpainter.strengths == [0.45]
    assert {decision.strength for decision in result.decisions} == {None}


def test_a_backend_without_strength_paints_once_and_says_so():
    stages = make_stages(inpainter=FloodPainter(name="draft"))
    result = refine(picture_with(BOTH), RefineParams(adaptive_strength="fast"), stages)
    assert len(stages.inpainter.calls) == 1
    assert any("no strength to search" in note for note in result.notes)
