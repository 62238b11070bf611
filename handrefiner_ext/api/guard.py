"""Checks a generation request of the WebUI where it comes in.

The WebUI hands a script's arguments on unread and swallows what its hooks raise, so a wrong value
would be ignored in silence. Middlewares cannot be added to a running app; instead the function
behind each of the two routes is wrapped, after the WebUI's own checks of user and body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from fastapi import HTTPException

from handrefiner_ext.api.body import Problem, decode_picture
from handrefiner_ext.arguments import DRAWN_MASK, Arguments, read_arguments
from handrefiner_ext.errors import UsageError
from handrefiner_ext.params import RefineParams

PATHS = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")
TITLE = "HandRefiner"
EXAMPLE = '{"args": [{"enabled": true, "strength": 0.55}]}'
MARK = "handrefiner_guarded"

Check = Callable[[RefineParams], None]
"""Raises UsageError for what only the running WebUI can know to be wrong."""


def guard_routes(app: Any, check: Check = lambda params: None) -> tuple[str, ...]:
    """Let the generation routes of `app` answer 422 to wrong arguments; the paths guarded."""
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
    """Raise UsageError where the request's `alwayson_scripts` ask HandRefiner for nonsense."""
    if not isinstance(scripts, Mapping):
        return
    for title, entry in scripts.items():
        if str(title).lower() == TITLE.lower():
            check(_read_entry(entry).params)


def _read_entry(entry: object) -> Arguments:
    if not isinstance(entry, Mapping) or set(entry) - {"args"}:
        raise UsageError(f"alwayson_scripts.{TITLE} must be an object such as {EXAMPLE}.")
    args = entry.get("args", [])
    if not isinstance(args, (list, tuple)):
        raise UsageError(f"args of {TITLE} must be a list, as in {EXAMPLE}.")
    if len(args) > 1 and isinstance(args[0], Mapping):
        raise UsageError(f"args of {TITLE} may hold one dict or values by position, not both.")
    arguments = read_arguments(args)
    if arguments.drawn_mask is not None:
        decode_picture(arguments.drawn_mask, DRAWN_MASK)
    return arguments
