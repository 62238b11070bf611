"""A running WebUI as the worker, over real HTTP: our routes behind a real server."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from cli_runs import unmarked
from hand_scenes import BOTH, hold_tiny_backends, make_stages, picture_with
from PIL import Image

from handrefiner_ext import pipeline
from handrefiner_ext.cli import commands as cli
from handrefiner_ext.errors import RemoteError, UsageError
from handrefiner_ext.files import remote
from handrefiner_ext.files.remote import Server
from handrefiner_ext.params import RefineParams

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

import uvicorn
from fastapi import FastAPI

from handrefiner_ext.api.routes import add_routes
from handrefiner_ext.api.worker import Services
from handrefiner_ext.stages import build_stages
from handrefiner_ext.types import Given, ModelHome

STAGES = make_stages()


def refine(image, params, given):
    return pipeline.refine(image, params, STAGES, given.drawn_mask, given.depth_in)


@contextmanager
def serving(app):
    """The address of `app` behind a real server on this machine."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def build_app(**services):
    app = FastAPI()
    add_routes(app, Services(refine=refine, **services))
    return app


@pytest.fixture(scope="module")
def address():
    with serving(build_app()) as url:
        yield url


@contextmanager
def answering(status, body=b"", headers=()):
    """A server that says the same to everyone."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for key, value in headers:
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_picture_is_the_one_that_the_pipeline_gives_there(address):
    image = picture_with(BOTH)
    server = Server(address)
    assert server.check()
    expected = refine(image, RefineParams(padding_bbox=5), Given())
    result = server.refine(image, {"padding_bbox": 5})
    assert result.hands == len(expected.hints.meshes) == 2
    assert np.array_equal(result.image, expected.image)
    assert [said["refined"] for said in result.decisions] == [True, True]


def test_depth_and_mask_come_when_asked_for_and_the_drawn_mask_counts(monkeypatch):
    hold_tiny_backends(monkeypatch)
    image = picture_with(BOTH)
    drawn = np.zeros(image.shape[:2], dtype=bool)
    drawn[10:60, 10:60] = True
    values = {"mask": "drawn"}
    with serving(build_app()) as url:
        server, given = Server(url), Given(drawn)
        seen, result = server.find_hints(image, values, given), server.refine(image, values, given)
    maps = seen.maps
    expected = refine(image, RefineParams(**values), given)
    assert np.array_equal(maps.mask, expected.hints.maps.mask)
    assert np.array_equal(maps.control, expected.hints.maps.control)
    assert np.array_equal(result.image, expected.image)


def run_refine(folder, url, *more):
    options = ["--input_dir", str(folder / "in"), "--out_dir", str(folder / "out"), "--url", url]
    return cli.main(["refine", *options, *more])


def test_a_folder_is_refined_by_the_webui_and_written_here(address, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    pictures = {"hands": picture_with(BOTH), "none": np.zeros((60, 120, 3), dtype=np.uint8)}
    for name, image in pictures.items():
        Image.fromarray(image).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    assert run_refine(tmp_path, address, "--padding_bbox", "5") == cli.FAILED
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"hands_0.png", "none_0.png"}
    expected = refine(pictures["hands"], RefineParams(padding_bbox=5), Given()).image
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "hands_0.png")), expected)
    source = (tmp_path / "in" / "none.png").read_bytes()
    assert unmarked(tmp_path / "out" / "none_0.png") == source
    said = capsys.readouterr()
    assert "hand 1 (right) repainted" in said.out
    assert "broken.png" in said.err


def test_poses_and_depth_maps_go_through_the_webui_as_they_do_here(tmp_path, monkeypatch, capsys):
    hold_tiny_backends(monkeypatch)
    (tmp_path / "in").mkdir()
    image = picture_with(BOTH)
    Image.fromarray(image).save(tmp_path / "in" / "a.png")
    grey = np.zeros(image.shape[:2], np.uint8)
    grey[15:45, 10:50] = 90
    Image.fromarray(grey).save(tmp_path / "d.png")
    here = ("--input_dir", str(tmp_path / "in"), "--depth_in", str(tmp_path / "d.png"))
    with serving(build_app()) as url:
        for name, more in (("there", ("--url", url)), ("here", ())):
            maps = (f"--{what}_dir" for what in ("pose", "depth"))
            where = [word for option in maps for word in (option, str(tmp_path / name))]
            out = ("--out_dir", str(tmp_path / f"{name}_out"))
            assert cli.main(["refine", *here, *out, *where, *more]) == cli.DONE
            assert "note: Hand 1: the depth is that of depth_in" in capsys.readouterr().out
        for path in (tmp_path / "here").iterdir():
            assert (tmp_path / "there" / path.name).read_bytes() == path.read_bytes()
        assert len(list((tmp_path / "there").iterdir())) == 4
        assert np.array_equal(np.asarray(Image.open(tmp_path / "there" / "a_depth.png")), grey)
        monkeypatch.setattr(Server, "_read_poses", lambda self, said, image: None)  # as before 0.2
        more = ("--url", url, "--pose_dir", str(tmp_path / "x"), "--out_dir", str(tmp_path / "y"))
        assert cli.main(["refine", *here, *more]) == cli.FAILED
    assert "update the extension there, or leave out --pose_dir" in capsys.readouterr().err


def test_several_outputs_and_the_log_are_those_of_painting_here(tmp_path, capsys, monkeypatch):
    hold_tiny_backends(monkeypatch)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture_with(BOTH)).save(tmp_path / "in" / "a.png")
    seeds = []

    def note_seed(image, params, given):
        seeds.append(params.seed)
        return pipeline.refine(image, params, build_stages(params, ModelHome()), given.drawn_mask)

    app = FastAPI()
    add_routes(app, Services(refine=note_seed))
    more = ["--num_samples", "2", "--seed", "7", "--candidates", "3", "--eval", "--log_json"]
    with serving(app) as url:
        assert run_refine(tmp_path, url, *more, str(tmp_path / "there.json")) == cli.DONE
    assert seeds == [7, 10], "no candidate of one output is one of the other"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_0.png", "a_1.png"}
    assert "MPJPE 0.00 px" in capsys.readouterr().out
    here = ["--input_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / "here")]
    assert cli.main(["refine", *here, *more, str(tmp_path / "here.json")]) == cli.DONE
    there, here = (
        [json.loads(line) for line in (tmp_path / name).read_text("utf-8").splitlines()]
        for name in ("there.json", "here.json")
    )
    assert len(there) == len(here) == 2
    for one, other in zip(there, here, strict=True):
        assert one.pop("output") != other.pop("output")
        assert one == other


def test_the_command_ends_before_any_picture_where_the_webui_refuses(tmp_path, capsys, monkeypatch):
    (tmp_path / "in").mkdir()
    Image.fromarray(picture_with(BOTH)).save(tmp_path / "in" / "a.png")
    with serving(build_app(users={"anna": "secret"})) as url:
        assert run_refine(tmp_path, url) == cli.FAILED
        assert "HANDREFINER_LOGIN" in capsys.readouterr().err
        assert not list((tmp_path / "out").iterdir())
        monkeypatch.setenv("HANDREFINER_LOGIN", "anna:secret")
        assert run_refine(tmp_path, url) == cli.DONE
    assert run_refine(tmp_path, "nowhere://") == cli.WRONG_USAGE


def test_parameters_of_the_webuis_painting_reach_it_and_are_refused_without_it(
    tmp_path, capsys, monkeypatch
):
    (tmp_path / "in").mkdir()
    Image.fromarray(picture_with(BOTH)).save(tmp_path / "in" / "a.png")
    seen = []
    app = FastAPI()
    add_routes(app, Services(refine=lambda image, params, given: seen.append(params)))
    with serving(app) as url:
        run_refine(tmp_path, url, "--steps", "12", "--prompt", "a hand", "--strength", "0.7")
    assert seen == [RefineParams(steps=12, prompt="a hand", strength=0.7)]
    capsys.readouterr()
    options = ["--input_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / "out")]
    assert cli.main(["refine", *options, "--steps", "12"]) == cli.WRONG_USAGE
    assert "give --url too" in capsys.readouterr().err
    assert run_refine(tmp_path, "127.0.0.1:1", "--steps", "many") == cli.WRONG_USAGE
    assert "steps = 'many' is not possible" in capsys.readouterr().err


def test_a_picture_without_hands_is_the_very_object_that_was_sent(address):
    image = np.zeros((80, 120, 3), dtype=np.uint8)
    assert Server(address).refine(image, {}).image is image


def test_a_wrong_value_comes_back_as_the_sentence_of_the_webui(address):
    with pytest.raises(RemoteError, match="strength = 7 is not possible"):
        Server(address).refine(picture_with(BOTH), {"strength": 7})


def test_the_login_is_needed_and_may_stand_in_the_address():
    with serving(build_app(users={"anna": "p@ss"})) as url:
        with pytest.raises(RemoteError, match="--login USER:PASSWORD"):
            Server(url).check()
        assert Server(url, "anna:p@ss").check()
        inside = Server(url.replace("//", "//anna:p%40ss@"))
        assert inside.check()
        assert "p@ss" not in inside.url + repr(inside)


def test_a_webui_without_the_extension_is_named_as_such():
    with serving(FastAPI()) as url, pytest.raises(RemoteError, match="install the extension"):
        Server(url).check()


def test_a_webui_that_does_not_compute_is_told_to_be_started_with_api():
    with serving(build_app(heavy=False)) as url, pytest.raises(RemoteError, match="--api"):
        Server(url).check()


def test_where_nothing_listens_the_sentence_says_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match="Nothing answers at"):
        Server(f"127.0.0.1:{port}").check()


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(remote, "SECONDS_TO_ANSWER", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(RemoteError, match="did not answer in time"),
    ):
        Server(f"http://127.0.0.1:{silent.getsockname()[1]}").check()


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, b"<html>", (), "is not a WebUI with HandRefiner"),
        (200, b"[]", (), "is not a WebUI with HandRefiner"),
        (200, b'{"status": "ok"}', (), "is not a WebUI with HandRefiner; check address and port"),
        (200, b"{}", (), "is not a WebUI with HandRefiner; check address and port"),
        (302, b"", (("Location", "https://else.where/"),), "https://else.where/"),
        (500, b"oops", (), "failed \\(500\\)"),
    ],
)
def test_strange_answers_become_sentences(status, body, headers, said):
    with answering(status, body, headers) as url, pytest.raises(RemoteError, match=said):
        Server(url).check()


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://x:99999", "http://x:ab"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match=r"not the address of a WebUI|http://127"):
        Server(url)
