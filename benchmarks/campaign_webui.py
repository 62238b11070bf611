"""The campaign's route through a real WebUI, which is started once and serves all the runs.

The test-only extension `zz-faults` plants the faults inside the WebUI for one request. It needs
`pytest -m webui` needs (docs/webui.md); the hand of the example stands in what is generated.
"""

from __future__ import annotations

import atexit
import json
import random
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from campaign_routes import ROOT, Case, Problems, make_injector

sys.path.append(str(ROOT / "tests" / "webui"))

import running_host
from generation import BASE, alike, changed, decode, encode, hands_of, load

HAND = ROOT / "examples" / "badly_drawn_hand.png"
SIDE = 384
STEPS = (
    *("detector gone", "mesh gone", "detector breaks", "mesh breaks", "renderer breaks"),
    *("controlnet gone", "controlnet raises", "controlnet idle", "sampler raises"),
    *("sampler gives nan", "nan unnoticed", "out of memory", "host memory", "no picture"),
    *("other size", "other family", "compositing breaks"),
)
"""Faults of whole steps, which `zz-faults` has by name."""
BOUNDARIES = ("detect", "fit", "render", "judge", "nested", "control", "step", "step")
MARGIN = 48
"""Pixels around what is usually repainted in which another mesh or candidate may paint."""
SCREAMS = ("*** Error", "Error running")
"""What the WebUI prints where an extension raises."""


def draw_options(chance: random.Random) -> tuple[str, ...]:
    tab, batch = chance.choice(("txt2img", "img2img")), chance.choice("112")
    return (tab, batch, chance.choice(("keep_best", "all", "candidates")))


def play_host(case: Case, folder: Path) -> tuple[int, Problems]:
    """One generation with faults and one without, in the same WebUI."""
    injector, problems = make_injector(case, folder), []
    steps = [fault.kind for fault in case.faults if fault.boundary == "step"]
    plan = injector.save(folder / "plan.json")
    plain, wanted = untouched(case.options), reference(case.options)
    written = len(host().read_log())
    pictures, words = ask(case.options, ["+".join(steps), str(plan)])
    said = host().read_log()[written:]
    if len(pictures) != len(wanted[0]):
        problems.append(f"{len(pictures)} pictures instead of {len(wanted[0])}")
    for picture, original, good, text in zip(pictures, plain[0], wanted[0], words, strict=False):
        problems += judge(picture, original, good, text)
    is_controlnets = any(f.boundary in ("control", "step") for f in case.faults)
    problems += [f"the host printed {each}" for each in SCREAMS if each in said][
        : not is_controlnets
    ]
    state = host().get("/sdapi/v1/progress")["state"]
    if state["job_count"] or state["job"]:
        problems.append(f"a job is left over: {state}")
    again = ask(case.options, ["", ""])
    if not all(alike(a, b) for a, b in zip(again[0], wanted[0], strict=True)):
        problems.append(f"the next pictures differ: {again[1]}")
    return injector.fired + len(steps), problems


def judge(picture: Any, original: Any, good: Any, words: str) -> Problems:
    """What is wrong with one picture that came back. good: the one without faults."""
    if picture.shape != original.shape:
        return [f"a picture of {picture.shape}"]
    if not words:
        return ["the infotext says nothing about the hands"]
    if not alike(picture, good) and "(" not in words:
        return [f"another picture and no reason: {words}"]
    rows, columns = np.nonzero(changed(good, original))
    outside = np.ones(original.shape[:2], bool)
    if len(rows):
        outside[
            max(rows.min() - MARGIN, 0) : rows.max() + MARGIN,
            max(columns.min() - MARGIN, 0) : columns.max() + MARGIN,
        ] = False
    if changed(picture, original)[outside].any():
        return [f"pixels far from the hand changed: {words}"]
    return []


def ask(options: tuple[str, ...], faults: list[str] | None) -> tuple[list[Any], list[str]]:
    """The pictures of a request and what is said of their hands. faults: None = without us."""
    tab, batch, choice = options
    picture = encode(hand())
    scripts: dict[str, Any] = {"Photograph": {"args": [picture]}}
    if faults is not None:
        scripts["Faults"] = {"args": faults}
        hands = {"enabled": True, "region_size": 256, "denoising_strength": 0.3}
        hands |= {"keep_best": choice == "keep_best", "candidates": 1 + (choice == "candidates")}
        scripts["HandRefiner"] = {"args": [hands]}
    body = {**BASE, "steps": 2, "width": SIDE, "height": SIDE, "batch_size": int(batch)}
    if tab == "img2img":
        body |= {"init_images": [picture], "denoising_strength": 0.5}
    answer = host().post(f"/sdapi/v1/{tab}", {**body, "alwayson_scripts": scripts})
    info: dict[str, Any] = json.loads(answer["info"])
    texts = info["infotexts"][: int(batch)]
    return [decode(each) for each in answer["images"]][: int(batch)], [hands_of(t) for t in texts]


@cache
def hand() -> Any:
    return load(HAND, (SIDE, SIDE))


@cache
def untouched(options: tuple[str, ...]) -> tuple[list[Any], list[str]]:
    """The answer without us."""
    return ask(options, None)


@cache
def reference(options: tuple[str, ...]) -> tuple[list[Any], list[str]]:
    """The answer where nothing goes wrong."""
    answer = ask(options, ["", ""])
    if options[-1] == "all" and not all("refined" in words for words in answer[1]):
        sys.exit(f"The hand that the runs need is not repainted here: {answer[1]}")
    return answer


@cache
def host() -> running_host.Host:
    """The WebUI, started now and ended with this process."""
    reason = running_host.missing_for_a_host()
    if reason is not None:
        sys.exit(f"--host {reason}")
    folder = Path(tempfile.mkdtemp(prefix="campaign-webui-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    started = running_host.start_host(folder)
    atexit.register(started.stop)
    return started
