"""Infotext and X/Y/Z axes through the API of a real WebUI, with and without its page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from generation import PLOT, plot_arguments, plot_axes
from running_host import Host, missing_for_a_host, start_host

from handrefiner_ext.infotext import to_infotext, written_fields
from handrefiner_ext.params import RefineParams

SMALL = {"prompt": "a hand", "steps": 1, "width": 64, "height": 64, "seed": 1}
READS_INFOTEXTS = pytest.mark.only_on(
    "a1111", "reforge", reason="Forge's API fails at every infotext (modules/api/api.py:407)"
)
PARAMS = RefineParams(
    enabled=True,
    strength=0.65,
    hands="1,3",
    prompt='five fingers: [PROMPT],\n"clean" \\(hand\\)',
    negative_prompt="512x512",
    keep_best=False,
    min_hand_size=30,
)


@pytest.fixture(scope="module")
def pageless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host without a page."""
    reason = missing_for_a_host()
    if reason is not None:
        pytest.skip(reason)
    running = start_host(tmp_path_factory.mktemp("pageless"), "--nowebui")
    try:
        yield running
    finally:
        running.stop()


def find_script(host: Host, name: str) -> dict[str, Any]:
    found = (s for s in host.get("/sdapi/v1/script-info") if s["name"] == name)
    return next(found)


def ask_for(host: Host, **more: object) -> dict[str, Any]:
    """The answer's `info`, read."""
    return dict(json.loads(host.post("/sdapi/v1/txt2img", {**SMALL, **more})["info"]))


def sweep(host: Host, axis: str, values: str) -> dict[str, Any]:
    return ask_for(
        host,
        script_name=PLOT,
        script_args=plot_arguments(host, axis, values),
        alwayson_scripts={"HandRefiner": {"args": [True, 0.5]}},
    )


def strengths(info: dict[str, Any]) -> list[str]:
    """Of every picture, in their order."""
    return [t.split("HandRefiner strength: ")[1].split(",")[0] for t in info["infotexts"]]


def check_axes(host: Host) -> None:
    ask_for(host)  # without a page the scripts are set up by the first request
    ours = [axis for axis in plot_axes(host) if axis.startswith("[HandRefiner]")]
    assert ours[0] == "[HandRefiner] Strength"
    assert len(ours) == len(set(ours)) == 21
    assert strengths(sweep(host, ours[0], "0.2, 0.4, 0.8"))[-3:] == ["0.2", "0.4", "0.8"]


def test_the_strength_can_be_swept_through_the_api(host: Host):
    check_axes(host)


def test_the_strength_can_be_swept_without_a_page(pageless: Host):
    check_axes(pageless)


def test_a_sweep_leaves_nothing_behind_for_the_next_request(host: Host):
    sweep(host, "[HandRefiner] Mask padding", "0, 99")
    info = ask_for(host, alwayson_scripts={"HandRefiner": {"args": [True]}})
    assert "HandRefiner strength: 0.55" in info["infotexts"][0]
    assert "HandRefiner mask padding" not in info["infotexts"][0]


def test_the_switch_itself_can_be_an_axis(host: Host):
    texts = sweep(host, "[HandRefiner] Enable", "True, False")["infotexts"][-2:]
    assert ["HandRefiner strength" in text for text in texts] == [True, False]


@READS_INFOTEXTS
def test_what_a_picture_says_makes_the_same_request_again(host: Host):
    values = {f.name: getattr(PARAMS, f.name) for f in written_fields()} | {"enabled": True}
    first = ask_for(host, alwayson_scripts={"HandRefiner": {"args": [values]}})["infotexts"][0]
    again = ask_for(host, infotext=first)["infotexts"][0]
    assert all(f"{key}: " in first for key in to_infotext(PARAMS))
    assert parts_of_ours(again) == parts_of_ours(first)


def parts_of_ours(infotext: str) -> list[str]:
    """In the order of the alphabet: a model that was chosen by the run stands last."""
    return sorted(part for part in infotext.split(", ") if part.startswith("HandRefiner"))


@READS_INFOTEXTS
def test_an_infotext_without_us_leaves_us_switched_off(host: Host):
    foreign = "a dog\nSteps: 1, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 64x64"
    assert "HandRefiner" not in ask_for(host, infotext=foreign)["infotexts"][0]


def test_all_parameters_are_known_to_the_script(host: Host):
    labels = {argument["label"] for argument in find_script(host, "handrefiner")["args"]}
    assert {f.metadata["knob"].label for f in written_fields()} <= labels
