"""Adaptive strength on simulated samplers whose error falls as in the paper's phase transition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrefiner_ext.repaint.policies import REFERENCE, STRENGTHS, TOLERANCE, bisect, try_in_order


class Sampler:
    """Error 0.3 below the transition and 0.05 above it; remembers what was painted."""

    def __init__(self, transition, width=0.03, noise=None):
        self.transition, self.width = transition, width
        self.noise = noise or (lambda strength: 0.0)
        self.painted = {}

    def error_at(self, strength):
        if strength not in self.painted:
            fallen = 1 / (1 + np.exp((self.transition - strength) / self.width))
            self.painted[strength] = 0.3 - 0.25 * fallen + self.noise(strength)
        return self.painted[strength]


def search_both(transition, **more):
    found = []
    for search in (try_in_order, bisect):
        sampler = Sampler(transition, **more)
        found.append((search(sampler.error_at), len(sampler.painted)))
    return found


@given(st.floats(0.0, 1.3), st.floats(0.005, 0.1))
def test_bisection_finds_what_the_paper_finds_with_at_most_four_pictures(transition, width):
    (paper, _), (fast, passes) = search_both(transition, width=width)
    assert fast == paper
    assert passes <= 4


def test_bisection_needs_fewer_pictures_on_average():
    runs = [search_both(transition) for transition in np.linspace(0.3, 1.0, 71)]
    paper, fast = (np.mean([run[way][1] for run in runs]) for way in (0, 1))
    assert fast <= 4
    assert fast < paper - 0.5


def test_with_noise_below_the_tolerance_both_still_agree():
    for seed, transition in enumerate(np.linspace(0.3, 0.95, 40)):

        def noise(strength, seed=seed):
            return np.random.default_rng([seed, round(10 * strength)]).uniform(-0.002, 0.002)

        (paper, _), (fast, _) = search_both(transition, width=0.01, noise=noise)
        assert fast == paper


@pytest.mark.parametrize("search", [try_in_order, bisect])
def test_the_strength_taken_is_the_least_that_is_good_enough(search):
    for transition in np.linspace(0.2, 1.2, 50):
        sampler = Sampler(transition)
        taken = search(sampler.error_at)
        errors = {strength: Sampler(transition).error_at(strength) for strength in STRENGTHS}
        limit = TOLERANCE * Sampler(transition).error_at(REFERENCE)
        good = [strength for strength, error in errors.items() if error < limit]
        assert taken == (min(good) if good else REFERENCE)


@pytest.mark.parametrize("search", [try_in_order, bisect])
@pytest.mark.parametrize("error", [np.inf, 0.0])
def test_where_nothing_is_better_than_the_reference_the_reference_is_taken(search, error):
    """Also where no hand is seen at any strength."""
    assert search(lambda strength: error) == REFERENCE
