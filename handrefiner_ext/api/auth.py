"""Who may ask: the users of --api-auth, and whoever is logged in at the WebUI.

Both protect only the WebUI's own routes, so ours ask for them here. Where neither is set, the
routes are as open as the WebUI's own.
"""

from collections.abc import Callable, Mapping
from secrets import compare_digest
from typing import Any, Optional

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

LOGIN_CHECK = "/login_check"
REFUSAL = "This route needs the user and password of --api-auth, or a login at the WebUI."
BASIC = HTTPBasic(auto_error=False)


def build_check(app: Any, users: Mapping[str, str]) -> Callable[..., None]:
    """A dependency that lets through whom `users` and the login of `app` let through."""

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
    """Whether the password is right, in a time that does not tell how much of it is."""
    expected = users.get(credentials.username)
    given = credentials.password.encode()
    return compare_digest((expected or "").encode(), given) and expected is not None


def _accepts(login: Any, credentials: HTTPBasicCredentials) -> bool:
    """Whether the WebUI's login (a dict, or a function of user and password) would let in."""
    if callable(login):
        return bool(login(credentials.username, credentials.password))
    return bool(login) and _knows(login, credentials)


def _find_user(app: Any, request: Request) -> Any:
    """The user of the WebUI's session, or None.

    gradio's cookies differ between its versions, so its own function is asked: the one that its
    route /login_check depends on.
    """
    for route in app.routes:
        if getattr(route, "path", None) == LOGIN_CHECK:
            for dependency in route.dependant.dependencies:
                return dependency.call(request)
    return None
