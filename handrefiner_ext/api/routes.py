"""The routes under /handrefiner/v1. FastAPI reads their annotations at run time."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from typing import Any

from fastapi import Depends, HTTPException, Request, Response

import handrefiner_ext
from handrefiner_ext.api import PREFIX, models
from handrefiner_ext.api.access import build_check
from handrefiner_ext.api.body import (
    MAX_BODY_BYTES,
    Problem,
    SchemaReport,
    answer_hints,
    answer_refine,
    describe_parameters,
    read_request,
)
from handrefiner_ext.api.bounds import Gate
from handrefiner_ext.api.choosing import LastRoutes
from handrefiner_ext.api.editor import EditorRoutes
from handrefiner_ext.api.worker import ModelsReport, Services, VersionReport, Worker
from handrefiner_ext.errors import (
    HandRefinerError,
    PictureError,
    UsageError,
    describe_fault,
)

logger = logging.getLogger(__name__)
MOST_DISCARDED_BYTES = 8 * MAX_BODY_BYTES
NO_MEMORY = "The picture needs more memory than there is; scale it down first."
PROBLEMS: dict[int, dict[str, Any]] = {
    401: {"model": models.Problem, "description": "Not logged in."},
    413: {"model": models.Problem, "description": "The body is too long."},
    415: {"model": models.Problem, "description": "The body is not JSON."},
    422: {"model": models.Problem, "description": "A value or the picture is not possible."},
    500: {"model": models.Problem, "description": "A fault in the program."},
    501: {"model": models.Problem, "description": "Nothing here can do that."},
    503: {
        "model": models.Problem,
        "description": "A package or model is missing, or too much is asked at once.",
    },
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": models.REQUEST_SCHEMA}},
    }
}


def add_routes(app: Any, services: Services | None = None) -> None:
    """Add the routes to `app`, once; they ask for the login of --api-auth or of the WebUI."""
    if any(getattr(route, "path", "").startswith(PREFIX) for route in app.routes):
        return
    routes = Routes(services or Services())
    guard = [Depends(build_check(app, routes.services.users))]
    # The lists of routes, /docs and /openapi.json, ask for no login, so ours are then left out.
    shown = {"include_in_schema": not routes.services.users and not getattr(app, "auth", None)}

    def add(method: str, path: str, endpoint: Callable[..., Any], *first: Any, **more: Any) -> None:
        app.add_api_route(
            PREFIX + path,
            endpoint,
            methods=[method],
            tags=["HandRefiner"],
            **shown,
            **more,
            dependencies=[*guard, *first],
        )

    only_login = {401: PROBLEMS[401]}
    add("GET", "/version", routes.version, response_model=models.Version, responses=only_login)
    add("GET", "/schema", routes.schema, response_model=models.Schema, responses=only_login)
    add("GET", "/models", routes.models, response_model=models.Models, responses=only_login)
    editor = EditorRoutes(routes.worker, routes.gate, routes.services.most_pixels)
    without_body = {"responses": only_login, "response_class": Response}
    add("GET", "/editor", editor.about, **without_body)
    with_body = {"responses": PROBLEMS, "response_class": Response}
    add("POST", "/editor/find", answering(editor.find), Depends(routes.check_room), **with_body)
    add("POST", "/editor/step", answering(editor.step), **with_body)
    add("POST", "/editor/maps", answering(editor.maps), Depends(routes.check_room), **with_body)
    if routes.services.last is not None:
        kept = LastRoutes(routes.services.last, routes.services.rewrite)
        no_body = {"responses": {**only_login, 422: PROBLEMS[422]}, "response_class": Response}
        add("GET", "/last", kept.list, **without_body)
        add("GET", "/last/{picture}/{which}", answered(kept.picture), **no_body)
        add("GET", "/last/{picture}/{hand}/{candidate}", answered(kept.candidate), **no_body)
        add("POST", "/last/take", answering(kept.take), **with_body)
    if routes.services.heavy:
        more = {"responses": PROBLEMS, "openapi_extra": BODY}
        room = Depends(routes.check_room)
        add("POST", "/hints", routes.hints, room, response_model=models.HintsAnswer, **more)
        add("POST", "/refine", routes.refine, room, response_model=models.RefineAnswer, **more)


async def read_body(request: Request) -> bytes:
    """Return the body of a JSON request; nothing is kept of one over the limit.

    The rest of it is read all the same, if that is not endless: most clients read no answer before
    they have sent everything, and a server that hangs up earlier resets their connection.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() != "application/json":
        raise HTTPException(415, f"The body must be application/json, not {kind}.")
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isdigit() else 0
    body, received = bytearray(), 0
    if announced <= MOST_DISCARDED_BYTES:
        async for part in request.stream():
            received += len(part)
            if max(received, announced) <= MAX_BODY_BYTES:
                body += part
            elif received > MOST_DISCARDED_BYTES:
                break
    if max(received, announced) > MAX_BODY_BYTES:
        raise HTTPException(413, f"The body is longer than {MAX_BODY_BYTES >> 20} MB.")
    return bytes(body)


