"""Too much at once, or for too long, is refused with a sentence, and the next request is served."""

from __future__ import annotations

import base64
import socket
import struct
import threading
import urllib.error
import urllib.request
import zlib
from dataclasses import fields

import numpy as np
import pytest
from cli_runs import wait_until
from hand_scenes import BOTH, BrightDetector, hold_tiny_backends, picture_with

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from api_client import ask, make_client, to_text
from fastapi import FastAPI

from handrefiner_ext.api import bounds, routes
from handrefiner_ext.api.body import Problem
from handrefiner_ext.api.routes import PREFIX
from handrefiner_ext.api.worker import Services
from handrefiner_ext.params import RefineParams

BODY = {"image": to_text(picture_with(BOTH)), "backend": "draft"}


class HeldDetector(BrightDetector):
    """Waits until it is let go."""

    def __init__(self):
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def detect(self, image, params):
        self.begun.set()
        assert self.go_on.wait(30)
        return super().detect(image, params)


@pytest.fixture
def held(monkeypatch):
    return hold_tiny_backends(monkeypatch)


@pytest.fixture
def one_at_a_time(monkeypatch):
    monkeypatch.setattr(bounds, "AT_ONCE", 1)
    monkeypatch.setattr(bounds, "MOST_WAITING", 1)


def test_what_would_wait_behind_too_many_is_refused_before_its_body_is_read(
    held, one_at_a_time, monkeypatch
):
    detector, gate = HeldDetector(), bounds.Gate()
    held["detector"] = detector
    monkeypatch.setattr(routes, "Gate", lambda: gate)
    client, answers = make_client(), []

    def send():
        answers.append(ask(client, "/refine", **BODY).status_code)

    others = [threading.Thread(target=send) for _ in range(2)]
    others[0].start()
    assert detector.begun.wait(30)
    others[1].start()
    try:
        wait_until(lambda: gate._inside == 2)
        refused = client.post("/handrefiner/v1/refine", content=b"no JSON at all")
    finally:
        detector.go_on.set()
        for other in others:
            other.join()
    assert refused.status_code == 503
    assert refused.json()["detail"].startswith("1 requests are being answered and 1 more wait")
    assert answers == [200, 200]
    assert ask(client, "/refine", **BODY).status_code == 200


def test_a_wait_has_an_end(held, one_at_a_time, monkeypatch):
    monkeypatch.setattr(bounds, "LONGEST_WAIT_S", 0.01)
    gate = bounds.Gate()
    with gate.enter():
        with pytest.raises(Problem, match=r"took longer than 0.01 s") as raised, gate.enter():
            pass
        assert raised.value.status == 503
    with gate.enter():
        pass


def test_many_requests_are_worked_on_by_the_same_few_threads(held, monkeypatch):
    threads = set()

    class NotedDetector(BrightDetector):
        def detect(self, image, params):
            threads.add(threading.current_thread().name)
            return super().detect(image, params)

    monkeypatch.setattr(bounds, "AT_ONCE", 2)
    held["detector"] = NotedDetector()
    client = make_client()
    senders = [
        threading.Thread(target=ask, args=(client, path), kwargs=BODY)
        for path in ("/hints", "/refine") * 5
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert threads <= {"handrefiner_0", "handrefiner_1"}


def test_work_that_takes_too_long_is_ended_with_a_sentence(held, monkeypatch):
    client = make_client()
    monkeypatch.setattr(bounds, "LONGEST_WORK_S", -1.0)
    for path in ("/hints", "/refine"):
        answer = ask(client, path, **BODY)
        assert answer.status_code == 503
        assert "scale the picture down" in answer.json()["detail"]
    monkeypatch.setattr(bounds, "LONGEST_WORK_S", 600.0)
    assert ask(client, "/refine", **BODY).status_code == 200


@pytest.mark.parametrize("method", ["redetect", "reread", "examine"])
def test_the_time_is_looked_at_in_every_call(method, monkeypatch):
    monkeypatch.setattr(bounds, "LONGEST_WORK_S", -1.0)
    timed = bounds.TimedDetector(BrightDetector(), "bright")
    with pytest.raises(Problem):
        getattr(timed, method)(*[None] * {"redetect": 3, "reread": 3, "examine": 4}[method])


@pytest.mark.parametrize("name", [f.name for f in fields(RefineParams)])
def test_an_endless_value_is_not_repeated(name):
    for value in ("x" * 200_000, ["y" * 200_000]):
        answer = ask(
            make_client(), "/hints", **{"image": BODY["image"], "backend": "draft", name: value}
        )
        if answer.status_code != 200:  # a prompt may be that long
            assert len(answer.content) < 3000


def test_an_endless_name_is_not_repeated():
    answer = ask(make_client(), "/hints", **{"image": BODY["image"], "x" * 200_000: 1})
    assert answer.status_code == 422
    assert len(answer.content) < 3000


def test_a_number_of_thousands_of_digits_is_refused():
    body = b'{"image": "a", "seed": ' + b"1" * 5000 + b"}"
    answer = make_client().post(f"{PREFIX}/hints", content=body)
    assert answer.json()["detail"] == "The body is not JSON (a number has too many digits)."


def test_a_picture_of_900_million_pixels_is_refused_with_its_limit():
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk))
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    for data in (header + end, header):
        answer = ask(make_client(), "/hints", image=base64.b64encode(data).decode())
        assert answer.status_code == 422
    sent = ask(make_client(), "/hints", image=base64.b64encode(header + end).decode())
    assert "million pixels" in sent.json()["detail"]


def test_the_routes_take_no_larger_picture_than_the_server_allows(held):
    client = make_client(Services(most_pixels=lambda: 100_000))
    sides = [(300, 400), (300, 300)]
    answers = [ask(client, "/hints", image=to_text(np.zeros((*s, 3), np.uint8))) for s in sides]
    assert [answer.status_code for answer in answers] == [422, 200]
    assert "400 × 300 pixels" in answers[0].json()["detail"]
    assert client.get(f"{PREFIX}/schema").json()["max_pixels"] == 100_000


def test_a_client_that_sends_everything_first_reads_that_it_was_too_much(held, monkeypatch):
    """As urllib does; a connection that is reset would tell nothing."""
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setattr(routes, "MAX_BODY_BYTES", 1 << 20)
    monkeypatch.setattr(routes, "MOST_DISCARDED_BYTES", 64 << 20)
    app = FastAPI()
    routes.add_routes(app)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        running = threading.Thread(target=server.run, args=([place],), daemon=True)
        running.start()
        wait_until(lambda: server.started)
        url = f"http://127.0.0.1:{place.getsockname()[1]}{PREFIX}/hints"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, b"x" * (32 << 20), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError) as raised:
            opener.open(request, timeout=60)
        with raised.value as error:
            assert error.code == 413
            assert b"longer than 1 MB" in error.read()
        server.should_exit = True
        running.join(30)


@pytest.mark.parametrize("users", [{}, {"ann": "secret"}])
def test_what_needs_a_login_is_not_listed_without_one(users):
    client = make_client(Services(users=users))
    listed = client.get("/openapi.json").json()["paths"]
    assert any(path.startswith(PREFIX) for path in listed) == (not users)
