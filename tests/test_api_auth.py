"""Who may ask our routes."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from api_client import make_client
from fastapi import Depends, FastAPI, Request

from handrefiner_ext.api.routes import PREFIX
from handrefiner_ext.api.worker import Services

USERS = {"ann": "pass:word", "bob": "ü"}
PATHS = [("GET", "/version"), ("GET", "/schema"), ("GET", "/models"), ("POST", "/hints")]
every_path = pytest.mark.parametrize(("method", "path"), [*PATHS, ("POST", "/refine")])


def gradio_like(login):
    """An application with a login as gradio's has it."""
    app = FastAPI()
    app.auth = login

    def get_current_user(request: Request):
        return {"good": "ann"}.get(request.cookies.get("access-token"))

    def login_check(user=Depends(get_current_user)):  # noqa: B008
        pass

    app.add_api_route("/login_check", login_check)
    return app


def status(client, method, path, **options):
    return client.request(method, PREFIX + path, **options).status_code


@every_path
def test_without_any_login_the_routes_are_open(method, path):
    for app in (FastAPI(), gradio_like(None)):
        assert status(make_client(app=app), method, path) in (200, 422)


@every_path
def test_only_users_of_the_api_are_let_in(method, path):
    client = make_client(Services(users=USERS), gradio_like(None))
    assert status(client, method, path) == 401
    for wrong in (
        ("ann", "pass"),
        ("ann", ""),
        ("", ""),
        ("eve", "pass:word"),
        ("bob", "pass:word"),
    ):
        assert status(client, method, path, auth=wrong) == 401
    assert status(client, method, path, auth=("ann", "pass:word")) in (200, 422)
    assert status(client, method, path, cookies={"access-token": "good"}) == 401


@every_path
@pytest.mark.parametrize("login", [{"ann": "secret"}, lambda u, p: (u, p) == ("ann", "secret")])
def test_where_the_webui_has_a_login_it_is_asked_for(method, path, login):
    def fresh():
        return make_client(app=gradio_like(login))

    assert status(fresh(), method, path) == 401
    assert status(fresh(), method, path, cookies={"access-token": "bad"}) == 401
    assert status(fresh(), method, path, auth=("ann", "wrong")) == 401
    assert status(fresh(), method, path, auth=("ann", "secret")) in (200, 422)
    assert status(fresh(), method, path, cookies={"access-token": "good"}) in (200, 422)


def test_a_login_that_cannot_be_asked_lets_nobody_in():
    app = FastAPI()
    app.auth = {"ann": "secret"}
    client = make_client(app=app)
    assert status(client, "GET", "/version", cookies={"access-token": "good"}) == 401


def test_the_refusal_is_a_sentence_and_asks_for_a_password():
    answer = make_client(Services(users=USERS)).get(PREFIX + "/version")
    assert "--api-auth" in answer.json()["detail"]
    assert answer.headers["www-authenticate"] == "Basic"


@pytest.mark.parametrize(
    "header", ["Basic", "Basic ???", "Basic YQ==", "Bearer good", "Basic /w=="]
)
def test_a_broken_password_is_refused(header):
    client = make_client(Services(users=USERS))
    assert status(client, "GET", "/version", headers={"authorization": header}) == 401


def test_nobody_makes_the_server_read_a_body_without_logging_in(monkeypatch):
    from handrefiner_ext.api import routes

    def read(body):
        raise AssertionError("read")

    monkeypatch.setattr(routes, "read_request", read)
    client = make_client(Services(users=USERS))
    assert status(client, "POST", "/hints", json={"image": "a"}) == 401
