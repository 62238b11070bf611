"""A thousand requests to the routes, through a real server: memory stays flat, each has its answer.

The server runs in a process of its own, with the backends that ship. Four clients at a time send
pictures of mixed sizes with a hand to /hints and /refine; a tenth of the requests is broken, and
each of those must get its status and a sentence. Memory is that of the server's process, measured
after every answer. For Linux.
"""

from __future__ import annotations

import base64
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import requests
from report import Target, make_parser, print_table, print_targets, use_utf8, write_json

from handrefiner_ext.api import PREFIX
from handrefiner_ext.pictures import encode_png, load_picture

HAND = Path(__file__).resolve().parents[1] / "examples" / "badly_drawn_hand.png"
SIDES = (96, 192, 256, 384)
CLIENTS, BROKEN_ONE_IN, SETTLED = 4, 10, 100
SECONDS = 300.0
SERVER = """
import socket, uvicorn
from fastapi import FastAPI
from handrefiner_ext.api.routes import add_routes
app = FastAPI()
add_routes(app)
place = socket.socket()
place.bind(("127.0.0.1", 0))
print(place.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([place])
"""
Send = Callable[[str, Any], requests.Response]


@dataclass
class Soak:
    """What was seen. seconds: of each whole request by route; memory_mb: after each answer."""

    address: str
    pid: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    memory_mb: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, number: int) -> None:
        chance = random.Random(number)
        if number % BROKEN_ONE_IN == BROKEN_ONE_IN - 1:
            name, (path, expected, options) = chance.choice(list(BROKEN.items()))
        else:
            name = path = chance.choice(("/hints", "/hints", "/hints", "/refine"))
            expected, options = 200, {"json": {"image": picture(chance), "backend": "draft"}}
            options["json"]["seed"] = number
        begun = time.monotonic()
        answer = requests.post(f"{self.address}{PREFIX}{path}", timeout=SECONDS, **options)
        self.note(name, expected, answer, time.monotonic() - begun)

    def note(self, name: str, expected: int, answer: requests.Response, seconds: float) -> None:
        with self.lock:
            self.statuses[f"{name}: {answer.status_code}"] += 1
            self.memory_mb.append(resident_mb(self.pid))
            if expected == 200:
                self.seconds.setdefault(name, []).append(seconds)
            if answer.status_code != expected:
                self.wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")
            elif expected != 200 and len(str(answer.json().get("detail"))) < 20:
                self.wrong.append(f"{name}: no sentence: {answer.text[:200]}")

    def targets(self) -> list[Target]:
        early = float(np.median(self.memory_mb[SETTLED : 2 * SETTLED]))
        late = float(np.median(self.memory_mb[-SETTLED:]))
        most = max(self.memory_mb[SETTLED:])
        return [
            Target("memory of the last hundred / of the second", late / early, 1.05),
            Target("most memory / of the second hundred", most / early, 1.5),
            Target("answers that were wrong", len(self.wrong), 0),
        ]


def picture(chance: random.Random) -> str:
    """The example's hand at some size, with a little noise of its own, as base64."""
    side = chance.choice(SIDES)
    image = cv2.resize(load_picture(HAND).image, (side, side), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(chance.randrange(1 << 30)).integers(0, 9, image.shape, np.uint8)
    return base64.b64encode(encode_png(cv2.add(image, noise))).decode("ascii")


def too_many_pixels() -> str:
    """A picture of 121 million pixels in a few kilobytes."""
    return base64.b64encode(cv2.imencode(".png", np.zeros((11_000, 11_000), np.uint8))[1]).decode()


def whole() -> str:
    return base64.b64encode(HAND.read_bytes()).decode()


BROKEN: dict[str, tuple[str, int, dict[str, Any]]] = {
    "no JSON": ("/refine", 422, {"data": b"{", "headers": {"Content-Type": "application/json"}}),
    "a form": ("/refine", 415, {"data": {"image": "a"}}),
    "no picture": ("/hints", 422, {"json": {}}),
    "no base64": ("/hints", 422, {"json": {"image": "%%%"}}),
    "cut off": ("/refine", 422, {"json": {"image": whole()[:40_000], "backend": "draft"}}),
    "an address": ("/refine", 422, {"json": {"image": "http://127.0.0.1/a.png"}}),
    "a wrong value": ("/refine", 422, {"json": {"image": whole(), "strength": 7}}),
    "an unknown name": ("/hints", 422, {"json": {"image": whole(), "strenght": 0.5}}),
    "too many pixels": ("/hints", 422, {"json": {"image": too_many_pixels()}}),
    "nothing that paints": ("/refine", 501, {"json": {"image": whole()}}),
    "too long": ("/hints", 413, {"headers": {"Content-Length": str(1 << 40)}, "data": b""}),
}


def resident_mb(pid: int) -> float:
    pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> int:
    use_utf8()
    options = make_parser(__doc__, 1000, "requests").parse_args()
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{int(server.stdout.readline())}"
        soak = Soak(address, server.pid)
        begun = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            waiting = [clients.submit(soak.send, number) for number in range(options.count)]
            try:
                for each in waiting:
                    each.result()
            except KeyboardInterrupt:  # what was seen so far is shown
                clients.shutdown(cancel_futures=True)
        return show(soak, time.monotonic() - begun, options.json)
    finally:
        server.terminate()
        server.wait()


def show(soak: Soak, seconds: float, place: Path | None) -> int:
    rows = []
    figures: dict[str, Any] = {"seconds": seconds, "statuses": dict(soak.statuses)}
    for name, times in sorted(soak.seconds.items()):
        at = [float(np.percentile(times, share)) for share in (50, 90, 95, 99, 100)]
        rows.append((name, len(times), *(f"{value:.2f}" for value in at)))
        figures[name] = dict(zip(("p50_s", "p90_s", "p95_s", "p99_s", "most_s"), at, strict=True))
    print_table(
        "Seconds for an answer", ("", "count", "50 %", "90 %", "95 %", "99 %", "most"), rows
    )
    broken = [(name, count) for name, count in sorted(soak.statuses.items()) if name[0] != "/"]
    print_table("Broken requests", ("", "count"), broken)
    for wrong in soak.wrong:
        print(wrong)
    hundreds = [soak.memory_mb[n : n + SETTLED] for n in range(0, len(soak.memory_mb), SETTLED)]
    medians = [f"{np.median(part):.0f}" for part in hundreds]
    print(f"\nMemory of the server, MB, median of each hundred: {' '.join(medians)}")
    print(f"{sum(soak.statuses.values())} requests in {seconds:.0f} s, {CLIENTS} at a time")
    targets = soak.targets()
    print_targets(targets)
    figures["memory_mb"] = {str(n): float(value) for n, value in enumerate(medians)}
    write_json(place, figures | {target.name: target.value for target in targets})
    return 0 if all(target.reached for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
