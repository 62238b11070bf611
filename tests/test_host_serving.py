"""The routes as the WebUI serves them: its users, models, lock and second pass."""

from __future__ import annotations

import base64

import pytest
import stand_in
from host_runs import BRIGHT, PLAIN, differs
from modules import call_queue, launch_utils, script_callbacks, sd_models, shared

from handrefiner_ext.errors import BackendUnavailable
from handrefiner_ext.host import checkpoint, inpainter, serving
from handrefiner_ext.params import RefineParams

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
from api_client import Client, ask, to_array, to_text
from fastapi import FastAPI
from pydantic import BaseModel

PICTURE = to_text(BRIGHT)
BODY = {"image": PICTURE, "keep_best": False, "region_size": 256}


class Generation(BaseModel):
    """As much of the WebUI's request as the guard reads."""

    alwayson_scripts: dict = {}


def start_app():
    """An application with a generation route, after the WebUI's start."""
    app = FastAPI()

    @app.post("/sdapi/v1/txt2img")
    def txt2img(request: Generation):
        return {"made": True}

    script_callbacks.call("app_started", None, app)
    return Client(app)


@pytest.fixture
def client(webui):
    return start_app()


def generate(client, **hands):
    scripts = {"HandRefiner": {"args": [{"enabled": True, **hands}]}}
    return client.post("/sdapi/v1/txt2img", json={"alwayson_scripts": scripts})


def test_the_version_names_the_host(client):
    said = client.get("/handrefiner/v1/version").json()
    assert said["host"] == "stable-diffusion-webui v1.10.1"
    assert said["computes"] is True


def test_a_missing_controlnet_is_named_instead_of_a_model_to_download(client, webui, monkeypatch):
    script = webui.find("ControlNet", img2img=True)
    monkeypatch.setattr(script, "title", lambda: "gone")
    said = client.get("/handrefiner/v1/models").json()
    assert (said["chosen"], said["control_models"]) == (None, [])
    assert said["reason"].startswith("The ControlNet extension is missing or switched off")


def test_the_largest_picture_is_a_setting(client):
    shared.opts.data["handrefiner_route_megapixels"] = 1
    assert client.get("/handrefiner/v1/schema").json()["max_pixels"] == 1_000_000
    large = to_text(BRIGHT.repeat(3, axis=0).repeat(3, axis=1))
    assert "at most 1 million" in ask(client, "/hints", image=large).json()["detail"]


def test_a_version_that_cannot_be_read_is_left_out(monkeypatch, caplog):
    monkeypatch.setattr(launch_utils, "git_tag", None)
    assert serving.describe_host() == "stable-diffusion-webui"
    assert "could not read the WebUI's version" in caplog.text


def test_the_models_are_controlnets_with_what_auto_takes(client):
    said = client.get("/handrefiner/v1/models").json()
    assert said["control_models"] == [{"name": stand_in.HAND, "recommended_strength": 0.55}]
    assert (said["chosen"], said["checkpoint_family"]) == (stand_in.HAND, "sd1")


def test_without_the_flag_api_the_routes_that_compute_are_missing(webui):
    shared.cmd_opts.api = False
    client = start_app()
    assert client.get("/handrefiner/v1/version").json()["computes"] is False
    assert ask(client, "/refine", **BODY).status_code == 404


def test_the_users_of_api_auth_are_asked_for(webui):
    shared.cmd_opts.api_auth = "anna:one,ben:t:wo"
    client = start_app()
    assert client.get("/handrefiner/v1/version").status_code == 401
    login = base64.b64encode(b"ben:t:wo").decode()
    given = {"headers": {"Authorization": f"Basic {login}"}}
    assert client.request("GET", "/handrefiner/v1/version", **given).status_code == 200
    assert serving.read_users(None) == {}


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("sampler", "Euler"),
        ("scheduler", "Karras"),
        ("vae", "soft.vae.pt"),
        ("checkpoint", "other.safetensors"),
    ],
)
def test_names_that_are_not_installed_are_refused_before_anything_is_made(client, name, listed):
    for answer in (
        generate(client, **{name: "absent"}),
        ask(client, "/refine", **BODY, **{name: "absent"}),
    ):
        assert answer.status_code == 422
        assert f"{name} = 'absent' is not installed" in answer.text
        assert listed in answer.text
    assert generate(client, **{name: listed}).json() == {"made": True}


def test_the_route_repaints_with_the_loaded_checkpoint_and_says_the_control_model(client):
    pytest.importorskip("torch")
    answer = ask(client, "/refine", **BODY)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [decision["refined"] for decision in said["decisions"]] == [True, True]
    assert f"control model: {stand_in.HAND}" in said["notes"]
    assert differs(to_array(said["image"]), BRIGHT).any()
    assert shared.state.job == "", "the job is over"
    assert shared.sd_model.hooked == []
    assert not call_queue.queue_lock.locked()


def test_seed_prompt_and_checkpoint_of_the_body_are_used(client):
    pytest.importorskip("torch")
    base = shared.sd_model
    made = [
        to_array(ask(client, "/refine", **BODY, **more).json()["image"])
        for more in ({"seed": 1}, {"seed": 2}, {"seed": 1, "checkpoint": "other.safetensors"})
    ]
    assert differs(made[0], made[1]).any()
    assert differs(made[0], made[2]).any()
    assert shared.sd_model is base


def test_a_hand_that_cannot_be_painted_stays_and_says_why(client, monkeypatch):
    pytest.importorskip("torch")

    def fail(*args):
        raise ValueError("mat1 and mat2")

    for owner, name, words in (
        (inpainter, "run_pass", "mat1 and mat2"),
        (checkpoint, "chosen", "mat1 and mat2"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, fail)
            said = ask(client, "/refine", **BODY).json()
        assert not differs(to_array(said["image"]), BRIGHT).any()
        assert all(words in decision["reason"] for decision in said["decisions"])
    shared.sd_model.is_sd1, shared.sd_model.is_sd2 = False, True
    said = ask(client, "/refine", **BODY).json()
    assert all("Stable Diffusion 2" in decision["reason"] for decision in said["decisions"])


def test_without_a_checkpoint_the_route_says_what_to_do(client):
    shared.sd_model = sd_models.model_data.sd_model = None
    answer = ask(client, "/refine", **BODY)
    assert answer.status_code == 503
    assert "No checkpoint is loaded" in answer.text
    with pytest.raises(BackendUnavailable):
        serving.refine_picture(BRIGHT, RefineParams(**PLAIN), None)


def test_what_goes_wrong_at_the_start_is_logged_and_the_webui_starts(webui, caplog):
    script_callbacks.call("app_started", None, object())
    assert "could not add its API routes" in caplog.text
