"""The check of the WebUI's generation requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from api_client import Client, to_text
from fastapi import Depends, FastAPI, HTTPException
from hand_scenes import picture_with
from pydantic import create_model

from handrefiner_ext.api.access import PATHS, guard_routes
from handrefiner_ext.errors import InvalidParameter

Body = create_model("Body", prompt=(str, ""), alwayson_scripts=(Any, {}))


def host_like(check=None, dependencies=()):
    """An application with the WebUI's two routes, guarded; it counts its runs."""
    app = FastAPI()
    app.runs = []

    def text2imgapi(txt2imgreq: Body):
        app.runs.append(txt2imgreq)
        return {"ran": txt2imgreq.prompt}

    for path in PATHS:
        app.add_api_route(path, text2imgapi, methods=["POST"], dependencies=list(dependencies))
    assert guard_routes(app, *([check] if check else [])) == PATHS
    return Client(app)


def post(client, args, title="HandRefiner", path=PATHS[0]):
    return client.post(path, json={"prompt": "p", "alwayson_scripts": {title: args}})


RIGHT = [
    {},
    {"args": []},
    {"args": [{}]},
    {"args": [{"enabled": True, "strength": 0.4, "control_model": "auto", "padding_bbox": 20}]},
    {"args": [{"denoising_strength": 0.6, "mesh": "auto", "detector": "auto", "keep_best": True}]},
    {"args": [True, 0.55]},
    {"args": [False]},
]


@pytest.mark.parametrize("entry", RIGHT, ids=str)
@pytest.mark.parametrize("path", PATHS)
def test_right_arguments_reach_the_webui_untouched(entry, path):
    client = host_like()
    answer = post(client, entry, path=path)
    assert (answer.status_code, answer.json()) == (200, {"ran": "p"})
    assert client.app.runs[0].alwayson_scripts == {"HandRefiner": entry}


WRONG = [
    ({"args": [{"strength": 2}]}, "strength = 2 is not possible; it must be a number from 0 to 1."),
    ({"args": [True, "a"]}, "strength = 'a' is not possible; it must be a number from 0 to 1."),
    ({"args": [{"enabled": "perhaps"}]}, "enabled = 'perhaps' is not possible; it must be true"),
    ({"args": [None]}, "enabled = None is not possible"),
    ({"args": [{"detector": "magic"}]}, "one of auto, yolo, litert, mediapipe"),
    ({"args": [{"strenght": 0.5}]}, "Did you mean strength?"),
    ({"args": [{"seed": 1}]}, "seed is not a parameter"),
    ({"args": [{"hands": "middle"}]}, "it must be words separated by commas"),
    ({"args": [{"strength": 0.5}, 0.7]}, "one dict or values by position, not both"),
    ({"args": [0] * 99}, "at most"),
    ({"args": {"enabled": True}}, "must be a list"),
    ({"args": None}, "must be a list"),
    ({"arg": [True]}, "must be an object"),
    ([True, 0.5], "must be an object"),
    ("on", "must be an object"),
    (None, "must be an object"),
    ({"args": [{"drawn_mask": "/etc/passwd"}]}, "file paths are not opened"),
    ({"args": [{"drawn_mask": "http://a/b.png"}]}, "addresses are not opened"),
    ({"args": [{"depth_in": "/etc/passwd"}]}, "file paths are not opened"),
    ({"args": [{"drawn_mask": {"image": "a"}}]}, "drawn_mask is not text"),
]


@pytest.mark.parametrize(("entry", "sentence"), WRONG, ids=[str(w[0]) for w in WRONG])
@pytest.mark.parametrize("title", ["HandRefiner", "handrefiner", "HANDREFINER"])
def test_wrong_arguments_are_answered_and_nothing_runs(entry, sentence, title):
    client = host_like()
    answer = post(client, entry, title)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("HandRefiner: ")
    assert sentence in answer.json()["detail"]
    assert client.app.runs == []


def test_a_drawn_mask_that_is_a_picture_is_let_through():
    mask = to_text(picture_with(()))
    assert post(host_like(), {"args": [{"mask": "drawn", "drawn_mask": mask}]}).status_code == 200


def test_a_depth_map_that_is_a_picture_is_refused_before_anything_runs():
    client = host_like()
    photo = to_text(picture_with(()))
    answer = post(client, {"args": [{"depth_in": photo}]})
    assert answer.status_code == 422
    assert "depth_in is a coloured picture, not a depth map" in answer.json()["detail"]
    assert client.app.runs == []
    grey = np.zeros((60, 120), np.uint8)
    grey[10:50, 10:50] = 120
    assert post(client, {"args": [{"depth_in": to_text(grey)}]}).status_code == 200


def test_other_scripts_are_none_of_our_business():
    assert post(host_like(), {"args": [{"strength": 2}]}, "ADetailer").status_code == 200
    assert host_like().post(PATHS[0], json={"alwayson_scripts": None}).status_code == 200
    assert host_like().post(PATHS[0], json={}).status_code == 200


def test_what_only_the_running_webui_knows_is_checked_too():
    def check(params):
        raise InvalidParameter(f"sampler = {params.sampler!r} is not installed.")

    answer = post(host_like(check), {"args": [{"sampler": "Magic"}]})
    assert answer.status_code == 422
    assert "sampler = 'Magic' is not installed." in answer.json()["detail"]


def test_the_webuis_login_comes_first():
    def refuse():
        raise HTTPException(401, "no")

    client = host_like(dependencies=[Depends(refuse)])
    assert post(client, {"args": [{"strength": 2}]}).status_code == 401


def test_guarding_twice_guards_once():
    client = host_like()
    before = [route.dependant.call for route in client.app.routes if route.path in PATHS]
    guard_routes(client.app)
    assert before == [route.dependant.call for route in client.app.routes if route.path in PATHS]


def test_an_application_without_those_routes_is_left_alone():
    assert guard_routes(FastAPI()) == ()
