"""A request's receipt: for programs as it was signed, for people as a page or a PDF."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import Parts, PartsDep, ReadSession, answer, requires
from app.http_accept import preferred
from app.problems import Problem
from app.receipts import page, pdf, text
from app.schemas.fields import Text
from app.schemas.receipts import CellOpening, Envelope, NamedCell
from app.services.evidence import open_cell, receipt_of
from app.services.lookup import owned
from app.tables import DeletionRequest, Receipt

router = APIRouter(prefix="/v1/deletion-requests/{request_id}/receipt", tags=["deletion requests"])

Reader = Annotated[Principal, Depends(requires(Scope.REQUESTS_WRITE, Scope.REQUESTS_APPROVE))]
_FORMS = ("application/json", "text/html", "application/pdf")


@router.get(
    "",
    response_model=Envelope,
    responses={
        200: {
            "content": {
                "text/html": {"schema": {"type": "string"}},
                "application/pdf": {"schema": {"type": "string", "format": "binary"}},
            }
        },
        304: {"description": "The receipt is the one that If-None-Match names"},
    },
)
def receipt(
    request_id: Text,
    caller: Reader,
    session: ReadSession,
    parts: PartsDep,
    http: Request,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The signed statement of what was done: a DSSE envelope, byte for byte as it was signed.

    `Accept: text/html` or `application/pdf` shows the same in plain words.
    """
    row = _receipt(session, caller.tenant_id, request_id)
    return in_form(row, http, parts, if_none_match)


@router.post("/openings", response_model=CellOpening)
def open_one(request_id: Text, body: NamedCell, caller: Reader, session: ReadSession) -> Response:
    """What shows that one (instance, task) is among those that the receipt commits to.

    Whoever has it and the receipt can check it alone; it tells of no other cell. Nothing is
    written; it is a POST so that no log of addresses shows the instance.
    """
    row = _receipt(session, caller.tenant_id, request_id)
    request = session.get_one(DeletionRequest, row.request_id)
    return answer(open_cell(session, request, row, body.instance, body.task))


def _receipt(session: Session, tenant_id: str, request_id: str) -> Receipt:
    request = owned(session, tenant_id, DeletionRequest, request_id)
    row = receipt_of(session, request.id)
    if row is None:
        raise Problem(
            404,
            "no-receipt",
            f"request {request.id} is {request.state} and has no receipt",
            state=request.state,
        )
    return row


def in_form(
    row: Receipt, http: Request, parts: Parts, if_none_match: str | None = None
) -> Response:
    """A receipt in the form that the caller likes best, or 304 where it is known."""
    form = preferred(http.headers.get("accept"), _FORMS)
    etag = f'"{row.id}"' if form == _FORMS[0] else f'"{row.id}-{form.rpartition("/")[2]}"'
    headers = {"ETag": etag, "Vary": "Accept"}
    if etag in re.findall(r'"[^"]*"', if_none_match or ""):
        return Response(status_code=304, headers=headers)
    if form == _FORMS[0]:
        return Response(row.envelope, media_type=form, headers=headers)
    told = text.told(row.envelope, (parts.settings.public_url or str(http.base_url)).rstrip("/"))
    if form == "application/pdf":
        headers["Content-Disposition"] = f'inline; filename="receipt-{row.request_id}.pdf"'
        return Response(pdf.render(told), media_type=form, headers=headers)
    headers["Content-Security-Policy"] = page.CONTENT_SECURITY_POLICY
    return Response(page.render(told), media_type=form, headers=headers)
