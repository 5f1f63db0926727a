"""Errors as callers see them: RFC 9457 `application/problem+json`, one clear sentence, no trace.

Services and routes raise a `Problem`; `install` turns everything else that can go wrong into one.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypedDict

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from app.states import IllegalTransition

TYPES = "https://expunge.dev/problems/"
MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20
_log = logging.getLogger(__name__)


class FieldError(TypedDict):
    """What is wrong with one field; `pointer` as in `#/instances/0` or `query:limit`."""

    pointer: str
    detail: str


class Problem(Exception):
    """An answer of 4xx or 5xx: its type's slug, one sentence, and extension members."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        title: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.title = title or slug.replace("-", " ").capitalize()
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.extensions = extensions

    def response(self) -> JSONResponse:
        """The HTTP answer."""
        body: dict[str, Any] = {
            "type": TYPES + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        return JSONResponse(
            body | self.extensions, self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


class NotFound(Problem):
    """404: it does not exist, or belongs to another tenant, which must look the same."""

    def __init__(self, what: str, ref: str) -> None:
        super().__init__(404, "not-found", f"there is no {what} {ref!r}")


class Conflict(Problem):
    """409: the request is fine, the state of things is not."""

    def __init__(self, slug: str, detail: str, **more: Any) -> None:
        super().__init__(409, slug, detail, **more)


class Invalid(Problem):
    """422: one or more fields hold something that cannot be used."""

    def __init__(
        self,
        pointer: str,
        detail: str,
        *,
        slug: str = "invalid",
        more: Iterable[FieldError] = (),
        **extensions: Any,
    ) -> None:
        errors: list[FieldError] = [{"pointer": pointer, "detail": detail}, *more]
        super().__init__(422, slug, detail, errors=errors, **extensions)


class Unavailable(Problem):
    """503: try the same again, with the same Idempotency-Key, after some seconds."""

    def __init__(self, detail: str, retry_after: int = 2) -> None:
        super().__init__(503, "unavailable", detail, headers={"Retry-After": str(retry_after)})


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Make every error that leaves `app` a problem; `routers` hold its routes."""
    app.state.routers = routers
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(IllegalTransition, _answer_illegal)
    for unreachable in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(unreachable, _answer_database_down)


def unexpected(error: Exception) -> JSONResponse:
    """The answer to a fault of ours: logged with its trace, told without."""
    _log.error("unexpected error", exc_info=error)
    return Problem(
        500, "internal", "an unexpected error; the log has it under this request's id"
    ).response()


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Pydantic's errors, each with its pointer and a sentence that names field and value."""
    return [{"pointer": _pointer(e["loc"]), "detail": _sentence(e)} for e in errors[:_MOST_ERRORS]]


async def _answer_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return error.response()


async def _answer_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    for one in found:
        if one["type"] == "json_invalid":
            return not_json(str(one.get("ctx", {}).get("error", one["msg"]))).response()
    errors = field_errors(found)
    return Problem(422, "invalid", errors[0]["detail"], errors=errors).response()


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail, headers = error.detail, error.headers
    if status == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path}"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not possible at {request.url.path}"
        headers = {"Allow": ", ".join(_methods_at(request)) or (headers or {}).get("Allow", "")}
    slug = status.phrase.lower().replace(" ", "-")
    return Problem(status, slug, detail, headers=headers).response()


def _methods_at(request: Request) -> list[str]:
    """All that the path takes: Starlette names those of the first route that it finds there."""
    routes = [route for router in request.app.state.routers for route in router.routes]
    there = (
        r for r in routes if isinstance(r, Route) and r.matches(request.scope)[0] != Match.NONE
    )
    return sorted({method for route in there for method in route.methods or ()})


async def _answer_illegal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IllegalTransition)
    return Conflict("illegal-state", str(error), state=error.now).response()


async def _answer_database_down(request: Request, error: Exception) -> JSONResponse:
    _log.warning("database not reachable: %s", error)
    return Unavailable("the database cannot be reached at the moment").response()


def not_json(why: str) -> Problem:
    """400 for a body that is not JSON at all."""
    return Problem(400, "not-json", f"the body is not JSON: {why}")


def _pointer(loc: Sequence[str | int]) -> str:
    where, *path = loc
    if where != "body":
        return f"{where}:{'.'.join(map(str, path))}"
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _sentence(error: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"][1:]) or "the body"
    match error["type"]:
        case "extra_forbidden":
            return f"{name} is not a field of this request"
        case "missing":
            return f"{name} is required"
        case "value_error":
            return f"{name}: {error['msg'].removeprefix('Value error, ')}"
    given = error.get("input")
    shown = f", not {given!r:.100}" if isinstance(given, str | int | float | bool | None) else ""
    return f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}{shown}"
