"""The HTTP API by resource, from the OpenAPI document that the service serves."""

import json
import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from app.main import create_app
from app.schemas.models import Policy
from app.settings import Settings
from engine.spec import Thresholds
from generators.source import field_notes, table

_HEAD = """# HTTP API

A running service shows this, with every field and an example, under `/docs`, and serves the OpenAPI
document at `/openapi.json`, which is also a file here: [openapi.json](openapi.json). What follows
is what holds for all of it, and what there is.

- JSON, snake_case, RFC 3339 times in UTC. Ids sort by time: `req_...`, `job_...`, `ver_...`.
- `Authorization: Bearer <API key>`, or a token of an OpenID Connect issuer that the service
  trusts. A call that lacks the scope is answered 403, what belongs to another tenant 404, as if it
  were not there.
- Where calls are limited, `RateLimit-Policy` and `RateLimit` say how many there may be and how many
  are left; one too many is answered 429 with `Retry-After`.
- Errors are `application/problem+json`, one sentence in `detail`: [problems](problems.md).
- `Idempotency-Key` on a POST: the same key again gives the first answer, with
  `Idempotency-Replayed: true`. With another body it is refused. A key lives for 24 hours.
- Lists are pages: `?limit=` and `?after=`, newest first, with `next` in the body and `Link:
  rel=next`.
- `ETag` and `If-None-Match`, and `If-Match` where two might change the same thing.
- Unknown fields are refused. An answer may get new fields, values and status codes with any
  release, so pass over what you do not know; what there is stays.
"""
_ORDER = ("models", "versions", "deletion-requests", "jobs", "events", "webhooks", "ledger", "keys")
_METHODS = ("get", "post", "put", "patch", "delete")


def page() -> str:
    """Markdown."""
    by_tag: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for path, item in document()["paths"].items():
        for method in _METHODS:
            if method in item:
                operation = item[method]
                told = operation.get("description") or operation.get("summary") or ""
                tag = (operation.get("tags") or ["service"])[0]
                by_tag[tag].append((f"`{method.upper()} {path}`", *_split(told)))
    parts = [_HEAD]
    for tag in sorted(by_tag, key=_place):
        rows = by_tag[tag]
        title = tag.replace("-", " ").capitalize()
        parts.append(f"\n## {title}\n\n" + table(("call", "what it does", ""), rows) + "\n")
        if tag == "models":
            parts.append(_policy())
    return "".join(parts)


def _place(tag: str) -> int:
    return _ORDER.index(tag) if tag in _ORDER else len(_ORDER)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    with tempfile.TemporaryDirectory() as folder:
        return create_app(Settings(state_dir=Path(folder), database_url="sqlite://")).openapi()


def exported() -> str:
    """The OpenAPI document as JSON, as a service serves it."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _split(told: str) -> tuple[str, str]:
    """The first sentence's paragraph, and the rest."""
    first, _, rest = told.partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


def _policy() -> str:
    return (
        "\n### A model's policy\n\n"
        "All members have a default; `PATCH` replaces those that it names.\n\n"
        + _members(Policy)
        + "\n\n`thresholds` are what the audit holds a version to:\n\n"
        + _members(Thresholds)
        + "\n"
    )


def _members(model: Any) -> str:
    notes = field_notes(model)
    rows = []
    for name, field in model.model_fields.items():
        default = "" if field.default is PydanticUndefined else f"`{field.default!r}`"
        if isinstance(field.default, Thresholds):
            default = "below"
        rows.append((f"`{name}`", default, notes.get(name, "")))
    return table(("member", "default", "what"), rows)
