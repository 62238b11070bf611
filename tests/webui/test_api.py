"""The API of a real WebUI: our routes, wrong arguments, logins."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
import warnings

import numpy as np
import pytest
import running_host
from PIL import Image
from running_host import Answer, missing_for_a_host, start_host

import handrefiner_ext
from handrefiner_ext.knobs import WEBUI
from handrefiner_ext.params import RefineParams, fields_of

PREFIX = "/handrefiner/v1"
GENERATION = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")


@pytest.fixture(scope="session")
def photograph(photographs):
    return base64.b64encode((photographs / "1.jpg").read_bytes()).decode()


def to_array(text):
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))))


def request(photograph, args, path="/sdapi/v1/img2img"):
    body = {
        **{"prompt": "a hand", "seed": 1, "steps": 1, "width": 64, "height": 64},
        **{"denoising_strength": 0.1, "alwayson_scripts": {"HandRefiner": args}},
    }
    return {**body, "init_images": [photograph]} if path.endswith("img2img") else body


def test_the_host_knows_the_extension(host):
    said = host.get(PREFIX + "/version")
    assert said["version"] == handrefiner_ext.__version__
    # Without tags in its clone the WebUI takes its version from its changelog, without the "v".
    assert said["host"].replace(" v", " ").startswith("stable-diffusion-webui 1.")
    assert said["computes"] is True


def test_positions_of_the_schema_are_those_of_the_hosts_script_arguments(host):
    schema = [e for e in host.get(PREFIX + "/schema")["parameters"] if e["position"] is not None]
    tabs = [s for s in host.get("/sdapi/v1/script-info") if s["name"] == "handrefiner"]
    assert [tab["is_img2img"] for tab in tabs] == [False, True]
    for tab in tabs:
        assert [arg["value"] for arg in tab["args"]] == [entry["default"] for entry in schema]


def test_models_names_what_auto_takes(host):
    said = host.get(PREFIX + "/models")
    assert said["checkpoint_family"] == "sd1"
    assert said["chosen"].startswith("control_sd15_inpaint_depth_hand")
    listed = {model["name"]: model["recommended_strength"] for model in said["control_models"]}
    assert listed[said["chosen"]] == 0.55
    assert None in said["backends"]["detector"].values()


def test_the_hosts_openapi_describes_our_routes(host):
    paths = host.get("/openapi.json")["paths"]
    for name in ("version", "schema", "models", "hints", "refine"):
        assert f"{PREFIX}/{name}" in paths
    body = paths[PREFIX + "/refine"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["strength"]["maximum"] == 1


def test_hints_find_the_hand_of_a_photograph(host, photograph):
    said = host.post(PREFIX + "/hints", {"image": photograph})
    assert [hand["handedness"] for hand in said["hands"]] == ["right"]
    hand = said["hands"][0]
    assert len(hand["landmarks"]) == len(hand["joints_2d"]) == 21
    assert hand["reprojection_error"] < 0.05
    mask, depth = to_array(said["mask"]), to_array(said["depth"])
    assert mask.shape == depth.shape == (said["height"], said["width"])
    x0, y0, x1, y1 = hand["box"]
    assert mask[y0:y1, x0:x1].all()
    assert depth[y0:y1, x0:x1].max() == 255
    assert not depth[mask == 0].any()


def test_refine_repaints_with_the_hosts_model_and_only_inside_the_mask(host, photograph):
    before = np.array(Image.open(io.BytesIO(base64.b64decode(photograph))).convert("RGB"))
    body = {"image": photograph, "steps": 2, "seed": 3, "keep_best": False}
    mask = to_array(host.post(PREFIX + "/hints", {"image": photograph})["mask"]) > 0
    pictures = []
    for strength in (0.4, 0.8):
        said = host.post(PREFIX + "/refine", {**body, "strength": strength})
        after = to_array(said["image"])
        assert [decision["refined"] for decision in said["decisions"]] == [True]
        assert any("control_sd15_inpaint_depth_hand" in note for note in said["notes"])
        changed = (after != before).any(axis=2)
        assert changed.any()
        assert not (changed & ~mask).any()
        pictures.append(after)
    assert (pictures[0] != pictures[1]).any()


def test_refine_that_cannot_paint_gives_the_picture_back_with_the_reason(host, photograph):
    said = host.post(PREFIX + "/refine", {"image": photograph, "control_model": "absent"})
    before = np.array(Image.open(io.BytesIO(base64.b64decode(photograph))).convert("RGB"))
    assert np.array_equal(to_array(said["image"]), before)
    assert said["decisions"][0]["refined"] is False
    assert "absent is not installed" in said["decisions"][0]["reason"]


def test_refine_with_the_draft_backend_needs_no_model(host, photograph):
    said = host.post(
        PREFIX + "/refine", {"image": photograph, "backend": "draft", "keep_best": False}
    )
    assert [decision["refined"] for decision in said["decisions"]] == [True]


def test_the_example_of_the_documentation_runs(host, photographs, tmp_path, monkeypatch, capsys):
    text = (running_host.PROJECT / "docs" / "api.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "picture.png").write_bytes((photographs / "1.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the example leaves closing to Python
        exec(code.replace("http://127.0.0.1:7860", host.url), {})
    assert "'right'" in capsys.readouterr().out
    assert (tmp_path / "refined.png").read_bytes().startswith(b"\x89PNG")


WRONG = [
    ({"args": [{"strength": 3}]}, "strength = 3 is not possible; it must be a number from 0 to 1."),
    ({"args": [True, "strong"]}, "strength = 'strong' is not possible"),
    ({"args": [{"detector": "magic"}]}, "it must be one of auto, yolo, litert, mediapipe."),
    ({"args": [{"keep_best": "perhaps"}]}, "it must be true or false."),
    ({"args": [{"strenght": 0.5}]}, "Did you mean strength?"),
    ({"args": [{"padding_bbox": -1}]}, "a whole number from 0 to 512"),
    ({"args": [{"hands": "middle"}]}, "hands = 'middle' is not possible"),
    ({"args": [{"guidance_start": 0.6, "guidance_end": 0.5}]}, "lies after guidance_end = 0.5"),
    ({"args": {"enabled": True}}, "must be a list"),
    ([True], "must be an object"),
    ({"args": [{"sampler": "Magic"}]}, "Euler a"),
    ({"args": [{"scheduler": "Magic"}]}, "Karras"),
    ({"args": [{"checkpoint": "Magic"}]}, "tiny-sd15.safetensors"),
    ({"args": [{"vae": "Magic"}]}, "Automatic"),
    ({"args": [{"drawn_mask": "/etc/passwd"}]}, "file paths are not opened"),
    ({"args": [{"drawn_mask": "http://127.0.0.1/a.png"}]}, "addresses are not opened"),
    ({"args": [{"depth_in": "/etc/passwd"}]}, "file paths are not opened"),
]


@pytest.mark.parametrize(("args", "sentence"), WRONG, ids=[str(w[0]) for w in WRONG])
@pytest.mark.parametrize("path", GENERATION)
def test_a_wrong_value_is_answered_with_422_before_anything_runs(
    host, photograph, path, args, sentence
):
    jobs = host.get("/sdapi/v1/progress?skip_current_image=true")["state"]["job_timestamp"]
    answer = host.ask("POST", path, request(photograph, args, path))
    assert answer.status == 422, answer.body
    assert sentence in answer.body["detail"]
    after = host.get("/sdapi/v1/progress?skip_current_image=true")["state"]["job_timestamp"]
    assert after == jobs


RIGHT = [
    {},
    {"args": []},
    {"args": [False]},
    {"args": [{"enabled": False, "strength": 0.4, "sampler": "euler a", "scheduler": "karras"}]},
    {"args": [{f.name: f.default for f in fields_of(WEBUI)}]},
    {"args": [getattr(RefineParams(), f.name) for f in fields_of(WEBUI)]},
]


@pytest.mark.parametrize("args", RIGHT, ids=lambda args: str(args)[:60])
@pytest.mark.parametrize("path", GENERATION)
def test_right_values_are_let_through(host, photograph, path, args):
    answer = host.ask("POST", path, request(photograph, args, path))
    assert answer.status == 200, answer.body
    assert len(answer.body["images"]) == 1


@pytest.mark.parametrize(
    "image", ["/etc/passwd", "http://127.0.0.1/a.png", "file:///etc/passwd", "AAAA", "", None, 3]
)
@pytest.mark.parametrize("path", ["/hints", "/refine"])
def test_only_pictures_themselves_are_opened(host, path, image):
    answer = host.ask("POST", PREFIX + path, {"image": image})
    assert answer.status == 422
    assert answer.body["detail"].startswith("image ")


def test_a_long_body_is_refused_by_its_length(host):
    import http.client

    address = urllib.parse.urlsplit(host.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.putrequest("POST", PREFIX + "/hints")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "longer than 128 MB" in json.loads(answer.read())["detail"]
    connection.close()


def ask_as(host, path, user=None, cookies=None, body=None):
    """One request with a password or with a browser's cookies."""
    asked = urllib.request.Request(host.url + path, body, {"Content-Type": "application/json"})
    if user:
        asked.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    if cookies:
        asked.add_header("Cookie", cookies)
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(asked, timeout=60) as answer:
            return Answer(answer.status, json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, json.loads(error.read()))


