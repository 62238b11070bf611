"""Fifty runs of the campaign of faults, always the same; and what breaks a promise is noticed."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import campaign
import numpy as np
from campaign_routes import Case
from campaign_webui import judge
from faults import DEATHS, RAISED, Fault

from handrefiner_ext.api import routes
from handrefiner_ext.files import run

SEED, RUNS = 7, 50


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Faults are logged with their tracebacks, on purpose."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    logger = logging.getLogger("handrefiner_ext")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)  # in this way, because loggers remember which levels are off


def test_fifty_runs_with_faults_keep_every_promise():
    cases = [campaign.draw(SEED, number, campaign.QUICK) for number in range(RUNS)]
    results = [campaign.play(case) for case in cases]
    assert [(r["number"], r["faults"], r["problems"]) for r in results if r["problems"]] == []
    assert sum(result["fired"] > 0 for result in results) > 0.7 * RUNS
    assert {case.route for case in cases} >= {"command", "url", "api", "download"}


def play(route, *faults, options=()):
    return campaign.play(Case(0, route, faults, options))["problems"]


def test_a_run_without_faults_has_no_problems():
    for route in campaign.QUICK:
        if route != "webui":
            assert play(route) == []


def test_an_error_that_leaves_its_picture_is_noticed(monkeypatch):
    monkeypatch.setattr(run, "work_on", lambda job, work: work(job))
    (problem,) = play("command", Fault("detect", "key", "beta.png"))
    assert problem.startswith("KeyError reached the caller")


def test_a_sentence_without_its_picture_is_noticed(monkeypatch):
    def careless(job, work):
        try:
            return work(job)
        except Exception:
            return run.Report(job.source, error="Something went wrong somewhere.")

    monkeypatch.setattr(run, "work_on", careless)
    problems = play("command", Fault("detect", "key", "beta.png"))
    assert any("beta.png has 0 outcomes" in problem for problem in problems)


def test_an_answer_without_a_sentence_is_noticed(monkeypatch):
    monkeypatch.setattr(routes, "describe_fault", lambda error: "")
    monkeypatch.setattr(routes, "NO_MEMORY", "")
    assert play("api", Fault("detect", "memory", times=99)) != []


def test_the_same_number_draws_the_same_run():
    assert campaign.draw(1, 17) == campaign.draw(1, 17)
    assert len({str(campaign.draw(1, number).faults) for number in range(100)}) > 80
    thousand = [campaign.draw(1, number) for number in range(1000)]
    assert sum(case.route in ("jobs", "ray") for case in thousand) <= 100
    kinds = {fault.kind for case in thousand for fault in case.faults}
    assert kinds >= {*RAISED, *DEATHS}


def test_what_a_real_webui_gives_back_is_judged():
    drawn = np.full((200, 200, 3), 90, np.uint8)
    good, far = drawn.copy(), drawn.copy()
    good[80:110, 80:110], far[:20, :20] = 200, 0
    kept = "1 right kept (no memory)"
    assert judge(good, drawn, good, "1 right refined") == []
    assert judge(drawn, drawn, good, kept) == []
    assert "no reason" in judge(drawn, drawn, good, "1 right refined")[0]
    assert "says nothing" in judge(good, drawn, good, "")[0]
    assert "far from the hand" in judge(far, drawn, good, kept)[0]
    assert "a picture of" in judge(drawn[:100], drawn, good, kept)[0]


def test_runs_in_a_real_webui_are_drawn_by_their_numbers():
    cases = [campaign.draw(1, campaign.FIRST_ON_HOST + number) for number in range(50)]
    assert {case.route for case in cases} == {"host"}
    assert cases[7] == campaign.draw(1, campaign.FIRST_ON_HOST + 7)
    assert len({str(case.faults) for case in cases}) > 40
    assert {option for case in cases for option in case.options} >= {"txt2img", "img2img", "2"}
