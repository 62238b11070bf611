"""Candidates and qualities on a real host: one batch a region, each with the next seed."""

from __future__ import annotations

import re

import numpy as np
from generation import GENTLE, alike, as_mask, changed, decode, encode, img2img
from installed import FORGE

COUNT = 3
ROUNDING = {FORGE: 3}
"""Grey levels. A batch of Forge's rounds otherwise than a single picture, without us by one level
and more under a random ControlNet; another seed changes many more."""


def test_candidates_have_the_next_seeds_and_the_best_one_is_kept(host, woman):
    hands = {**GENTLE, "candidates": COUNT, "extra_images": True}
    img2img(host, woman)  # see `alike`
    on = img2img(host, woman, hands)
    candidates, mask = on.images[-COUNT:], as_mask(on.images[-COUNT - 2])
    kept = re.search(r"1 right refined as candidate (\d) from quality [\d.]+ to [\d.]+", on.hands)
    assert kept is not None, on.hands
    assert alike(on.image, candidates[int(kept[1]) - 1])
    for number, candidate in enumerate(candidates):
        assert not changed(candidate, candidates[0])[~mask].any()
        assert not any(alike(candidate, other) for other in candidates[:number])
    assert "candidate 3" in on.texts[-1]
    alone = img2img(host, woman, GENTLE)
    away = int(np.abs(alone.image.astype(int) - candidates[0]).max())
    assert away <= ROUNDING.get(host.kind, 1), "a batch changes nothing for its first seed"
    again = img2img(host, woman, hands)
    for first, second in zip(candidates, again.images[-COUNT:], strict=True):
        assert alike(first, second)


def test_a_good_hand_is_left_alone(host, woman):
    plain = img2img(host, woman)
    on = img2img(host, woman, {**GENTLE, "skip_good": 0.01})
    assert "skip_good" in on.hands
    assert alike(on.image, plain.image)


def test_a_wrong_number_of_candidates_is_refused(host):
    body = {"alwayson_scripts": {"HandRefiner": {"args": [{"enabled": True, "candidates": 9}]}}}
    answer = host.ask("POST", "/sdapi/v1/txt2img", body)
    assert answer.status == 422
    assert "candidates" in str(answer.body)


def test_the_route_paints_candidates_of_different_seeds(host, woman):
    request = {"image": encode(woman), "candidates": 2, "denoising_strength": 0.3, "steps": 4}
    said = host.post("/handrefiner/v1/refine", {**request, "region_size": 256})
    first, second = map(decode, said["candidates"])
    assert changed(first, second).any()


def test_the_route_says_the_qualities(host, woman):
    request = {"image": encode(woman), "backend": "draft", "keep_best": True}
    said = host.post("/handrefiner/v1/refine", request)
    (decision,) = said["decisions"]
    assert 0.0 < decision["quality_before"]["score"] <= 1.0
    assert {"form", "anatomy"} <= set(decision["quality_before"]["parts"])