@contextmanager
def problems_answered() -> Iterator[None]:
    """Turn our errors into answers: a status and the sentence."""
    try:
        yield
    except Problem as error:
        raise HTTPException(error.status, str(error)) from error
    except (UsageError, PictureError) as error:
        raise HTTPException(422, str(error)) from error
    except HandRefinerError as error:
        raise HTTPException(503, str(error)) from error
    except MemoryError as error:
        raise HTTPException(503, NO_MEMORY) from error
    except Exception as error:  # of a package or ours: the client is told, and the next is served
        logger.exception("HandRefiner could not answer a request.")
        said = f"The request could not be answered, {describe_fault(error)}"
        raise HTTPException(500, said) from error


def answering(work: Callable[[bytes], Response]) -> Callable[..., Response]:
    """Return the endpoint that answers a JSON body with what `work` makes of it."""

    def endpoint(body: bytes = Depends(read_body)) -> Response:
        with problems_answered():
            return work(body)

    endpoint.__name__, endpoint.__doc__ = work.__name__, work.__doc__
    return endpoint


def answered(work: Callable[..., Response]) -> Callable[..., Response]:
    """Return the endpoint without a body whose errors are answers."""

    @wraps(work)
    def endpoint(*args: Any, **values: Any) -> Response:
        with problems_answered():
            return work(*args, **values)

    return endpoint


class Routes:
    """The endpoints. They are not async: FastAPI's threads wait while the gate's threads work."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.worker = Worker(services)
        self.gate = Gate()

    def check_room(self) -> None:
        """Answer 503 before a body is read that would have to wait too long."""
        with problems_answered():
            self.gate.check_room()

    def version(self) -> dict[str, Any]:
        """Return the version of the extension and of its host."""
        services = self.services
        return asdict(VersionReport(handrefiner_ext.__version__, services.host, services.heavy))

    def schema(self) -> dict[str, Any]:
        """Return all parameters with types, limits, texts and positions."""
        most_pixels = self.services.most_pixels()
        return asdict(SchemaReport(describe_parameters(), MAX_BODY_BYTES, most_pixels))

    def models(self) -> dict[str, Any]:
        """Return the control models and backends that can be chosen here."""
        with problems_answered():
            known = self.services.list_models()
            return asdict(ModelsReport(**vars(known), backends=self.worker.list_backends()))

    def hints(self, body: bytes = Depends(read_body)) -> dict[str, Any]:
        """Find the hands of a picture; return depth, mask and overlay without painting."""
        with problems_answered():
            return self.gate.run(lambda: self._answer_hints(body))

    def refine(self, body: bytes = Depends(read_body)) -> dict[str, Any]:
        """Repaint the hands of a picture.

        The WebUI's loaded model paints them, unless the body names a backend such as draft.
        """
        with problems_answered():
            return self.gate.run(lambda: self._answer_refine(body))

    def _answer_hints(self, body: bytes) -> dict[str, Any]:
        request = read_request(body, self.services.most_pixels())
        return answer_hints(request.picture.image, self.worker.hints(request))

    def _answer_refine(self, body: bytes) -> dict[str, Any]:
        request = read_request(body, self.services.most_pixels())
        return answer_refine(request.picture, self.worker.refine(request), request.params)
