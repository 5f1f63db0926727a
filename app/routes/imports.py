"""`/v1/deletion-requests:import`: a deletion request for more ids than a body should hold."""

import json
from collections.abc import Mapping
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app import json_body, multipart
from app.auth import Principal
from app.http import Parts, PartsDep, operation_of
from app.problems import Invalid, Problem, field_errors
from app.routes.deletion_requests import Writer, as_received
from app.schemas.deletion_requests import DeletionRequestView, NewImport
from app.services import importing, request_views

router = APIRouter(prefix="/v1", tags=["deletion requests"])

_TEXTS: dict[str, str] = {
    "model": "the model's name or id",
    "format": "`jsonl` or `csv`; JSON lines, where it is not given",
    "tasks": "a JSON list of names, or `all`; all of them, where it is not given",
    "reason": "such as `gdpr_art_17_1_b`",
    "received_at": "when the data subjects asked; now, where it is not given",
    "external_id": "your ticket",
    "due_at": "one calendar month after `received_at`, where it is not given",
    "priority": "`low`, `normal` or `high`",
    "on_unknown": "`refuse` or `skip` ids that are not in the manifest",
}
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["model", "rows"],
                    "additionalProperties": False,
                    "properties": {
                        **{
                            name: {"type": "string", "minLength": 1, "description": told}
                            for name, told in _TEXTS.items()
                        },
                        "rows": {
                            "type": "string",
                            "contentMediaType": "application/jsonl",
                            "description": "JSON lines of `instance` or `subject`, or CSV with"
                            " these columns; at most a million rows",
                        },
                    },
                },
                "example": {
                    "model": "street-parsing",
                    "reason": "gdpr_art_17_1_b",
                    "external_id": "TICKET-882",
                    "rows": '{"instance": "img-0007"}\n{"subject": "person-19"}\n',
                },
            }
        },
    }
}


@router.post(
    "/deletion-requests:import",
    status_code=202,
    response_model=DeletionRequestView,
    responses={200: {"model": DeletionRequestView}},
    openapi_extra=_FORM,
)
async def import_request(request: Request, caller: Writer, parts: PartsDep) -> Response:
    """Ask that all instances and subjects that a file names be forgotten: one request, or none.

    The file is streamed to disk and read a chunk at a time. 422 names the first 20 lines that
    cannot be used and their count; nothing is written then. With an Idempotency-Key, two imports
    are the same where all fields and the file's digest are.
    """
    with parts.storage.workspace() as folder:
        form = await multipart.receive(request, folder, ("rows",), tuple(_TEXTS))
        return await to_thread.run_sync(_import, request, parts, caller, form)


def _import(request: Request, parts: Parts, caller: Principal, form: multipart.Form) -> Response:
    body, rows = _parsed(form.fields), form.files["rows"]
    content = f"{body.model_dump_json()} {rows.sha256}"
    operation = operation_of(request, parts, caller, content.encode())
    with operation.hold():
        with parts.database.read() as session:
            first = operation.replay(session)
            if first is not None:
                return first
            located = importing.locate(session, caller.tenant_id, body, rows.path, rows.sha256)

        def work(session: Session) -> Response:
            made = importing.receive(session, caller.tenant_id, body, located, caller.name)
            return as_received(request_views.view(session, made), made)

        return operation.run(work)


def _parsed(fields: Mapping[str, str]) -> NewImport:
    given: dict[str, Any] = dict(fields)
    if given.get("tasks", "all") != "all":
        try:
            json_body.check(fields["tasks"].encode())
            given["tasks"] = json.loads(fields["tasks"])
        except Problem:
            detail = f"tasks {fields['tasks']!r:.100} is neither a JSON list of names nor 'all'"
            raise Invalid("#/tasks", detail) from None
    try:
        return NewImport.model_validate(given)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        errors = field_errors(found)
        raise Problem(422, "invalid", errors[0]["detail"], errors=errors) from None
