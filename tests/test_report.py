"""One vocabulary for what happened to a hand, whichever surface says it."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import pytest
from hand_scenes import BOTH, PlateReconstructor, make_stages, picture_with

from handrefiner_ext.params import RefineParams
from handrefiner_ext.pipeline import refine
from handrefiner_ext.report import (
    NONE_FOUND,
    DecisionReport,
    HandReport,
    QualityReport,
    RefusalReport,
    describe_hands,
    list_decision_lines,
    list_hint_lines,
    list_panel_lines,
    list_quality_lines,
    read,
    report_decision,
    report_hands,
    report_refusals,
    say_result,
)


@pytest.fixture(scope="module")
def result():
    """The right half's hand is repainted, the left half's is refused."""
    stages = make_stages(reconstructor=PlateReconstructor(refuses="right"))
    return refine(picture_with(BOTH), RefineParams(keep_best=True), stages)


def test_records_are_read_back_from_their_json(result):
    (hand,), (refusal,) = report_hands(result.hints), report_refusals(result.hints)
    decision = report_decision(result.decisions[0], result.hints)
    assert isinstance(decision.quality_after, QualityReport)
    for record in (hand, refusal, decision):
        assert read(type(record), asdict(record)) == record


def test_an_older_server_that_says_less_is_understood():
    said = {"number": 1, "handedness": "left"}
    assert read(HandReport, said).line == "hand 1 (left)"
    assert read(DecisionReport, {"number": 1, "refined": False, "reason": "Why."}).line(
        read(HandReport, said)
    ) == ("hand 1 (left) left alone: Why.")


def test_every_surface_says_the_same_decision_in_its_own_form(result):
    hand = asdict(report_hands(result.hints)[0])
    decision = asdict(report_decision(result.decisions[0], result.hints))
    assert list_decision_lines([hand], [decision]) == [
        "hand 2 (left) repainted; distance from its mesh 0.0% of the hand before, 0.0% of the "
        "hand after"
    ]
    assert list_quality_lines([decision]) == ["hand 2 quality 0.50 -> 1.00"]
    assert say_result(result) == (
        "2 left refined from quality 0.50 to 1.00; 1 left alone (No plausible hand fits)"
    )
    assert list_hint_lines(result.hints) == [
        "hand 1 left alone: [20, 18, 40, 42]: No plausible hand fits."
    ]
    assert list_panel_lines(result.hints) == [
        "2: left hand, score 0.80, fit 5.0% of its size, box 80, 18, 100, 42",
        "1: left alone: No plausible hand fits.",
    ]


def test_strength_and_candidate_are_said_where_they_were_searched(result):
    hand = report_hands(result.hints)[0]
    decision = report_decision(
        replace(result.decisions[0], strength=0.6, candidate=2, quality_before=None), result.hints
    )
    assert decision.words(hand) == "2 left refined at 0.6 as candidate 3"
    assert decision.line(hand).startswith("hand 2 (left) at strength 0.6, candidate 3 repainted;")


def test_nothing_found_is_said_on_every_surface():
    empty = refine(picture_with(()), RefineParams(), make_stages())
    assert say_result(empty) == NONE_FOUND
    assert list_panel_lines(empty.hints)[0].startswith("No hand was found. Lower the thresholds")
    assert list_hint_lines(empty.hints) == []


def test_a_refusal_without_a_number_is_not_called_a_hand():
    refusal = RefusalReport(None, [0, 0, 9, 9], "Too dark.")
    assert refusal.line == "left alone: [0, 0, 9, 9]: Too dark."
    assert refusal.words == "left alone (Too dark)"
    assert refusal.panel_line == "Left alone: Too dark."


def test_hands_json_holds_every_field_but_the_certainty_of_the_side(result):
    said = describe_hands(picture_with(BOTH), result.hints)["hands"][0]
    assert {*said, "handedness_score"} == {f.name for f in fields(HandReport)}