def log_in(host, user, password):
    """The cookie that the WebUI gives to a browser."""
    form = urllib.parse.urlencode({"username": user, "password": password}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(host.url + "/login", form, timeout=60) as answer:
        cookies = answer.headers.get_all("Set-Cookie")
    return "; ".join(cookie.partition(";")[0] for cookie in cookies)


OURS = ["/version", "/schema", "/models", "/hints", "/refine"]


@pytest.fixture
def own_hosts(tmp_path, monkeypatch):
    """Starts hosts with other flags; each is ended with the test."""
    if not os.environ.get("HANDREFINER_WEBUI"):
        pytest.skip(missing_for_a_host() or "starts hosts itself: HANDREFINER_WEBUI is not set")
    started = []

    def start(*arguments, without=()):
        monkeypatch.setattr(running_host, "LEFT_OUT", without)
        started.append(start_host(tmp_path, *arguments))
        return started[-1]

    yield start
    for host in started:
        host.stop()


def test_our_routes_ask_for_the_users_of_the_host(own_hosts):
    host = own_hosts("--api-auth", "ann:secret", "--gradio-auth", "bob:word")
    cookie = log_in(host, "bob", "word")
    for path in OURS:
        body = b"{}" if path in ("/hints", "/refine") else None
        allowed = 422 if body else 200
        assert ask_as(host, PREFIX + path, body=body).status == 401
        for wrong in ("ann:wrong", "ann:", "eve:secret", ":"):
            assert ask_as(host, PREFIX + path, wrong, body=body).status == 401
        assert ask_as(host, PREFIX + path, None, "access-token=x", body=body).status == 401
        assert ask_as(host, PREFIX + path, "ann:secret", body=body).status == allowed
        assert ask_as(host, PREFIX + path, "bob:word", body=body).status == allowed
        assert ask_as(host, PREFIX + path, None, cookie, body=body).status == allowed
    wrong = json.dumps({"alwayson_scripts": {"HandRefiner": {"args": [{"strength": 3}]}}}).encode()
    for path in GENERATION:
        assert ask_as(host, path, body=wrong).status == 401
        assert ask_as(host, path, "ann:secret", body=wrong).status == 422


def test_without_the_api_flag_only_light_routes_are_there(own_hosts):
    host = own_hosts("--gradio-auth", "bob:word", without=("--api",))
    assert ask_as(host, PREFIX + "/version").status == 401
    said = ask_as(host, PREFIX + "/version", None, log_in(host, "bob", "word"))
    assert (said.status, said.body["computes"]) == (200, False)
    assert ask_as(host, PREFIX + "/schema", "bob:word").status == 200
    for path in ("/hints", "/refine"):
        assert ask_as(host, PREFIX + path, "bob:word", body=b"{}").status == 404


def test_without_the_page_all_routes_and_checks_are_there(own_hosts, photograph):
    host = own_hosts("--nowebui", "--api-auth", "ann:secret")
    assert ask_as(host, PREFIX + "/version").status == 401
    assert ask_as(host, PREFIX + "/version", "ann:secret").body["computes"] is True
    body = json.dumps({"image": photograph}).encode()
    assert len(ask_as(host, PREFIX + "/hints", "ann:secret", body=body).body["hands"]) == 1
    wrong = json.dumps(request(photograph, {"args": [{"strength": 3}]})).encode()
    assert ask_as(host, GENERATION[1], "ann:secret", body=wrong).status == 422
    right = json.dumps(request(photograph, {"args": [False, 0.5]})).encode()
    assert ask_as(host, GENERATION[1], "ann:secret", body=right).status == 200
