"""The ways into the product that the campaign takes, and what must be true after each.

Every route plays a case in an empty folder, then once more without its faults, and returns what was
wrong: an empty list if all that is promised was kept.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from faults import PLAN, SITE, Fault, Injector, planted
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
for place in (ROOT / "tests", ROOT / "tests" / "webui_stand_in"):
    if str(place) not in sys.path:
        sys.path.append(str(place))

from cli_runs import read  # noqa: E402
from hand_scenes import BOTH, make_stages, picture_with  # noqa: E402

from handrefiner_ext import pipeline  # noqa: E402
from handrefiner_ext.cli.commands import main  # noqa: E402
from handrefiner_ext.params import RefineParams  # noqa: E402

HANDS = {"alpha.png": BOTH, "beta.png": ("left half",), "gamma.png": ("right half",)}
"""Picture -> its hands."""
SECONDS = 300.0
SENTENCE = re.compile(r"^handrefiner: \S.{15,}[.!?\w)]$")
STOPPED = 130
DETAILS = (200, 413, 415, 422, 500, 501, 503)
Problems = list[str]


@dataclass(frozen=True)
class Case:
    """One run: its number, its route, its faults, and options of the command."""

    number: int
    route: str
    faults: tuple[Fault, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return [*self.out.splitlines(), *self.err.splitlines()]

    def outcomes(self, source: Path) -> list[str]:
        """The lines that say what became of a picture; those indented below belong to it."""
        failed = f"handrefiner: .*{re.escape(source.stem)}"
        return [x for x in self.lines if x.startswith(f"{source}:") or re.match(failed, x)]


@cache
def expected(name: str) -> Any:
    """The picture as it is refined where nothing goes wrong."""
    return pipeline.refine(picture_with(HANDS[name]), RefineParams(), make_stages()).image


def make_injector(case: Case, folder: Path) -> Injector:
    claims = folder / "claims"
    claims.mkdir()
    return Injector(list(case.faults), claims)


# --- the command line, in this process, in processes and on Ray


def play_cli(case: Case, folder: Path) -> tuple[int, Problems]:
    injector = make_injector(case, folder)
    clean = Injector([], injector.claims)

    def command(*more: str, faulty: bool = True) -> Said:
        with planted(injector if faulty else clean, lambda *_, **__: make_stages()):
            return run_here(*refining(folder), *more)

    return check_folder(case, folder, injector, command)


def play_in_processes(case: Case, folder: Path) -> tuple[int, Problems]:
    injector = make_injector(case, folder)
    site, nothing = folder / "site", Injector([], injector.claims)
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    paths = [site, HERE, ROOT / "tests", ROOT, os.environ.get("PYTHONPATH", "")]

    def command(*more: str, faulty: bool = True) -> Said:
        plan = (injector if faulty else nothing).save(folder / "plan.json")
        line = [sys.executable, "-m", "handrefiner_ext", *refining(folder), *more]
        environment = {
            **os.environ,
            PLAN: str(plan),
            "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path),
        }
        done = subprocess.run(
            line, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return check_folder(case, folder, injector, command)


def refining(folder: Path) -> list[str]:
    return ["refine", "--input_dir", str(folder / "in"), "--out_dir", str(folder / "out")]


def run_here(*arguments: str) -> Said:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(arguments))
    return Said(code, out.getvalue(), err.getvalue())


def check_folder(
    case: Case, folder: Path, injector: Injector, command: Callable[..., Said]
) -> tuple[int, Problems]:
    """Run a folder with faults, then resume it without."""
    source = folder / "in"
    source.mkdir()
    for name, hands in HANDS.items():
        Image.fromarray(picture_with(hands)).save(source / name)
    before = {name: (source / name).read_bytes() for name in HANDS}
    options = [option.replace("{folder}", str(folder)) for option in case.options]
    first = command(*options)
    fired = injector.fired
    refused = is_refused(case, first, folder / "out")
    problems = [] if refused else check_said(first, source, folder / "out")
    hit = {fault.picture for fault in case.faults}
    problems += [
        f"{name} failed although nothing was planted there: {line}"
        for name in HANDS
        if not hit & {name, ""}
        for line in first.outcomes(source / name)
        if line.startswith("handrefiner:")
    ]
    again = command(*options, "--resume", faulty=False)
    said = f"{again.code} {again.err[-300:]}"
    if again.code != 0 and "was left alone" not in again.err:
        problems.append(f"the next run failed: {said}")
    for name in HANDS:
        place = folder / "out" / f"{Path(name).stem}_0.png"
        left = f"{name} was left alone" in again.err
        if not place.exists() and not left:
            problems.append(f"{name} has no output after the next run: {said}")
        if not fired and place.exists() and not np.array_equal(read(place), expected(name)):
            problems.append(f"{name} differs although nothing happened")
    if {name: (source / name).read_bytes() for name in HANDS} != before:
        problems.append("an original was changed")
    hidden = [str(path) for path in folder.rglob(".handrefiner-*")]
    return fired, [*problems, *(f"left behind: {path}" for path in hidden)]


def is_refused(case: Case, said: Said, out: Path) -> bool:
    """Whether the run ended with one sentence before any picture: it cannot write what it must."""
    of_disk = any(fault.boundary in ("page", "write") for fault in case.faults)
    failures = [line for line in said.err.splitlines() if SENTENCE.match(line)]
    nothing = not said.out and not any(out.glob("*.png"))
    return of_disk and nothing and said.code == 1 and len(failures) == 1


def check_said(said: Said, source: Path, out: Path) -> Problems:
    """One outcome for every picture, as a sentence where it failed."""
    problems = []
    if "Traceback" in said.out + said.err:
        problems.append(f"a traceback: {said.err[-600:]}")
    failures = [line for line in said.err.splitlines() if line.startswith("handrefiner:")]
    if said.code not in (0, 1, STOPPED) or (said.code == 1) != bool(failures):
        problems.append(f"code {said.code} with {failures}")
    problems += [f"no sentence: {line}" for line in failures if not SENTENCE.match(line)]
    for name in HANDS:
        told = said.outcomes(source / name)
        if len(told) != 1 and said.code != STOPPED:
            problems.append(f"{name} has {len(told)} outcomes: {told}, {said.err[-300:]}")
        place = out / f"{Path(name).stem}_0.png"
        if told and not told[0].startswith("handrefiner:") and not place.exists():
            problems.append(f"{name} was said to be done and has no output")
    return problems


# --- a WebUI behind an address, which answers wrongly

WRONG_ANSWERS: dict[str, tuple[int, bytes]] = {
    "500 in HTML": (500, b"<html><body>Internal Server Error</body></html>"),
    "502": (502, b""),
    "404": (404, b'{"detail": "Not Found"}'),
    "429": (429, b'{"detail": "Too many requests."}'),
    "no JSON": (200, b"<html>hello</html>"),
    "a list": (200, b"[1, 2]"),
    "no picture": (200, b'{"hands": [], "decisions": [], "skipped": [], "notes": []}'),
    "broken lists": (200, b'{"image": "", "hands": 1}'),
    "cut off": (-1, b'{"image": "iVBORw0KGgo'),
    "nothing": (-2, b""),
}


def play_url(case: Case, folder: Path) -> tuple[int, Problems]:
    injector = make_injector(case, folder)
    clean = Injector([], injector.claims)
    with answering_for(injector) as address:

        def command(*more: str, faulty: bool = True) -> Said:
            if not faulty:
                injector.faults.clear()
            with planted(injector if faulty else clean, lambda *_, **__: make_stages()):
                return run_here(*refining(folder), "--url", address, *more)

        return check_folder(case, folder, injector, command)


@contextmanager
def answering_for(injector: Injector) -> Iterator[str]:
    """The address of a WebUI that gives the injector's answers at the boundary "network"."""
    from api_client import make_client

    from handrefiner_ext.api.worker import Services

    def refine(image: Any, params: RefineParams, given: Any) -> Any:
        return pipeline.refine(image, params, make_stages(), given.drawn_mask, given.depth_in)

    client = make_client(Services(refine=refine))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            answer = client.request("GET", self.path)
            self.answer(answer.status_code, answer.content)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = injector.take("network")
            if kind is not None:
                self.answer(*WRONG_ANSWERS[kind])
                return
            kinds = {"Content-Type": "application/json"}
            answer = client.request("POST", self.path, content=body, headers=kinds)
            self.answer(answer.status_code, answer.content)

        def answer(self, status: int, body: bytes) -> None:
            if status == -2:
                self.connection.close()
                return
            self.send_response(abs(status) if status > 0 else 200)
            self.send_header("Content-Length", str(len(body) + (100 if status < 0 else 0)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# --- the routes of the API


def play_api(case: Case, folder: Path) -> tuple[int, Problems]:
    from api_client import make_client, to_array, to_text

    from handrefiner_ext.api import PREFIX, body

    injector, problems = make_injector(case, folder), []
    client = make_client()
    asked = {"image": to_text(picture_with(BOTH)), "backend": "draft"}

    def ask(path: str) -> Any:
        return client.request("POST", PREFIX + path, json=asked)

    def decoding(*args: Any) -> Any:
        injector.trip("decode")
        return untouched(*args)

    untouched, path = body.read_picture, "/hints" if "hints" in case.options else "/refine"
    with planted(injector, lambda *_, **__: make_stages()):
        body.read_picture = decoding
        try:
            answer = ask(path)
        finally:
            body.read_picture = untouched
    said = answer.json()
    if answer.status_code not in DETAILS or (answer.status_code == 200) == ("detail" in said):
        problems.append(f"{answer.status_code} {answer.text[:300]}")
    if answer.status_code != 200 and len(str(said.get("detail"))) < 20:
        problems.append(f"no sentence: {answer.text[:300]}")
    if path == "/refine" and answer.status_code == 200:
        same = np.array_equal(to_array(said["image"]), expected("alpha.png"))
        reasons = [x["reason"] for x in said["decisions"]] + [x["reason"] for x in said["skipped"]]
        if not same and not any(reasons):
            problems.append(f"no reason: {json.dumps(said)[:300]}")
    with planted(Injector([], injector.claims), lambda *_, **__: make_stages()):
        again = ask("/refine")
    if again.status_code != 200:
        problems.append(f"the next request failed: {again.text[:300]}")
    elif not np.array_equal(to_array(again.json()["image"]), expected("alpha.png")):
        problems.append("the next request gave another picture")
    return injector.fired, problems
