"""Who may use the routes, and how much they may ask for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from secrets import compare_digest
from typing import Any, Optional

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from handrefiner_ext.api.body import (
    DEPTH_IN,
    GIVEN,
    Arguments,
    Problem,
    decode_picture,
    read_arguments,
)
from handrefiner_ext.errors import PictureError, UsageError
from handrefiner_ext.params import MAIN, RefineParams
from handrefiner_ext.pictures import Picture, to_depth

LOGIN_CHECK = "/login_check"
REFUSAL = "This route needs the user and password of --api-auth, or a login at the WebUI."
BASIC = HTTPBasic(auto_error=False)


def build_check(app: Any, users: Mapping[str, str]) -> Callable[..., None]:
    """Return a dependency that answers 401 to callers unknown to `users` and the login of `app`."""

    def check_login(
        request: Request,
        credentials: Optional[HTTPBasicCredentials] = Depends(BASIC),  # noqa: B008, UP045
    ) -> None:
        login = getattr(app, "auth", None)
        if not users and not login:
            return
        if credentials is not None and (_knows(users, credentials) or _accepts(login, credentials)):
            return
        if login and _find_user(app, request) is not None:
            return
        raise HTTPException(401, REFUSAL, headers={"WWW-Authenticate": "Basic"})

    return check_login


def _knows(users: Mapping[str, str], credentials: HTTPBasicCredentials) -> bool:
    """Return whether the password is right, in a time that does not depend on how wrong it is."""
    expected = users.get(credentials.username)
    given = credentials.password.encode()
    return compare_digest((expected or "").encode(), given) and expected is not None


def _accepts(login: Any, credentials: HTTPBasicCredentials) -> bool:
    """Return whether the WebUI's login accepts them; it is a dict, or a function of both."""
    if callable(login):
        return bool(login(credentials.username, credentials.password))
    return bool(login) and _knows(login, credentials)


def _find_user(app: Any, request: Request) -> Any:
    """Return the user of the WebUI's session, or None.

    gradio's cookies differ between its versions, so its own function is asked: the one that its
    route /login_check depends on.
    """
    for route in app.routes:
        if getattr(route, "path", None) == LOGIN_CHECK:
            for dependency in route.dependant.dependencies:
                return dependency.call(request)
    return None


PATHS = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")
TITLE = "HandRefiner"
EXAMPLE = json.dumps({"args": [{"enabled": True, MAIN.name: MAIN.default}]})
MARK = "handrefiner_guarded"

Check = Callable[[RefineParams], None]
"""Raises UsageError for what only the running WebUI can know to be wrong."""


def guard_routes(app: Any, check: Check = lambda params: None) -> tuple[str, ...]:
    """Make the generation routes of `app` answer 422 to wrong arguments; return their paths."""
    guarded = []
    for route in app.routes:
        if getattr(route, "path", None) in PATHS and hasattr(route, "dependant"):
            if not hasattr(route.dependant.call, MARK):
                route.dependant.call = _guard(route.dependant.call, check)
            guarded.append(route.path)
    return tuple(guarded)


def _guard(endpoint: Callable[..., Any], check: Check) -> Callable[..., Any]:
    @wraps(endpoint)
    def guarded(*args: Any, **values: Any) -> Any:
        for request in (*args, *values.values()):
            scripts = getattr(request, "alwayson_scripts", None)
            try:
                check_scripts(scripts, check)
            except (UsageError, Problem) as error:
                raise HTTPException(422, f"{TITLE}: {error}") from error
        return endpoint(*args, **values)

    setattr(guarded, MARK, True)
    return guarded


def check_scripts(scripts: object, check: Check = lambda params: None) -> None:
    """Raise UsageError for wrong arguments of HandRefiner in a request's `alwayson_scripts`."""
    if not isinstance(scripts, Mapping):
        return
    for title, entry in scripts.items():
        if str(title).lower() == TITLE.lower():
            check(_read_entry(entry).params)


def _check_picture(picture: Picture, name: str) -> None:
    """Raise Problem for a depth map that is none, before anything is generated."""
    if name != DEPTH_IN:
        return
    try:
        to_depth(picture, *picture.image.shape[:2])
    except PictureError as error:
        raise Problem(422, str(error)) from error


def _read_entry(entry: object) -> Arguments:
    if not isinstance(entry, Mapping) or set(entry) - {"args"}:
        raise UsageError(f"alwayson_scripts.{TITLE} must be an object such as {EXAMPLE}.")
    args = entry.get("args", [])
    if not isinstance(args, (list, tuple)):
        raise UsageError(f"args of {TITLE} must be a list, as in {EXAMPLE}.")
    if len(args) > 1 and isinstance(args[0], Mapping):
        raise UsageError(f"args of {TITLE} may hold one dict or values by position, not both.")
    arguments = read_arguments(args)
    for name in GIVEN:
        given = getattr(arguments, name)
        if given is not None:
            _check_picture(decode_picture(given, name), name)
    return arguments
