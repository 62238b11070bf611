"""What the draft must not replace: good hands, drawn ones, and those whose outline stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from draft_scenes import PARAMS, make_scene, maps_for, move_mesh, silhouette, with_texture

from handrefiner_ext.inpaint.draft import DraftInpainter
from handrefiner_ext.inpaint.outlines import compare_outlines
from handrefiner_ext.inpaint.study import study_hand
from handrefiner_ext.protocols import PaintRequest
from handrefiner_ext.repaint.drafts import (
    FINGER_TOO_MANY,
    LEAST_CHANGED,
    MOST_BEYOND,
    NOT_A_FINGER,
    SAME_OUTLINE,
    find_unfit,
)
from handrefiner_ext.types import Agreement, Decision, Detection, Hints, Quality

SCENE = with_texture(make_scene())
SIZE = SCENE.meshes[0].hand.size_px


def without_the_sixth_finger():
    """The hand has its mesh's outline, and other skin."""
    old = silhouette(SCENE.meshes[0], SCENE.old.shape)
    wrist = SCENE.meshes[0].joints_2d[0]
    y, x = np.mgrid[0 : old.shape[0], 0 : old.shape[1]]
    old |= (y > wrist[1]) & (np.abs(x - wrist[0]) < 0.13 * SIZE)
    image = np.where(old[..., None], np.array([200, 145, 120]), SCENE.background).astype(np.uint8)
    scene = replace(SCENE, image=image, old=old, maps=maps_for(SCENE.meshes, image))
    return with_texture(scene)


def with_a_wrong_reading():
    """The mesh lies beside the hand of the picture."""
    mesh = move_mesh(SCENE.meshes[0], (0.1 * SIZE, -0.05 * SIZE))
    return replace(SCENE, meshes=(mesh,), maps=maps_for((mesh,), SCENE.image))


def paint(scene):
    return DraftInpainter().paint(PaintRequest(scene.image, scene.meshes, scene.maps, PARAMS))


def decide_on(scene, score, new_score=0.95):
    agreement = Agreement(0.02, 2.0, 1.0)
    old, new = Quality(score), Quality(new_score)
    decision = Decision(0, True, "", agreement, agreement, quality_before=old, quality_after=new)
    hints = Hints(Detection((), ()), scene.meshes, (), scene.maps)
    return find_unfit(scene.image, paint(scene), hints, [decision], guards=False)


@pytest.mark.parametrize(("score", "kept"), [(0.3, False), (0.59, False), (0.6, True), (0.8, True)])
def test_the_draft_replaces_no_hand_that_looks_well_formed(score, kept):
    reasons = decide_on(with_a_wrong_reading(), score)
    assert set(reasons) == ({0} if kept else set())
    if kept:
        assert f"quality {score:.2f}" in reasons[0]
        assert "a draft replaces only hands below 0.6" in reasons[0]


@pytest.mark.parametrize(("score", "kept"), [(0.37, False), (0.39, True), (0.49, True)])
def test_the_draft_replaces_no_hand_that_is_nearly_doubtful(score, kept):
    reasons = decide_on(with_a_wrong_reading(), score)
    assert set(reasons) == ({0} if kept else set())
    assert all("the judge cannot tell" in reason for reason in reasons.values())


def test_a_finger_too_many_makes_way_whatever_the_judge_says_of_it():
    assert decide_on(SCENE, 0.8) == {}


def test_a_hand_whose_outline_would_stay_keeps_its_skin():
    assert decide_on(without_the_sixth_finger(), 0.3) == {0: SAME_OUTLINE}


def outlines_of(scene):
    study = study_hand(scene.image, scene.meshes[0], scene.maps, 0)
    return compare_outlines(study, paint(scene))


def test_the_surplus_is_the_sixth_finger_and_nothing_of_the_arm():
    plain, sixth, moved = map(
        outlines_of, (without_the_sixth_finger(), SCENE, with_a_wrong_reading())
    )
    assert plain.surplus == 0.0
    assert plain.changed < LEAST_CHANGED
    assert FINGER_TOO_MANY < sixth.surplus < NOT_A_FINGER
    assert sixth.beyond < MOST_BEYOND
    # Where fingers of the mesh lie off those of the picture, the hand was read wrongly.
    assert moved.beyond > MOST_BEYOND or moved.surplus > NOT_A_FINGER
    assert moved.changed > LEAST_CHANGED


@pytest.mark.parametrize(("new_score", "kept"), [(0.69, True), (0.7, False)])
def test_a_draft_must_look_good_to_the_judge_who_loves_it(new_score, kept):
    reasons = decide_on(SCENE, 0.3, new_score)
    assert set(reasons) == ({0} if kept else set())
    assert not kept or f"quality {new_score:.2f}); it needs 0.7" in reasons[0]
