"""Two more routes of the campaign: the script in the stand-in of a WebUI, and downloads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from campaign_routes import Case, Problems, make_injector
from faults import Injector, planted
from hand_scenes import BOTH, hold_tiny_backends, picture_with

from handrefiner_ext import stages
from handrefiner_ext.errors import WeightsError

# --- the WebUI


class Swaps:
    """What `hold_tiny_backends` wants of pytest's monkeypatch."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def setattr(self, owner: Any, name: str, new: Any) -> None:
        self.stack.enter_context(patch.object(owner, name, new))


def play_webui(case: Case, folder: Path) -> tuple[int, Problems]:
    """One generation with faults, and one without, in the same WebUI."""
    from modules import call_queue, errors, shared
    from stand_in import WebUI

    injector, problems = make_injector(case, folder), []
    with ExitStack() as stack:
        hold_tiny_backends(Swaps(stack))
        webui = WebUI(folder)
        webui.build_page()
        drawn, wanted = bright().copy(), expected_there(folder)
        with planted(injector, stages.build_stages):
            done = generate(webui, injector)
        again = generate(webui, Injector([], injector.claims))
        if not np.array_equal(drawn, bright()):
            problems.append("the picture given was changed")
        if not any(fault.boundary == "control" for fault in case.faults):  # those are ControlNet's
            problems += [f"the host printed {each}" for each in errors.reported]
        if shared.sd_model.hooked or call_queue.queue_lock.locked() or shared.state.interrupted:
            problems.append("something of the WebUI was left as it was during the run")
    picture, words = done
    if picture.shape != wanted.shape:
        problems.append(f"a picture of {picture.shape}")
    if not words:
        problems.append("the infotext says nothing about the hands")
    if not np.array_equal(picture, wanted) and "(" not in words:
        problems.append(f"another picture and no reason: {words}")
    if not np.array_equal(again[0], wanted):
        problems.append(f"the next picture differs: {again[1]}")
    return injector.fired, problems


@cache
def bright() -> Any:
    return picture_with(BOTH, height=256, width=512)


def generate(webui: Any, injector: Injector) -> tuple[Any, str]:
    """The first picture of a generation, and what its infotext says about the hands."""
    from host_runs import PLAIN, arrays, hands_of
    from modules import processing, shared

    from handrefiner_ext.host.nested import INNER

    process = processing.process_images
    control = webui.find("ControlNet")
    stop: Callable[[], None] = lambda: setattr(shared.state, "interrupted", True)  # noqa: E731
    injector.answers["interrupt"] = stop

    def nested(p: Any) -> Any:
        if getattr(p, INNER, False):
            injector.trip("nested")
        return process(p)

    request = webui.txt2img([bright()], PLAIN, width=512, height=256)
    hooked = injector.before("control", control.process)
    with (
        patch.object(processing, "process_images", nested),
        patch.object(control, "process", hooked),
    ):
        done = process(request)
    shared.state.interrupted = False  # as the host does when the next run begins
    return arrays(done)[0], hands_of(done.infotexts[0])


@cache
def expected_there(folder: Path) -> Any:
    """The picture where nothing goes wrong; of every folder the same."""
    if REFERENCE:
        return REFERENCE[0]
    from stand_in import WebUI

    place = folder / "reference"
    place.mkdir()
    webui = WebUI(place)
    webui.build_page()
    (place / "claims").mkdir()
    picture, _ = generate(webui, Injector([], place / "claims"))
    REFERENCE.append(picture)
    return picture


REFERENCE: list[Any] = []


def has_webui() -> bool:
    """Whether the nested run of the stand-in can be played: it seeds torch."""
    from importlib.util import find_spec

    return find_spec("torch") is not None and sys.version_info >= (3, 10)


# --- downloads

SERVERS: dict[str, dict[str, Any]] = {
    "cut": {"cut_after": [200_000]},
    "cut for good": {"cut_after": [200_000] * 20},
    "silent": {"stall_after": [100_000]},
    "busy": {"statuses": [503]},
    "broken": {"statuses": [500] * 20},
    "gone": {"statuses": [404] * 20},
    "too many": {"statuses": [429], "retry_after": "0"},
    "wrong bytes": {"corrupt": [True] * 20},
    "a page": {"content": b"<!DOCTYPE html><html>not found</html>"},
    "JSON": {"content": b'{"error": "no such file"}'},
    "no length": {"tells_length": False, "cut_after": [300_000] * 20},
    "half": {"half": True},
}


def play_download(case: Case, folder: Path) -> tuple[int, Problems]:
    """A download from a server that behaves badly, then from one that does not."""
    from weights_server import Behaviour, make_safetensors, serving

    from handrefiner_ext.weights.connection import Connection
    from handrefiner_ext.weights.download import download
    from handrefiner_ext.weights.manifest import HUB, WeightsFile

    content, problems = make_safetensors(5, 500_000), []
    values: dict[str, Any] = {"content": content, "tag": '"one"'}
    for fault in case.faults:
        values |= SERVERS[fault.kind]
    if values.pop("half", False):
        values["content"] = content[: len(content) // 2]
    behaviour = Behaviour(**{key: _copy(value) for key, value in values.items()})
    name = "hand.safetensors"
    stated = Behaviour(content).sha256 if "stated" in case.options else None

    def fetch(server: Behaviour) -> str:
        with serving(server) as address:
            file = WeightsFile(name, f"{HUB}/a/b/resolve/main/{name}", sha256=stated)
            patience = Connection({HUB: address}, timeout_s=0.5, tries=3, pause_s=0.0)
            try:
                download(file, folder / "models", patience, lambda done, length: None)
            except WeightsError as error:
                return str(error)
        return ""

    said, place = fetch(behaviour), folder / "models" / name
    corrupt_and_unknown = stated is None and "corrupt" in values
    if not said and not corrupt_and_unknown and place.read_bytes() != content:
        problems.append("wrong bytes were taken for the file")
    if said and (place.exists() or len(said) < 20):
        problems.append(f"a file with its name although: {said}")
    if said:
        said = fetch(Behaviour(content, tag='"one"'))
        if said or place.read_bytes() != content:
            problems.append(f"the next download failed: {said}")
    return len(case.faults), problems


def _copy(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
