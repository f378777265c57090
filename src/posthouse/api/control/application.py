"""The application: its routers, its one door, and how its errors look."""

import logging
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from posthouse import __version__
from posthouse.api.control import books, catalog, configuration, keys, prices, records, topups
from posthouse.api.control.door import Sieve, admitted
from posthouse.api.control.parameters import PREFIX, only_known_query
from posthouse.api.control.schemas import refusals
from posthouse.api.guesses import Guesses
from posthouse.api.server import InternalError
from posthouse.api.services import Services
from posthouse.core.errors import InvalidRequest, MethodNotAllowed, NotFound, PosthouseError
from posthouse.dialects.openai_errors import encode_error

logger = logging.getLogger("posthouse.api")

ROUTERS: tuple[APIRouter, ...] = (
    keys.router,
    records.router,
    books.router,
    topups.router,
    catalog.router,
    prices.router,
    configuration.router,
)


def create(services: Services) -> FastAPI:
    """The application over the rooms of one running house."""
    application = FastAPI(
        title="Posthouse control plane",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_url=None,  # FastAPI's own would be open to everybody
        dependencies=[Depends(admitted), Depends(only_known_query)],
        responses=refusals(400, 401, 403, 404, 503),
    )
    application.state.services = services
    application.state.guesses = Guesses(topups.WRONG)
    application.add_middleware(Sieve)
    for router in ROUTERS:
        application.include_router(router)
    application.add_api_route(f"{PREFIX}/openapi.json", describe, include_in_schema=False)
    application.add_exception_handler(PosthouseError, _refused)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(HTTPException, _http)
    application.add_exception_handler(Exception, _unexpected)
    return application


def describe(request: Request) -> dict[str, Any]:
    """The OpenAPI document of this application."""
    document: dict[str, Any] = request.app.openapi()
    return document


def error_response(error: PosthouseError) -> Response:
    return Response(encode_error(error), error.status, dict(error.headers()), media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, PosthouseError)
    return error_response(error)


async def _invalid(_: Request, error: Exception) -> Response:
    """The first thing that is wrong with the path, the query or the body, and where."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    place = [str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path", "header")]
    param = ".".join(place)[:200] or None
    what = str(first.get("msg", "is not valid")).removeprefix("Value error, ")
    return error_response(InvalidRequest(f"{param or 'The request'}: {what}.", param=param))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return error_response(MethodNotAllowed(f"{request.method} is not allowed here."))
    if error.status_code == 404:
        return error_response(NotFound(f"Unknown request URL: {request.method} {request.url.path[:200]}."))
    return error_response(InvalidRequest(str(error.detail)[:500]))


async def _unexpected(_: Request, __: Exception) -> Response:
    """A mistake of ours. It is raised on after this, to the front door, which logs it with the request's id."""
    return error_response(InternalError("Something is wrong on our side. Please report it with this x-request-id."))
