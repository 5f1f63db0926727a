"""The OpenAPI document: FastAPI's, with an example and the possible problems of every operation."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.http import Scoped
from app.openapi_examples import example_of, restore_nulls
from app.problems import MEDIA_TYPE, TYPES

TAGS = [
    {"name": "models", "description": "Networks under management, their aliases and manifests"},
    {"name": "versions", "description": "Immutable weights: registered, audited, downloaded"},
    {"name": "deletion requests", "description": "Instances x tasks to be forgotten"},
    {"name": "jobs", "description": "Engine runs that serve requests"},
    {"name": "events", "description": "Every change of state, as it happens"},
    {"name": "webhooks", "description": "Events sent to addresses of yours, signed"},
    {"name": "OpenDSR", "description": "Erasure, as privacy platforms ask for it"},
    {"name": "ledger", "description": "The hash chain of events, and the keys that sign"},
    {"name": "keys", "description": "Who may call"},
    {"name": "operations", "description": "For whoever runs the service"},
]

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details; further members depend on the type.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
    "examples": [
        {
            "type": f"{TYPES}invalid",
            "title": "Invalid",
            "status": 422,
            "detail": "colour is not a field of this request",
            "errors": [{"pointer": "#/colour", "detail": "colour is not a field of this request"}],
        }
    ],
}
_PARAMETER = re.compile(r"{(\w+)}")
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a repetition safe: it gets the first answer again. Kept for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def of(app: FastAPI, routers: Sequence[APIRouter]) -> Callable[[], dict[str, Any]]:
    """What makes the document of `app`, whose routes are those of `routers`, once."""
    plain = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _enriched(plain(), _scopes(routers))
        return app.openapi_schema

    return document


def _enriched(
    document: dict[str, Any], scopes: dict[tuple[str, str], tuple[str, ...]]
) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    schemas["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    restore_nulls(schemas)
    for path, method, operation in _operations(document):
        if (path, method) in scopes:  # any one of these lets a caller in
            operation["security"] = [{"bearer": [scope]} for scope in scopes[path, method]]
        responses = operation["responses"]
        responses.pop("422", None)
        problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        told = responses.get("default", {"description": "A problem"})
        responses["default"] = {**told, "content": {**told.get("content", {}), **problem}}
        if method == "post":
            operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        contents = [operation.get("requestBody", {}), *responses.values()]
        for media in (m for c in contents for m in c.get("content", {}).values()):
            if "example" not in media and "examples" not in media:
                media["example"] = example_of(media.get("schema", {}), schemas)
    _link(document)
    return document


def _link(document: dict[str, Any]) -> None:
    """Say of what a POST makes which operations go on with it, by its id."""
    for path, item in document["paths"].items():
        for status, response in item.get("post", {}).get("responses", {}).items():
            content = response.get("content", {}).get("application/json", {})
            if not status.startswith("2") or "id" not in (content.get("example") or {}):
                continue
            links = {}
            for further, _, operation in _operations(document):
                name, _, rest = further.removeprefix(f"{path}/{{").partition("}")
                if further.startswith(f"{path}/{{") and "{" not in rest:
                    kept = {part: f"$request.path.{part}" for part in _PARAMETER.findall(path)}
                    links[operation["operationId"]] = {
                        "operationId": operation["operationId"],
                        "parameters": kept | {name: "$response.body#/id"},
                    }
            if links:
                response["links"] = links


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _scopes(routers: Sequence[APIRouter]) -> dict[tuple[str, str], tuple[str, ...]]:
    """By path and verb, the scopes of which one is asked for."""
    found = {}
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute):
            for check in _checks(route.dependant):
                for method in route.methods or ():
                    found[route.path_format, method.lower()] = tuple(map(str, check.scopes))
    return found


def _checks(dependant: Dependant) -> Iterator[Scoped]:
    if isinstance(dependant.call, Scoped):
        yield dependant.call
    for part in dependant.dependencies:
        yield from _checks(part)
